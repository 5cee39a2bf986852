"""Weights from files of other projects: found in containers, under prefixes, by other names.

    note = load_matching(encoder, Path("weights.pth"), name="tu-convnext_tiny")

A file fits a network when at least 99 % of the network's tensors are in it, with the right shape.
The tensors are looked for in the containers and under the prefixes that published checkpoints use,
through timm's own conversion of key names, and under the names of torchvision's ConvNeXt (LemonFM).
Nothing in a file is executed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trocar.contract.errors import DataError
from trocar.contract.text.words import first_line

MIN_FIT = 0.99
"""Smallest fraction of a network's tensors that a file must hold."""

CONTAINERS = ("state_dict", "model", "teacher", "student", "model_state_dict", "model_ema", "ema")
"""Keys under which checkpoints keep a state dictionary beside other things."""

PREFIXES = (
    *("module.", "model.", "backbone.", "teacher.backbone.", "student.backbone.", "teacher."),
    *("student.", "encoder.", "backbone.encoder.", "network.", "image_encoder.", "visual.trunk."),
)
"""Prefixes of key names; they may stand one before another."""

LISTED = 3

State = dict[str, Tensor]


@dataclass(frozen=True)
class _Match:
    """What of a file fits a network, by the network's names."""

    tensors: State
    how: str


def load_matching(network: nn.Module, path: Path, *, name: str) -> str:
    """Loads a file's weights into a network.

    Args:
        network: An encoder of segmentation-models-pytorch or a model of timm.
        path: ``.safetensors`` or a torch file.
        name: The network's name, for messages and for timm's conversion of key names.

    Returns:
        How many tensors were taken and from where, for people.

    Raises:
        DataError: The file cannot be read, or fewer tensors than `MIN_FIT` fit; the missing ones
            are named.
    """
    wanted = _counted(network.state_dict())
    best = _Match({}, "")
    for how, candidate in _candidates(_read(path), path, _TimmNames.of(network, name)):
        tensors = _fitting(candidate, wanted)
        if len(tensors) > len(best.tensors):
            best = _Match(tensors, how)
        if len(tensors) == len(wanted):
            break
    if len(best.tensors) < MIN_FIT * len(wanted):
        raise _misfit(path, name, wanted, best)
    network.load_state_dict(best.tensors, strict=False)
    origin = f" ({best.how})" if best.how else ""
    return f"{len(best.tensors)} of {len(wanted)} tensors of {name} come from {path.name}{origin}"


