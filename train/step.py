"""The parts of one training step: losses, seed, the one read of its numbers, errors.

step_seed(0, 120, 0)                                   # seed, step, rank
progress_at(120, total_steps=1000, epoch_length=50)    # Progress(step=120, …, epoch=2, epochs=20)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from trocar.contract.errors import ConfigError, TrainingError
from trocar.train.methods.protocol import Batch, Method, ModelSpec, Progress
from trocar.train.networks.segmentation import NetworkConfig, learns_statistics


class Losses(nn.Module):
    """Puts a method's losses behind one ``forward``, which is what DDP and autocast hook into.

    Args:
        method: The method, already built.
        network: Its module.
        total_steps: Steps of the whole run.
        epoch_length: Steps of one pass over the first stream.
        is_bf16: Whether `forward` computes in bfloat16 where that is safe; may be set later.
    """

    def __init__(
        self, method: Method, network: nn.Module, *, total_steps: int, epoch_length: int
    ) -> None:
        super().__init__()
        self.network = network
        self.total_steps, self.epoch_length = total_steps, epoch_length
        self._method = method
        self.is_bf16 = False

    def forward(self, batch: Mapping[str, Batch], step: int) -> dict[str, Tensor]:
        """Named losses of a step's batches.

        The step comes as a number, because Fabric converts all arguments and cannot rebuild a
        frozen dataclass such as `Progress`.
        """
        progress = progress_at(step, total_steps=self.total_steps, epoch_length=self.epoch_length)
        if not self.is_bf16:  # Fabric's own context, with or without fp16
            return self._method.losses(batch, progress)
        device = next(self.network.parameters()).device.type
        with torch.autocast(device, torch.bfloat16):
            return self._method.losses(batch, progress)


def progress_at(step: int, *, total_steps: int, epoch_length: int) -> Progress:
    """Where training stands at a step; epochs are passes over the first stream."""
    return Progress(step, total_steps, step // epoch_length, -(-total_steps // epoch_length))


def build(method: Method, spec: ModelSpec, *, skip_pretrained: bool) -> nn.Module:
    """Builds a method's module.

    Args:
        method: The method, with its configuration.
        spec: Classes and input.
        skip_pretrained: Fetches no pretrained weights, because a checkpoint's are loaded next.
    """
    config = method.config
    if skip_pretrained and hasattr(config, "encoder_weights"):
        method.config = replace(config, encoder_weights="none")
    try:
        return method.build(spec)
    finally:
        method.config = config


def check_batch_norm(method: Method, images: int) -> None:
    """Refuses batch statistics of a single image, which are undefined for maps of one pixel.

    Raises:
        ConfigError: A process has one image a step and some BatchNorm is not frozen.
    """
    config = method.config
    if images < 2 and isinstance(config, NetworkConfig) and learns_statistics(config):
        raise ConfigError(
            f"batch normalisation cannot train on {images} image a process and step",
            remedy="raise --batch-size, or pass --batch-norm frozen --decoder-norm group",
        )


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of torch's generator for one step of one process, 63 bits."""
    words = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


class StepValues(NamedTuple):
    """Numbers of one step, on the host, means over all processes but for ``logged``.

    Attributes:
        loss: Sum of all terms, of all batches of the step.
        terms: The terms by name, means over the batches of the step.
        logged: What the method shows beside them, of this process.
        norm: Of the gradient, before it was clipped.
        stop: Whether any process was asked to stop.
        parts: Sum and terms of each batch of the step.
    """

    loss: float
    terms: dict[str, float]
    logged: dict[str, float]
    norm: float
    stop: bool
    parts: tuple[tuple[float, dict[str, float]], ...]

    def check(self, step: int, files: Sequence[str], *, gradient: bool) -> None:
        """Refuses a step whose loss, or gradient where that is asked for, is not finite.

        Args:
            step: Its number.
            files: The frames of each of its batches.
            gradient: Whether the gradient must be finite too.

        Raises:
            TrainingError: With the losses, and the frames of the first such batch.
        """
        for (total, terms), names in zip(self.parts, files, strict=True):
            if not math.isfinite(total):
                raise _not_finite("the loss", step, terms, names)
        if gradient and not math.isfinite(self.norm):
            raise _not_finite("the gradient", step, self.terms, files[-1])


def read_step(
    totals: Sequence[Tensor],
    terms: Sequence[Mapping[str, Tensor]],
    *,
    norm: Tensor,
    stop: bool,
    logged: Mapping[str, Tensor | float],
    reduce: Callable[[Tensor], Tensor],
) -> StepValues:
    """Reads all numbers of a step at once: the host waits for the device one time.

    Args:
        totals: Loss of each batch of the step, scalars.
        terms: Its terms by name, scalars; the names of the first batch are those of all.
        norm: Of the gradient, scalar.
        stop: Whether this process was asked to stop.
        logged: What the method shows beside the losses, scalars.
        reduce: Numbers of this process ``[N]`` to their means over all processes.
    """
    names, count = list(terms[0]), len(totals)
    shown = {name: value for name, value in logged.items() if isinstance(value, Tensor)}
    scalars = [*totals, *(part[name] for part in terms for name in names), norm]
    # Not torch.tensor(…, device=…), which waits for the device.
    flag = torch.full_like(totals[0], float(stop), dtype=torch.float32)
    numbers = reduce(torch.stack([*(value.float() for value in scalars), flag]))
    if shown:
        own = torch.stack([value.detach().float() for value in shown.values()])
        numbers = torch.cat([numbers, own.to(numbers.device)])
    read: list[float] = numbers.tolist()
    each = [
        dict(zip(names, read[count + len(names) * part :], strict=False)) for part in range(count)
    ]
    end = count * (1 + len(names))
    on_device = dict(zip(shown, read[end + 2 :], strict=True))
    return StepValues(
        loss=sum(read[:count]),
        terms={name: sum(part[name] for part in each) / count for name in names},
        logged={name: float(on_device.get(name, value)) for name, value in logged.items()},
        norm=read[end],
        stop=read[end + 1] > 0,
        parts=tuple(zip(read[:count], each, strict=True)),
    )


def names_of(batch: Mapping[str, Batch]) -> str:
    """The frames of a batch by stream, for errors."""
    return "; ".join(
        f"{name}: {', '.join(map(str, one['name']))}"
        for name, one in batch.items()
        if "name" in one
    )


def _not_finite(what: str, step: int, terms: Mapping[str, float], files: str) -> TrainingError:
    """The error for a step that failed, with its losses and the frames of its batch."""
    values = ", ".join(f"{name} {term:.4g}" for name, term in terms.items())
    return TrainingError(
        f"{what} is not finite at step {step} ({values}); the batch was {files}",
        remedy="check these files with `trocar data check`; lower --lr or --clip, raise --warmup, "
        "or pass --precision fp32; the saved checkpoints are from before, and --resume works",
    )
