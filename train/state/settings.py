"""Settings of the training loop, which all methods share.

RunConfig(steps=200, batch_size=4)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from trocar.contract.config import require
from trocar.train.loggers.registry import logger_faults

AUTO: Literal["auto"] = "auto"
"""A precision that is chosen by measurement."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run.

    Attributes:
        steps: Optimiser steps.
        accumulate: Batches of which an optimiser step takes the mean gradient; a step then sees
            batch_size times as many images.
        epochs: Passes over the labelled frames; above 0 it replaces steps.
        batch_size: Images of one step and stream, over all processes.
        lr: Highest learning rate of AdamW.
        weight_decay: Weight decay of AdamW; normalisation and bias parameters have none.
        encoder_lr: Factor of the learning rate of the encoder, or backbone; 0.1 keeps more of
            pretrained weights.
        layer_decay: Factor of the learning rate from each layer of a ViT encoder to the one
            before it, above 0 to 1; 1 turns it off.
        freeze_encoder: Steps at the beginning that leave the encoder as it is.
        ema: Decay of averaged weights, which are validated and exported instead of the plain
            ones, e.g. 0.999; 0 averages nothing.
        schedule: Learning rate after warm-up: cosine or poly (power 0.9) down to 0, or constant.
        warmup: Steps of linear warm-up.
        clip: Maximum gradient norm; 0 turns clipping off.
        seed: Seed of everything random.
        precision: fp32, or mixed precision bf16 or fp16 (parameters stay float32); auto takes
            the faster of fp32 and bf16 by measurement, where the device has bf16.
        channels_last: Channels-last memory format. [default: the faster one by measurement]
        compile: Compile the network by torch.compile; the first steps take longer.
        device: auto uses CUDA where it is available; cpu and cuda use only that.
        devices: Processes on this machine, one for each device; torchrun and SLURM set their own.
        nodes: Machines.
        workers: Loader processes of each process; 0 loads in the training process.
        evaluate_every: Steps between evaluations; 0 makes ten of them.
        best_by: Score that chooses the best checkpoint. [default: that of the method]
        early_stop: Evaluations without gain after which the run ends; 0 makes all steps.
        save_every: Steps between saves of the last checkpoint; 0 saves at each evaluation.
        log_every: Steps between lines of the history.
        logger: Where values are logged beside the history, one or several: tensorboard, csv,
            mlflow, wandb (Weights & Biases, offline), or none.
        experiment: Name under which mlflow and wandb group runs.
        weights_licence: Licence of the encoder weights, recorded in checkpoints and bundles.
        data_licence: Licence of the data, recorded likewise. [default: licence in dataset.toml]
        mlflow_uri: Address of an MLflow server or store. [default: MLFLOW_TRACKING_URI of the
            environment, else a store in the run's folder]
        cache_mb: Memory of each stream for decoded frames in MB; 0 decodes them again each time.
    """

    steps: int = 1000
    accumulate: int = 1
    epochs: int = 0
    batch_size: int = 8
    lr: float = 1e-3
    weight_decay: float = 1e-2
    encoder_lr: float = 1.0
    layer_decay: float = 1.0
    freeze_encoder: int = 0
    ema: float = 0.0
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    warmup: int = 20
    clip: float = 5.0
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = AUTO
    channels_last: bool | None = None
    compile: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    nodes: int = 1
    workers: int = 2
    evaluate_every: int = 0
    best_by: str | None = None
    early_stop: int = 0
    save_every: int = 0
    log_every: int = 10
    logger: tuple[str, ...] = ("tensorboard",)
    experiment: str = "trocar"
    mlflow_uri: str | None = None
    weights_licence: str | None = None
    data_licence: str | None = None
    cache_mb: int = 512

    def __post_init__(self) -> None:
        require(
            *((getattr(self, n) >= 1, f"{n} must be 1 or more") for n in _POSITIVE),
            *((getattr(self, n) >= 0, f"{n} must be 0 or more") for n in _NOT_NEGATIVE),
            (self.lr > 0, "lr must be above 0"),
            (self.encoder_lr >= 0, "encoder_lr must be 0 or more"),
            (0 < self.layer_decay <= 1, "layer_decay must be above 0, at most 1"),
            (0 <= self.ema < 1, "ema must be at least 0 and below 1"),
            (bool(self.experiment.strip()), "experiment is empty"),
            *((False, fault) for fault in logger_faults(self.logger)),
        )

    @property
    def evaluation_period(self) -> int:
        """Steps between evaluations."""
        return self.evaluate_every or max(self.steps // 10, 1)

    @property
    def save_period(self) -> int:
        """Steps between saves of the last checkpoint."""
        return self.save_every or self.evaluation_period

    def counted(self, epoch_length: int) -> RunConfig:
        """The same with ``epochs``, where they decide, turned into steps."""
        return replace(self, steps=self.epochs * epoch_length) if self.epochs else self

    def batches_of(self, steps: range) -> range:
        """Numbers of the batches of these optimiser steps."""
        return range(steps.start * self.accumulate, steps.stop * self.accumulate)

    def rate(self, step: int) -> float:
        """Learning rate of a step, from the step alone."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        share = min((step - self.warmup) / max(self.steps - self.warmup, 1), 1.0)
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * share))
        if self.schedule == "poly":
            return self.lr * float((1 - share) ** 0.9)
        return self.lr


_POSITIVE = ("steps", "accumulate", "batch_size", "devices", "nodes", "log_every")
_NOT_NEGATIVE = (
    "epochs",
    "weight_decay",
    "warmup",
    "clip",
    "workers",
    "evaluate_every",
    "freeze_encoder",
    "early_stop",
    "save_every",
    "cache_mb",
)

FREE_TO_CHANGE = frozenset(
    {
        "compile",
        "device",
        "devices",
        "nodes",
        "workers",
        "save_every",
        "cache_mb",
        "early_stop",
        "logger",
        "experiment",
        "mlflow_uri",
        "weights_licence",
        "data_licence",
        "steps",
        "epochs",
    }
)
"""Settings that a resumed run may change.

All but the last two do not affect what a step trains. More steps make the run longer: from there on
the learning rate follows the schedule of the new length.
"""
