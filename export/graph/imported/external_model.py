"""PyTorch networks that were not trained with Trocar: ``--module package:factory --weights file``.

    network = load_external_network("mypackage.nets:make", Path("w.pt"), external)

Importing a module runs its code. A weights file is read as tensors only; no code in it is run.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from trocar.contract.errors import ArgumentError, ConfigError
from trocar.contract.text.words import first_line
from trocar.export.graph.frame_graph import Normalised
from trocar.export.graph.imported.checkpoint import load_weights
from trocar.export.graph.imported.output_form import OutputForm
from trocar.export.graph.imported.torch_output import find_output, probe_network, to_logits
from trocar.export.graph.input_spec import ExternalModel, ModelSpec


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
        ArgumentError: The network fails on the size of the spec, or its output does not fit the
            class table; see `trocar.export.graph.imported.torch_output`.
    """
    network = _make(module)
    if weights is not None:
        load_weights(network, weights)
    return adapt_network(network, external, name=module)


def adapt_network(
    network: nn.Module, external: ExternalModel, *, name: str, prepare: nn.Module | None = None
) -> nn.Module:
    """Adapts input and output of a network, after running it on made-up images.

    Args:
        network: Takes images as its spec states, returns whatever it returns.
        external: Its input spec and manifest.
        name: The network's name, for errors.
        prepare: Takes ``[N,3,h,w]`` float32 0..255 and normalises it, where the mean and standard
            deviation of the spec cannot say how; ``None`` for those of the spec.

    Returns:
        A module that takes ``[N,3,h,w]`` float32 RGB 0..255.

    Raises:
        ArgumentError: See `trocar.export.graph.imported.torch_output`.
    """
    network = network.cpu().float().eval()
    if external.spec.task == "instances":
        # Which tensors the form needs is seen when it is exported.
        return _with_input(network, external, prepare)
    classes = len(external.manifest.classes)
    chosen = ChosenOutput(network, external.spec.output, external.spec)
    raw = _with_input(chosen, external, prepare)
    form = probe_network(raw, external.spec, classes=classes, module=name)
    return _with_input(LogitsAdapter(network, external.spec, form, classes), external, prepare)


class ChosenOutput(nn.Module):
    """Takes one tensor, as it is, from the output of an external network."""

    def __init__(self, network: nn.Module, name: str, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self.name = name
        self.spec = spec

    def forward(self, image: Tensor) -> Tensor:
        """``[N,3,h,w]`` to the tensor that the spec names."""
        return find_output(self.network(image), self.name, others=(self.spec.embedding,))


class LogitsAdapter(nn.Module):
    """Takes the logits from the output of an external network and resizes them to its input.

    Args:
        network: The network.
        spec: Names its outputs.
        form: What the output with the logits or scores means.
        classes: Rows of the class table.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec, form: OutputForm, classes: int) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.form = form
        self.classes = classes

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """``[N,3,h,w]`` to logits ``[N,K,h,w]``, or scores and embedding."""
        output: object = self.network(image)
        value = find_output(output, self.spec.output, others=(self.spec.embedding,))
        if self.spec.task == "classification":
            logits = to_logits(value.flatten(1), self.form, self.classes)
            if not self.spec.embedding:
                return logits
            return logits, find_output(output, self.spec.embedding).flatten(1)
        logits = to_logits(value, self.form, self.classes)
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


class Prepared(nn.Module):
    """Puts a normalisation that depends on the image in front of a network."""

    def __init__(self, prepare: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.prepare = prepare
        self.network = network

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """``[N,3,h,w]`` RGB 0..255 to the network's own output."""
        output: Tensor | tuple[Tensor, ...] = self.network(self.prepare(image))
        return output


def _with_input(
    network: nn.Module, external: ExternalModel, prepare: nn.Module | None
) -> nn.Module:
    """Normalisation and order of channels before a network."""
    spec = external.spec
    if prepare is not None:
        inner = BgrInput(network) if spec.channels == "bgr" else network
        return Prepared(prepare, inner).eval()
    if spec.normalise:
        return Normalised(network, external.manifest.input, channels=spec.channels).eval()
    return BgrInput(network).eval() if spec.channels == "bgr" else network.eval()


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
    except Exception as error:
        raise ConfigError(
            f"{module} failed: {type(error).__name__}: {first_line(error)}",
            remedy="correct the function, so that it returns the network",
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"{module} returned a {type(network).__name__}, expected a torch.nn.Module",
            remedy="name a function without arguments that returns the network",
        )
    if isinstance(network, torch.jit.ScriptModule):
        raise ArgumentError(
            f"{module} returned a TorchScript module; only the network in Python can be exported",
            remedy="name a factory that makes the network in Python, or make an ONNX file of it "
            "(torch.onnx.export with dynamo=False) and use `trocar import-onnx`",
        )
    return network
