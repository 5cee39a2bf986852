"""Anybody's PyTorch network behind the same graph: ``--module package:factory --weights file``.

    network = foreign_network("mypackage.nets:make", Path("w.pt"), foreign)

Naming a module runs its code; a weights file is only ever read as tensors.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trocar.contract.errors import ArgumentError, CheckpointError, ConfigError
from trocar.export.graph.frame_graph import Normalised
from trocar.export.graph.input_spec import Foreign, ForeignSpec

_NESTED = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.")


def foreign_network(module: str, weights: Path | None, foreign: Foreign) -> nn.Module:
    """Makes the network, loads its weights and puts it behind our input and output.

    Args:
        module: ``package.module:factory``; the factory takes no arguments, or is a module class.
        weights: A state dictionary (``.safetensors``, or a PyTorch file); ``None`` when the
            factory loads it.
        foreign: What it takes.

    Returns:
        A module that takes ``[N,3,h,w]`` float32 RGB 0..255.

    Raises:
        ConfigError: ``module`` cannot be imported or called.
        CheckpointError: The weights cannot be read safely or do not fit.
    """
    network = _made(module)
    if weights is not None:
        load_weights(network, weights)
    inner: nn.Module = Adapted(network, foreign.spec).eval()
    if foreign.spec.normalise:
        return Normalised(inner, foreign.manifest.input, channels=foreign.spec.channels).eval()
    return Flipped(inner).eval() if foreign.spec.channels == "bgr" else inner


class Adapted(nn.Module):
    """Picks the logits out of what a foreign network returns, at the network's input size."""

    def __init__(self, network: nn.Module, spec: ForeignSpec) -> None:
        super().__init__()
        self.network = network
        self.spec = spec

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """``[N,3,h,w]`` to logits ``[N,K,h,w]``, or scores and embedding."""
        answer: Any = self.network(image)
        logits = _picked(answer, self.spec.output, ("out", "logits"))
        if self.spec.task == "classification":
            if not self.spec.embedding:
                return logits
            return logits, _picked(answer, self.spec.embedding, ()).flatten(1)
        if tuple(logits.shape[-2:]) != tuple(image.shape[-2:]):
            logits = functional.interpolate(
                logits, size=image.shape[-2:], mode="bilinear", align_corners=False
            )
        return logits


class Flipped(nn.Module):
    """Hands BGR to a network that normalises by itself."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Any:
        """``[N,3,h,w]`` RGB to the network's own output."""
        return self.network(image.flip(1))


def load_weights(network: nn.Module, path: Path) -> None:
    """Loads a state dictionary; nothing in the file is executed.

    Raises:
        CheckpointError: It is missing, no state dictionary, or does not fit the network.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(str(path))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ModuleNotFoundError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"cannot read {path} as tensors alone: {first[:200]}",
            remedy="save it as torch.save(model.state_dict(), file) or as safetensors; a whole "
            "pickled model is never loaded, since loading it would run its code",
        ) from error
    for key in _NESTED:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(
            f"{path} holds no state dictionary but a {type(state).__name__}",
            remedy="save it as torch.save(model.state_dict(), file)",
        )
    plain = {_bare(str(name)): value for name, value in state.items()}
    try:
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


def _made(module: str) -> nn.Module:
    package, _, factory = module.partition(":")
    if not package or not factory:
        raise ConfigError(
            f"--module is {module!r}, expected package.module:factory",
            remedy="e.g. --module mypackage.networks:make_network",
        )
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        # As `python -m` does: a module in the working folder is found.
        sys.path.insert(0, str(Path.cwd()))
    try:
        loaded = importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"cannot import {package!r}: {error}",
            remedy="install it in this environment, or run from the folder that holds it",
        ) from error
    maker = getattr(loaded, factory, None)
    if not callable(maker):
        near = difflib.get_close_matches(factory, dir(loaded), n=3)
        raise ConfigError(
            f"{package} has no function or class {factory!r}"
            + (f"; did you mean {', '.join(near)}?" if near else ""),
            remedy="name a function without arguments that returns the network",
        )
    try:
        network = maker()
    except TypeError as error:
        raise ConfigError(
            f"{module} could not be called without arguments: {error}",
            remedy="write a function without arguments that returns the network, and name it",
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"{module} returned a {type(network).__name__}, expected a torch.nn.Module",
            remedy="name a function without arguments that returns the network",
        )
    return network


def _picked(answer: Any, name: str, usual: tuple[str, ...]) -> Tensor:
    if isinstance(answer, Tensor):
        return answer
    if isinstance(answer, Mapping):
        for key in (name, *usual) if name else usual:
            found = answer.get(key)
            if isinstance(found, Tensor):
                return found
        raise ArgumentError(
            f"the network returns a mapping with {sorted(map(str, answer))}, expected "
            f"{name or ' or '.join(usual)!r} in it",
            remedy='name the output in the input spec: output = "…"',
        )
    if isinstance(answer, (tuple, list)):
        index = int(name) if name.isdigit() else 0
        chosen = answer[index] if index < len(answer) else None
        if isinstance(chosen, Tensor):
            return chosen
    raise ArgumentError(
        f"the network returns a {type(answer).__name__} without logits where they were looked for",
        remedy='name the output in the input spec (output = "out", or "0" for the first)',
    )


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _few(names: list[str]) -> str:
    return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
