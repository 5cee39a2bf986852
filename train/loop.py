"""The only training loop: any method, one process or many, to be cut off and resumed at any step.

    train(Job(method=Supervised(Config()), run=RunConfig(), data=data, name="first",
              out=Path("runs/first")))

Exact resuming rests on three things: batches are known by their step, torch's generator is seeded
anew at each step, and the learning rate follows from the step alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trocar.contract.config import to_mapping
from trocar.contract.errors import InterruptedByUserError, TrainingError
from trocar.contract.manifest import InputSpec
from trocar.train.data.loader.worker_pool import feed
from trocar.train.devices import make_fabric, out_of_memory
from trocar.train.methods.protocol import Batch, ModelSpec, Progress
from trocar.train.metrics.segmentation import json_ready
from trocar.train.report.figures import write_curves
from trocar.train.report.progress import Reporter
from trocar.train.state.checkpoint import Checkpoint, load_weights, read_checkpoint, save_checkpoint
from trocar.train.state.job import Job
from trocar.train.state.resume import check_same, stop_signals
from trocar.train.state.run_folder import RunFolder, sink
from trocar.train.step import (
    Losses,
    build,
    check_batch_norm,
    not_finite,
    parameter_groups,
    score_or_lowest,
    step_seed,
)


def train(job: Job) -> dict[str, Any]:
    """Trains, and leaves checkpoints, scores and pictures in the run's folder.

    Returns:
        What ``metrics.json`` holds: ``best`` and ``last``, each with ``step`` and ``scores``.

    Raises:
        OutputExistsError: The folder exists and the run does not resume it.
        TrainingError: A loss is not finite, or memory ran out.
        InterruptedByUserError: Ctrl-C or SIGTERM; the last checkpoint is ready to resume.
        CheckpointError: The checkpoint to resume from does not fit.
        SinkError: The disk is full or not writable.
    """
    folder = RunFolder(job.out)
    fabric = make_fabric(job.run)
    first = fabric.is_global_zero
    if first:
        folder.check(resume=job.resume)
    run = _Run(job, folder, fabric)
    if first:
        folder.start(job.recipe(), job.command)
        folder.rewind(run.done)
    try:
        with Reporter(
            job.out,
            total=run.job.run.steps,
            first=run.done,
            best=job.method.monitor,
            silent=not first,
        ) as reporter:
            run.fit(reporter)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise TrainingError(
            f"memory ran out at step {run.done} on {fabric.device}: {str(error).splitlines()[0]}",
            remedy=f"lower --batch-size (now {job.run.batch_size}) or --size, choose a lighter "
            "--encoder, or pass --precision bf16; then start again or --resume",
        ) from error
    return run.finish()


def _lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Gives the moments the memory layout of their parameters, which the fused step assumes."""
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)


