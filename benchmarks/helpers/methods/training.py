"""Runs of benchmarks/methods.py: the data of a run, and its trained network.

train_data(0, labelled, validation, unlabelled=rest)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers.methods.variants import BATCH
from torch import nn

from trocar.contract.config import from_mapping
from trocar.train.data.sample import FrameSet
from trocar.train.loop import train
from trocar.train.methods import find_method
from trocar.train.methods.protocol import TrainData
from trocar.train.state.checkpoint import load_deployable
from trocar.train.state.job import Job
from trocar.train.state.settings import RunConfig
from trocar.train.state.start_from import read_start


def train_data(
    seed: int, labelled: FrameSet, validation: FrameSet, **others: FrameSet | None
) -> TrainData:
    """The data of one run; ``others`` are the sets that only some methods use."""
    return TrainData(
        labelled=labelled,
        validation=validation,
        batch_size=BATCH,
        seed=seed,
        cache_mb=256,
        augmentation="light",
        **others,
    )


def train_or_load(
    out: Path,
    method: str,
    settings: Mapping[str, Any],
    *,
    data: TrainData,
    steps: int,
    lr: float,
    start: Path | None = None,
    **loop: Any,
) -> nn.Module:
    """Train a network, or load it if an earlier call has finished the run.

    ``start`` is a run folder to start from; ``loop`` are other settings of the loop.
    """
    if not (out / "metrics.json").is_file():
        kind = find_method(method)
        instance = kind(from_mapping(kind.Config, dict(settings), source="benchmark"))
        run = RunConfig(
            steps=steps,
            batch_size=BATCH,
            lr=lr,
            seed=data.seed,
            workers=0,
            device="cpu",
            precision="fp32",
            channels_last=True,  # A fixed one: the choice by measurement can differ between runs.
            evaluate_every=steps,
            save_every=max(steps // 4, 1),
            cache_mb=256,
            **loop,
        )
        job = Job(
            method=instance,
            run=run,
            data=data,
            name=method,
            out=out,
            resume=out.exists(),
            start=None if start is None else read_start(start),
        )
        train(job)
    return load_deployable(out / "last.ckpt")[0]
