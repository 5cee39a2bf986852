"""State dictionaries of other trainers: read without running code, and fitted to a network.

state = read_state(Path("last.ckpt"))
load_weights(network, Path("last.ckpt"))
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trocar.contract.errors import CheckpointError
from trocar.contract.text.words import first_line

NESTED = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "network_weights",
    "weights",
)
"""Keys under which trainers keep a state dictionary; averaged weights (EMA) come first."""

PREFIXES = ("module.", "_orig_mod.")

COUNTERS = ("steps", "n_averaged")
"""Tensors that averaging keeps beside the weights."""

_REFUSED = re.compile(r"(?:GLOBAL|type|class|global) ['`\"]?([A-Za-z_]\w*(?:\.\w+)+)")
"""The type that PyTorch refuses to load, in its error."""


def load_weights(network: nn.Module, path: Path) -> None:
    """Loads a state dictionary; no code in the file is run.

    Raises:
        CheckpointError: It is missing, no state dictionary, or does not fit the network.
    """
    load_state(network, read_state(path), path)


def load_state(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Loads the tensors of a checkpoint that was read with `read_state`.

    Args:
        network: The network, changed in place.
        state: The tensors; a prefix that stands before all of the network's names is removed.
        path: The checkpoint, for errors.

    Raises:
        CheckpointError: The tensors do not fit the network.
    """
    plain = fitted_state(state, set(network.state_dict()), path)
    try:
        with warnings.catch_warnings():
            # Some libraries warn of tensors that do not fit; here they are an error below.
            warnings.simplefilter("ignore")
            missing, unexpected = network.load_state_dict(plain, strict=False)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise CheckpointError(
            f"{path} does not fit the network: {'; '.join(lines)}",
            remedy="name the factory that makes the network these weights are of",
        ) from error
    if missing or unexpected:
        raise CheckpointError(
            f"{path} does not fit the network: missing {_few(missing)}, unexpected "
            f"{_few(unexpected)}",
            remedy="name the factory that makes the network these weights are of",
        )


def read_state(path: Path) -> dict[str, Tensor]:
    """Reads the state dictionary of a checkpoint as tensors only.

    Raises:
        CheckpointError: It is missing, needs code to be run, or holds no state dictionary.
    """
    return state_of(read_checkpoint(path), path)


def read_checkpoint(path: Path) -> object:
    """What a checkpoint holds: tensors, numbers, text and containers of them.

    Raises:
        CheckpointError: It is missing, or needs code to be run.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(path))
        return _load_safely(path)
    except (ModuleNotFoundError, CheckpointError):
        raise
    except Exception as error:
        raise unreadable(path, error) from error


def state_of(content: object, path: Path) -> dict[str, Tensor]:
    """The state dictionary in what a checkpoint holds.

    Raises:
        CheckpointError: There is none.
    """
    state = content
    while isinstance(state, Mapping):
        inner = [state[key] for key in NESTED if isinstance(state.get(key), Mapping)]
        if not inner:
            break
        state = inner[0]
    # EMA and mmengine keep counters beside the tensors.
    if isinstance(state, Mapping):
        tensors = {str(k): v for k, v in state.items() if isinstance(v, Tensor)}
        if tensors and all(isinstance(v, (Tensor, int, float)) for v in state.values()):
            return tensors
    raise CheckpointError(
        f"{path} holds a {type(state).__name__}, expected a state dictionary"
        + (f"; its keys are {_few([str(k) for k in state])}" if isinstance(state, Mapping) else ""),
        remedy="save it as torch.save(model.state_dict(), file)",
    )


def _load_safely(path: Path) -> object:
    """Loads tensors, numbers and text, and plain containers of NumPy and argparse."""
    import argparse
    import collections

    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    array = np.zeros(1).__reduce__()[0]
    kinds = {type(np.dtype(t)) for t in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "bool")}
    safe: list[Any] = [
        argparse.Namespace,
        collections.defaultdict,
        collections.Counter,
        np.dtype,
        np.ndarray,
    ]
    safe += [scalar, array, *kinds, list, dict, int, float]
    with torch.serialization.safe_globals(safe):
        return torch.load(path, map_location="cpu", weights_only=True)


def unreadable(path: Path, error: Exception) -> CheckpointError:
    """The error for a checkpoint that PyTorch refuses to read safely; names the refused type."""
    if not path.is_file():
        return CheckpointError(f"there is no file {path}", remedy="correct --weights")
    if "TorchScript" in str(error) or "constants.pkl" in str(error):
        return CheckpointError(
            f"{path} is a TorchScript file, expected a state dictionary",
            remedy="save torch.jit.load(file).state_dict() with torch.save, and name a factory "
            "that makes the network in Python",
        )
    refused = _REFUSED.search(str(error))
    words = (
        f"it holds an object of type {refused[1]}, whose code would run"
        if refused
        else re.sub(r"\x1b\[[\d;]*m", "", first_line(error, limit=200))
    )
    return CheckpointError(
        f"cannot read {path} as tensors alone: {words}",
        remedy="save it as torch.save(model.state_dict(), file) or as safetensors; a pickled "
        "model is never loaded, since loading it would run its code",
    )


def fitted_state(state: Mapping[str, Tensor], own: set[str], path: Path) -> dict[str, Tensor]:
    """The state with the network's names: a prefix that stands before all of them is removed."""
    plain = {_without_prefix(name): value for name, value in state.items()}
    plain = {name: v for name, v in plain.items() if name in own or name not in COUNTERS}
    if not own or own <= set(plain):
        return plain
    first = min(own)
    prefixes = {name.removesuffix(first) for name in plain if name.endswith("." + first)}
    prefixes = {prefix for prefix in prefixes if all(prefix + key in plain for key in own)}
    if len(prefixes) > 1:
        raise CheckpointError(
            f"{path} holds the weights of {len(prefixes)} such networks: "
            f"{', '.join(sorted(prefixes))}",
            remedy="save the state dictionary of one of them",
        )
    # What stands beside the network is of the trainer: losses, metrics, counters.
    return {key: plain[prefix + key] for prefix in prefixes for key in own} or plain


def _without_prefix(name: str) -> str:
    changed = True
    while changed:
        changed = False
        for prefix in PREFIXES:
            if name.startswith(prefix):
                name, changed = name.removeprefix(prefix), True
    return name


def _few(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