class _Run:
    """State of a run in this process."""

    def __init__(self, job: Job, folder: RunFolder, fabric: Any) -> None:
        self.job, self.folder, self.fabric = job, folder, fabric
        self.data = replace(job.data, rank=fabric.global_rank, world=fabric.world_size)
        height, width = job.method.config.size
        self.spec = ModelSpec(
            name=job.name,
            classes=job.data.labelled.table,
            input=InputSpec(height=height, width=width),
        )
        self.streams = dict(job.method.streams(self.data))
        self.epoch_length = len(next(iter(self.streams.values())))
        job = self.job = replace(job, run=job.run.counted(self.epoch_length))
        check_batch_norm(job.method, job.run.batch_size // fabric.world_size)
        self.done = 0
        self.state: dict[str, Any] = {"best": None, "last": None}
        resumed = None
        if job.resume and folder.last.is_file():
            resumed = read_checkpoint(folder.last)
            check_same(resumed, job.method, job.run, self.spec)
        torch.manual_seed(job.run.seed)
        self.network = build(job.method, self.spec, skip_pretrained=resumed is not None)
        if resumed is not None:
            load_weights(self.network, resumed.weights, source=str(folder.last))
            self.done, self.state = resumed.step, dict(resumed.state)
        if job.run.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.losses = Losses(job.method, self.network)
        optimizer = torch.optim.AdamW(
            parameter_groups(self.network, job.run.weight_decay),
            lr=job.run.lr,
            betas=(0.9, 0.999),
            # One kernel for all tensors takes a fraction of the time; with float16 it would undo
            # the scaling of the gradients itself, which then cannot be clipped.
            fused=job.run.precision != "fp16" or None,
        )
        self.module, self.optimizer = fabric.setup(self.losses, optimizer)
        if resumed is not None:
            self.optimizer.load_state_dict(resumed.optimizer)
            _lay_out_as_parameters(optimizer)
            fabric.strategy.precision.load_state_dict(self.state.pop("precision", {}))
        self.seconds = float(self.state.get("seconds", 0.0))

    def fit(self, reporter: Reporter) -> None:
        """Makes the steps that are left."""
        run, began = self.job.run, time.monotonic()
        before = self.seconds
        reporter.say(
            f"{self.job.method.name} on {self.fabric.device}, {run.precision}, "
            f"{self.fabric.world_size} process(es), {len(self.data.labelled)} labelled frames, "
            f"{sum(p.numel() for p in self.network.parameters()) / 1e6:.2f} M parameters"
        )
        self.module.train()
        batches = feed(
            self.streams, range(self.done, run.steps), workers=run.workers,
            pin_memory=self.fabric.device.type == "cuda",
        )  # fmt: skip
        with stop_signals() as stopped:
            for batch in batches:
                loss, terms = self._step(batch)
                self.done += 1
                self.seconds = before + time.monotonic() - began
                reporter.step(self.done, loss)
                if self.done % run.log_every == 0 or self.done == run.steps:
                    self._log(loss, terms, reporter)
                evaluated = self.done % run.evaluation_period == 0 or self.done == run.steps
                if evaluated:
                    self._evaluate(reporter)
                stop = self._any(stopped())
                if stop or evaluated or self.done % run.save_period == 0:
                    self._save(self.folder.last)
                if stop:
                    reporter.say(f"stopped after step {self.done}; go on with --resume")
                    raise InterruptedByUserError(
                        f"stopped after step {self.done}",
                        remedy=f"go on with --resume; {self.folder.last} is whole",
                    )

    def finish(self) -> dict[str, Any]:
        """Writes the scores and pictures of a run that is done; the pictures show its best."""
        best_score = self.state["best"] or {}
        metrics = {
            "method": self.job.method.name,
            "task": self.job.method.task,
            "best_by": self.job.method.monitor,
            "best": best_score,
            "last": self.state["last"],
            "steps": self.done,
            "seconds": round(self.seconds, 2),
            "images_per_second": round(
                self.done * self.job.run.batch_size / max(self.seconds, 1e-9), 2
            ),
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "device": str(self.fabric.device),
            "precision": self.job.run.precision,
            "processes": self.fabric.world_size,
        }
        if self.fabric.is_global_zero:
            self.folder.write_metrics(metrics)
            with sink(self.folder.path):
                write_curves(
                    self.folder.history(),
                    self.folder.path / "curves.png",
                    best=self.job.method.monitor,
                )
                if self.folder.best.is_file():
                    weights = read_checkpoint(self.folder.best).weights
                    load_weights(self.network, weights, source=str(self.folder.best))
                self.job.method.save_predictions(self.data, self.folder.path / "predictions.png")
        self.fabric.barrier()
        return metrics

    def _step(self, batch: Mapping[str, Batch]) -> tuple[float, dict[str, Tensor]]:
        run, step = self.job.run, self.done
        length = self.epoch_length
        progress = Progress(step, run.steps, step // length, -(-run.steps // length))
        for group in self.optimizer.param_groups:
            group["lr"] = run.rate(step)
        torch.manual_seed(step_seed(run.seed, step, self.fabric.global_rank))
        self.losses.progress = progress
        terms = self.module(self.fabric.to_device(batch))
        total = torch.stack([term.float() for term in terms.values()]).sum()
        loss = float(self._mean(total.detach()))
        if not math.isfinite(loss):
            raise not_finite("the loss", step, terms, batch)
        self.fabric.backward(total)
        norm = self.fabric.clip_gradients(
            self.module, self.optimizer, max_norm=run.clip or math.inf, error_if_nonfinite=False
        )
        # With fp16 the scaler meets such gradients by design: it skips the step and scales less.
        if run.precision != "fp16" and not math.isfinite(float(norm)):
            raise not_finite("the gradient", step, terms, batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.job.method.after_step(progress)
        return loss, terms

    def _log(self, loss: float, terms: Mapping[str, Tensor], reporter: Reporter) -> None:
        values = {name: float(self._mean(term.detach().float())) for name, term in terms.items()}
        rate = self.job.run.rate(self.done - 1)
        logged = {name: float(value) for name, value in self.job.method.logged.items()}
        reporter.losses(self.done, {**values, "total": loss}, logged, rate)
        if self.fabric.is_global_zero:
            self.folder.add(
                {"step": self.done, "loss": loss, "losses": values, "logged": logged, "lr": rate,
                 "seconds": round(self.seconds, 3)}
            )  # fmt: skip

    def _evaluate(self, reporter: Reporter) -> None:
        scores: dict[str, float] = {}
        if self.fabric.is_global_zero:
            self.network.eval()
            with torch.no_grad():
                scores = self.job.method.evaluate(self.data)
        scores = self.fabric.broadcast(scores, src=0)
        self.module.train()
        entry = {"step": self.done, "scores": json_ready(scores)}
        known = self.state["best"]
        improved = known is None or score_or_lowest(
            scores, self.job.method.monitor
        ) > score_or_lowest(known["scores"], self.job.method.monitor)
        self.state["last"] = entry
        if improved:
            self.state["best"] = entry
            self._save(self.folder.best, optimizer=False)
        reporter.scores(self.done, scores, improved=improved)
        if self.fabric.is_global_zero:
            self.folder.add(entry)

    def _save(self, path: Path, *, optimizer: bool = True) -> None:
        if self.fabric.is_global_zero:
            state = {
                **self.state,
                "seconds": self.seconds,
                "precision": dict(self.fabric.strategy.precision.state_dict()),
            }
            save_checkpoint(
                path,
                Checkpoint(
                    method=self.job.method.name,
                    config=to_mapping(self.job.method.config),
                    run=to_mapping(self.job.run),
                    spec=self.spec,
                    step=self.done,
                    weights=self.network.state_dict(),
                    optimizer=self.optimizer.state_dict() if optimizer else {},
                    state=state,
                    source={**self.job.source, "command": self.job.command},
                ),
            )

    def _mean(self, value: Tensor) -> Tensor:
        if self.fabric.world_size == 1:
            return value
        reduced: Tensor = self.fabric.all_reduce(value, reduce_op="mean")
        return reduced

    def _any(self, flag: bool) -> bool:
        """Whether any process was told to stop: all stop after the same step."""
        if self.fabric.world_size == 1:
            return flag
        value = torch.tensor(float(flag), device=self.fabric.device)
        return bool(self.fabric.all_reduce(value, reduce_op="sum") > 0)
