"""PyTorch networks that were not trained with Trocar: ``--module package:factory --weights file``.

    network = load_external_network("mypackage.nets:make", Path("w.pt"), external)

Importing a module runs its code. A weights file is read as tensors only; no code in it is run.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from trocar.contract.errors import ArgumentError, CheckpointError, ConfigError
from trocar.contract.text.words import first_line
from trocar.export.graph.frame_graph import Normalised
from trocar.export.graph.input_spec import ExternalModel, ModelSpec

_NESTED = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.")


def load_external_network(module: str, weights: Path | None, external: ExternalModel) -> nn.Module:
    """Makes the network, loads its weights and adapts its input and output.

    Args:
        module: ``package.module:factory``; a function or class that takes no arguments.
        weights: A state dictionary (``.safetensors``, or a PyTorch file); ``None`` when the
            factory loads it.
        external: Its input spec and manifest.

    Returns:
        A module that takes ``[N,3,h,w]`` float32 RGB 0..255.

    Raises:
        ConfigError: ``module`` cannot be imported or called.
        CheckpointError: The weights cannot be read safely or do not fit.
    """
    network = _make(module)
    if weights is not None:
        load_weights(network, weights)
    inner: nn.Module = LogitsAdapter(network, external.spec).eval()
    if external.spec.normalise:
        return Normalised(inner, external.manifest.input, channels=external.spec.channels).eval()
    return BgrInput(inner).eval() if external.spec.channels == "bgr" else inner


class LogitsAdapter(nn.Module):
    """Takes the logits from the output of an external network and resizes them to its input."""

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self.spec = spec

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """``[N,3,h,w]`` to logits ``[N,K,h,w]``, or scores and embedding."""
        output: object = self.network(image)
        logits = _find_tensor(output, self.spec.output, ("out", "logits"))
        if self.spec.task == "classification":
            if not self.spec.embedding:
                return logits
            return logits, _find_tensor(output, self.spec.embedding, ()).flatten(1)
        if tuple(logits.shape[-2:]) != tuple(image.shape[-2:]):
            logits = functional.interpolate(
                logits, size=image.shape[-2:], mode="bilinear", align_corners=False
            )
        return logits


class BgrInput(nn.Module):
    """Reverses the channels for a network that takes BGR and normalises inside."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """``[N,3,h,w]`` RGB to the network's own output."""
        output: Tensor | tuple[Tensor, ...] = self.network(image.flip(1))
        return output


def load_weights(network: nn.Module, path: Path) -> None:
    """Loads a state dictionary; no code in the file is run.

    Raises:
        CheckpointError: It is missing, no state dictionary, or does not fit the network.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: object = load_file(str(path))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"cannot read {path} as tensors alone: {first_line(error, limit=200)}",
            remedy="save it as torch.save(model.state_dict(), file) or as safetensors; a pickled "
            "model is never loaded, since loading it would run its code",
        ) from error
    for key in _NESTED:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(
            f"{path} holds a {type(state).__name__}, expected a state dictionary",
            remedy="save it as torch.save(model.state_dict(), file)",
        )
    plain = {_without_prefix(str(name)): value for name, value in state.items()}
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


def _make(module: str) -> nn.Module:
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
            remedy="install it in this environment, or run from the folder that has it",
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


def _find_tensor(output: object, name: str, usual: tuple[str, ...]) -> Tensor:
    """The tensor of that name or number in what a network returned; else one of a usual name."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        for key in (name, *usual) if name else usual:
            found = output.get(key)
            if isinstance(found, Tensor):
                return found
        raise ArgumentError(
            f"the network returns a mapping with {sorted(map(str, output))}, expected "
            f"{name or ' or '.join(usual)!r} in it",
            remedy='name the output in the input spec: output = "…"',
        )
    if isinstance(output, (tuple, list)):
        index = int(name) if name.isdigit() else 0
        chosen = output[index] if index < len(output) else None
        if isinstance(chosen, Tensor):
            return chosen
    raise ArgumentError(
        f"the network returns a {type(output).__name__} in which no logits were found",
        remedy='name the output in the input spec (output = "out", or "0" for the first)',
    )


def _without_prefix(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _few(names: list[str]) -> str:
    return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
