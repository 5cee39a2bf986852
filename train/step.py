"""The parts of one step that do not depend on the run: seed, parameter groups, faults.

step_seed(0, 120, 0)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from trocar.contract.errors import ConfigError, TrainingError
from trocar.train.methods.protocol import Batch, Method, ModelSpec, Progress


class Losses(nn.Module):
    """Puts a method's losses behind one ``forward``, which is what DDP and autocast hook into."""

    def __init__(self, method: Method, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._method = method
        self.progress = Progress(0, 1)

    def forward(self, batch: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Named losses of a step's batches."""
        return self._method.losses(batch, self.progress)


def build(method: Method, spec: ModelSpec, *, skip_pretrained: bool) -> nn.Module:
    """Builds a method's module.

    Args:
        method: The method, with its configuration.
        spec: Classes and input.
        skip_pretrained: Fetches no starting weights: a checkpoint's are loaded next.
    """
    config = method.config
    if skip_pretrained and hasattr(config, "encoder_weights"):
        method.config = replace(config, encoder_weights="none")
    try:
        return method.build(spec)
    finally:
        method.config = config


def check_batch_norm(method: Method, images: int) -> None:
    """Refuses batch statistics of a single image, which are none where a map has one pixel.

    Raises:
        ConfigError: A process has one image a step and BatchNorm is not frozen.
    """
    if images < 2 and getattr(method.config, "batch_norm", "") == "train":
        raise ConfigError(
            f"batch normalisation cannot train on {images} image a process and step",
            remedy="raise --batch-size, or pass --batch-norm frozen",
        )


def step_seed(seed: int, step: int, rank: int) -> int:
    """The seed of torch's generator for one step of one process, 63 bits."""
    words = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def score_or_lowest(scores: Mapping[str, float | None], name: str) -> float:
    """The score to compare by; the lowest of all where there is none."""
    value = scores.get(name)
    return -math.inf if value is None or math.isnan(value) else value


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for the optimiser: weight decay for matrices, none for norms and biases."""
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def not_finite(
    what: str, step: int, terms: Mapping[str, Tensor], batch: Mapping[str, Batch]
) -> TrainingError:
    """The error for a step that went wrong, with its losses and its batch's frames."""
    values = ", ".join(f"{name} {float(term.detach()):.4g}" for name, term in terms.items())
    files = "; ".join(
        f"{name}: {', '.join(map(str, one['name']))}"
        for name, one in batch.items()
        if "name" in one
    )
    return TrainingError(
        f"{what} is not finite at step {step} ({values}); the batch was {files}",
        remedy="look at these files with `trocar data check`; lower --lr or --clip, lengthen "
        "--warmup, or use --precision fp32; the checkpoints are from before and --resume works",
    )