def _read(path: Path) -> Any:
    if not path.is_file():
        raise DataError(
            f"there is no weights file {path}",
            remedy="--encoder-weights takes none, imagenet, or a .safetensors or .pth file",
        )
    if path.suffix == ".ckpt" and _is_own_checkpoint(path):
        raise DataError(
            f"{path} is a checkpoint of a whole run, expected the weights of an encoder",
            remedy=f"to start from that run pass --start-from {path} instead",
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # The readers raise many kinds; a refused type is named in the first line.
        raise DataError(
            f"{path} has no readable weights: {type(error).__name__}: {first_line(error)[:200]}",
            remedy="pass a state dictionary saved as .safetensors or by torch.save(state_dict)",
        ) from error


def _is_own_checkpoint(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return "trocar_checkpoint" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _states(content: Any, path: Path) -> Iterator[tuple[str, State]]:
    """State dictionaries in a file, each with the container's name; the file itself first."""
    found = False
    if isinstance(content, Mapping):
        for container in ("", *CONTAINERS):
            inner = content if not container else content.get(container)
            if isinstance(inner, Mapping):
                tensors = {str(k): v for k, v in inner.items() if isinstance(v, Tensor)}
                if tensors and (container or len(tensors) == len(inner)):
                    found = True
                    yield f"from {container!r}" if container else "", tensors
    if not found:
        raise DataError(
            f"{path} is not a state dictionary", remedy="save model.state_dict() into it"
        )


def _candidates(content: Any, path: Path, timm_names: _TimmNames) -> Iterator[tuple[str, State]]:
    """The file's states under other names, each with a word on what was done."""
    for container, state in _states(content, path):
        for prefix, stripped in _stripped(state):
            how = _joined(container, prefix)
            yield how, stripped
            yield how, {"model." + key: value for key, value in stripped.items()}
            yield _joined(how, "timm's names"), timm_names.of_encoder(stripped)
            renamed = _from_torchvision_convnext(stripped)
            yield _joined(how, "torchvision's names"), timm_names.of_encoder(renamed)


def _joined(*words: str) -> str:
    return ", ".join(word for word in words if word)


def _stripped(state: State) -> Iterator[tuple[str, State]]:
    """The state without each prefix that some of its keys have, and without two in a row."""
    yield "", state
    for first in PREFIXES:
        once = _without(state, first)
        if once:
            yield f"prefix {first!r} removed", once
            for second in PREFIXES:
                twice = _without(once, second)
                if twice:
                    yield f"prefix {first + second!r} removed", twice


def _without(state: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


@dataclass(frozen=True)
class _TimmNames:
    """How a file of timm is to be read for an encoder that wraps a timm model.

    Attributes:
        names: The encoder's keys by their flat names.
        plain: The timm model without weights, or ``None`` where the encoder wraps none.
        convert: timm's conversion of that model's published keys, where it has one.
    """

    names: Mapping[str, str]
    plain: nn.Module | None
    convert: Any

    @classmethod
    def of(cls, network: nn.Module, name: str) -> _TimmNames:
        import timm

        # Feature extractors of timm join the numbers of stages with an underscore.
        names = {_flat(key): key for key in network.state_dict()}
        plain_name = name.removeprefix("tu-").partition("+")[0]
        if not timm.is_model(plain_name):
            return cls(names, None, None)
        with torch.device("meta"):
            plain = timm.create_model(plain_name, num_classes=0)
        module = sys.modules[type(plain).__module__]
        convert = getattr(module, "checkpoint_filter_fn", None)
        return cls(names, plain, convert or getattr(module, "_checkpoint_filter_fn", None))

    def of_encoder(self, state: State) -> State:
        """The state under the encoder's names; empty if there is nothing to convert."""
        if self.plain is None or not state:
            return {}
        if self.convert is not None:
            try:
                state = dict(self.convert(dict(state), self.plain))
            except (
                Exception
            ):  # the file is of another network, and keys that it expects are missing
                return {}
        found = {}
        for key, value in state.items():
            for prefix in ("model_", ""):
                target = self.names.get(prefix + _flat(key))
                if target is not None:
                    found[target] = value
        return found


def _flat(key: str) -> str:
    return key.replace(".", "_")


_CONVNEXT = (
    (r"^features\.0\.(\d)\.", r"stem.\1."),
    (r"\.block\.0\.", ".conv_dw."),
    (r"\.block\.2\.", ".norm."),
    (r"\.block\.3\.", ".mlp.fc1."),
    (r"\.block\.5\.", ".mlp.fc2."),
    (r"\.layer_scale$", ".gamma"),
    (r"^classifier\.0\.", "head.norm."),
    (r"^classifier\.2\.", "head.fc."),
)


def _from_torchvision_convnext(state: State) -> State:
    """Torchvision's ConvNeXt under timm's names; empty for other networks."""
    if not any(key.endswith(".layer_scale") for key in state):
        return {}
    renamed = {}
    for key, value in state.items():
        match = re.match(r"^features\.([1-7])\.(\d+)\.(.*)$", key)
        if match is not None:
            number, index, rest = int(match[1]), match[2], match[3]
            if number % 2:
                key = f"stages.{number // 2}.blocks.{index}.{rest}"
            else:
                key = f"stages.{number // 2}.downsample.{index}.{rest}"
        for pattern, replacement in _CONVNEXT:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value.flatten() if key.endswith(".gamma") else value
    return renamed


def _counted(state: Mapping[str, Tensor]) -> State:
    """The tensors that must be in a file: counters of batches need not."""
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def _fitting(state: State, wanted: State) -> State:
    return {k: v for k, v in state.items() if k in wanted and wanted[k].shape == v.shape}


def _misfit(path: Path, name: str, wanted: State, best: _Match) -> DataError:
    missing = [key for key in wanted if key not in best.tensors]
    listed = ", ".join(missing[:LISTED]) + (" …" if len(missing) > LISTED else "")
    remedy = "pass the weights of the same architecture as --encoder"
    if missing and all(re.search(r"\.act\d?\.(scale|bias)$", key) for key in missing):
        remedy = (
            f"the file is of the variant with plain ReLU in the place of StarReLU: pass "
            f"--encoder {name.partition('+')[0]}+relu"
        )
    return DataError(
        f"{path} does not fit the encoder {name}: it has {len(best.tensors)} of {len(wanted)} "
        f"tensors with the right shape; missing are {listed}",
        remedy=remedy,
    )
