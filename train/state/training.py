"""A run while it trains: what it works with, and how far it is.

state = RunState(step=100)
state.to_dict()          # what a checkpoint keeps of it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from trocar.train.methods.protocol import BatchSource, ModelSpec, TrainData
from trocar.train.optimisation.groups import EncoderFreeze
from trocar.train.state.checkpoint import Checkpoint
from trocar.train.state.job import Job
from trocar.train.state.run_folder import RunFolder
from trocar.train.state.settings import RunConfig


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores on the validation set after a step.

    Attributes:
        step: Steps that were done.
        scores: Scores by name; ``None`` where there was nothing to score.
    """

    step: int
    scores: Mapping[str, float | None]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Evaluation | None:
        """Reads `to_dict`; ``None`` stays ``None``."""
        return cls(step=values["step"], scores=values["scores"]) if values else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"step": self.step, "scores": dict(self.scores)}


@dataclass(kw_only=True)
class RunState:
    """How far a run is.

    Attributes:
        step: Optimiser steps that are done.
        seconds: Training time so far.
        best: The best evaluation so far.
        last: The newest evaluation.
        stale: Evaluations since the best one.
    """

    step: int = 0
    seconds: float = 0.0
    best: Evaluation | None = None
    last: Evaluation | None = None
    stale: int = 0

    def restore(self, checkpoint: Checkpoint) -> None:
        """Takes over what a checkpoint keeps."""
        self.step = checkpoint.step
        self.seconds = float(checkpoint.state.get("seconds", 0.0))
        self.best = Evaluation.from_dict(checkpoint.state.get("best"))
        self.last = Evaluation.from_dict(checkpoint.state.get("last"))
        self.stale = int(checkpoint.state.get("stale", 0))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the step has its own place in a checkpoint."""
        return {
            "best": self.best.to_dict() if self.best else None,
            "last": self.last.to_dict() if self.last else None,
            "seconds": self.seconds,
            "stale": self.stale,
        }


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a run works with in this process, as `setup` makes it.

    Attributes:
        job: The job, as it was given.
        run: Its loop settings, epochs turned into steps.
        data: Its data, with the rank of this process.
        spec: Name, classes and input of the model.
        folder: Where the run writes.
        fabric: Lightning Fabric, launched.
        streams: The method's batch sources.
        epoch_length: Steps of one pass over the first stream.
        network: What is trained; its ``state_dict`` is what checkpoints hold.
        module: The losses of ``network``, wrapped by Fabric for precision and many devices.
        optimizer: The optimiser, wrapped by Fabric.
        freeze: Keeps the encoder as it is for the first steps.
        average: Averaged weights, see `trocar.train.optimisation.averaging`; ``None`` for none.
        notes: What a person should know of how the run begins.
        state: Steps, time and scores so far; the only part that changes.
    """

    job: Job
    run: RunConfig
    data: TrainData
    spec: ModelSpec
    folder: RunFolder
    fabric: Any
    streams: Mapping[str, BatchSource]
    epoch_length: int
    network: nn.Module
    module: nn.Module
    optimizer: Any
    freeze: EncoderFreeze
    average: Any = None
    notes: tuple[str, ...] = ()
    state: RunState = field(default_factory=RunState)

    @property
    def monitor(self) -> str:
        """The score that chooses the best checkpoint."""
        return self.run.best_by or self.job.method.monitor

    @property
    def is_done(self) -> bool:
        """Whether all steps are made, or the run stopped early."""
        is_stale = 0 < self.run.early_stop <= self.state.stale
        return is_stale or self.state.step >= self.run.steps
