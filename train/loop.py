"""The only training loop: any method, one process or many, stopped and resumed at any step.

    train(Job(method=Supervised(SegmentationConfig()), run=RunConfig(), data=data, name="first",
              out=Path("runs/first")))

Resuming is exact because batches depend on their step alone, torch's generator is seeded again at
each step, and the learning rate follows from the step. The file reads in call order: `train`,
`fit`, `train_step`, `validate`, `save`, `finish`; `trocar.train.setup` makes what they work with.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from trocar.contract.config import to_mapping
from trocar.contract.errors import InterruptedByUserError, TrainingError
from trocar.contract.text.words import first_line
from trocar.train.data.loader.worker_pool import feed
from trocar.train.devices import make_fabric, mean_over_ranks, out_of_memory
from trocar.train.loggers.group import Loggers
from trocar.train.loggers.protocol import RunInfo
from trocar.train.loggers.registry import check_packages
from trocar.train.methods.protocol import Batch
from trocar.train.metrics.segmentation import json_ready
from trocar.train.optimisation.averaging import averaged
from trocar.train.optimisation.best import check_score, gain
from trocar.train.optimisation.groups import set_rates
from trocar.train.report.figures import write_curves
from trocar.train.report.progress import Reporter
from trocar.train.setup import restore, setup
from trocar.train.state.checkpoint import Checkpoint, load_weights, read_checkpoint, save_checkpoint
from trocar.train.state.job import Job
from trocar.train.state.resume import stop_signals, with_origin
from trocar.train.state.run_folder import METRICS, RunFolder, disk_errors
from trocar.train.state.training import Evaluation, Training
from trocar.train.step import StepValues, names_of, progress_at, read_step, step_seed


def train(job: Job) -> dict[str, Any]:
    """Trains, and writes checkpoints, scores and figures into the run's folder.

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
    is_main_process = fabric.is_global_zero
    if is_main_process:
        folder.check(resume=job.resume)
        check_packages(job.run.logger)
    checkpoint = read_checkpoint(folder.last) if job.resume and folder.last.is_file() else None
    if checkpoint is not None:
        job = with_origin(job, checkpoint)
    training = setup(job, folder=folder, fabric=fabric, checkpoint=checkpoint)
    job = training.job
    if checkpoint is not None:
        restore(training, checkpoint)
    state = training.state
    if checkpoint is None and training.run.best_by:
        check_score(_scores(training), training.run.best_by)
    if is_main_process:
        folder.start(job.recipe(), job.command)
        folder.rewind(state.step)
    reporter = Reporter(
        total=training.run.steps,
        done=state.step,
        monitor=training.monitor,
        silent=not is_main_process,
    )
    with _loggers(training, reporter) as loggers:
        try:
            with reporter:
                fit(training, reporter, loggers)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise TrainingError(
                f"memory ran out at step {state.step} on {fabric.device}: {first_line(error)}",
                remedy=f"lower --batch-size (now {job.run.batch_size}) or --size, choose a lighter "
                "--encoder, or pass --precision bf16; then start again or --resume",
            ) from error
        return finish(training, loggers)


def _loggers(training: Training, reporter: Reporter) -> Loggers:
    """The loggers of the main process; other processes have none."""
    job, run = training.job, training.run
    return Loggers(
        run.logger if training.fabric.is_global_zero else (),
        RunInfo(
            name=job.name,
            folder=job.out,
            settings=job.recipe(),
            step=training.state.step,
            experiment=run.experiment,
            uri=run.mlflow_uri,
        ),
        say=reporter.say,
    )


def fit(training: Training, reporter: Reporter, loggers: Loggers) -> None:
    """Makes the steps that are left.

    Raises:
        TrainingError: A loss or gradient is not finite.
        InterruptedByUserError: Ctrl-C or SIGTERM, after ``last.ckpt`` was saved.
    """
    run, state, fabric = training.run, training.state, training.fabric
    parameters = sum(p.numel() for p in training.network.parameters())
    reporter.say(
        f"{training.job.method.name} on {fabric.device}, {run.precision}, "
        f"{fabric.world_size} process(es), {len(training.data.labelled)} labelled frames, "
        f"{parameters / 1e6:.2f} M parameters"
    )
    for note in (*training.notes, *training.data.labelled.notes, *training.job.method.notes):
        reporter.say(f"note: {note}")
    if training.is_done:
        return
    training.module.train()
    seconds_before, began = state.seconds, time.monotonic()
    batches = feed(
        training.streams,
        run.batches_of(range(state.step, run.steps)),
        workers=run.workers,
        pin_memory=fabric.device.type == "cuda",
    )
    with stop_signals() as stopped:
        while not training.is_done:
            # Several processes agree on it in the step's own reduction, without a wait more.
            values = train_step(training, batches, stop=stopped())
            state.step += 1
            state.seconds = seconds_before + time.monotonic() - began
            reporter.step(state.step, values.loss)
            is_last = state.step == run.steps
            if is_last or state.step % run.log_every == 0:
                log_step(training, loggers, values)
            evaluated = is_last or state.step % run.evaluation_period == 0
            if evaluated:
                validate(training, reporter, loggers)
                if training.is_done and not is_last:
                    reporter.say(
                        f"ends early at step {state.step}: {state.stale} evaluations without gain "
                        f"in {training.monitor}"
                    )
            stop = stopped() if fabric.world_size == 1 else values.stop
            if stop or evaluated or state.step % run.save_period == 0:
                save(training, training.folder.last)
            if stop:
                reporter.say(f"stopped after step {state.step}; continue with --resume")
                raise InterruptedByUserError(
                    f"stopped after step {state.step}",
                    remedy=f"continue with --resume; {training.folder.last} is complete",
                )


def train_step(
    training: Training, batches: Iterator[Mapping[str, Batch]], *, stop: bool = False
) -> StepValues:
    """Makes one optimiser step, of one batch or several; reads its numbers, and waits, once.

    Args:
        training: The run.
        batches: Of the following steps.
        stop: Whether this process was asked to stop; the result says whether any was.

    Raises:
        TrainingError: The loss or its gradient is not finite; the weights are as they were.
    """
    run, step, fabric = training.run, training.state.step, training.fabric
    set_rates(training.optimizer.param_groups, run.rate(step))
    training.freeze.before_step(step, training.module)
    totals, terms, files = [], [], []
    for part in range(run.accumulate):
        batch = next(batches)
        torch.manual_seed(step_seed(run.seed, step * run.accumulate + part, fabric.global_rank))
        # Gradients of many processes meet once in a step.
        is_last = part == run.accumulate - 1
        with fabric.no_backward_sync(training.module, enabled=not is_last):
            losses = training.module(fabric.to_device(batch), step)
            total = torch.stack([term.float() for term in losses.values()]).sum() / run.accumulate
            fabric.backward(total)
        totals.append(total.detach())
        terms.append({name: term.detach() for name, term in losses.items()})
        files.append(names_of(batch))
    norm = fabric.clip_gradients(
        training.module,
        training.optimizer,
        max_norm=run.clip or math.inf,
        error_if_nonfinite=False,
    )
    values = read_step(
        totals,
        terms,
        norm=norm,
        stop=stop,
        logged=training.job.method.logged,
        reduce=lambda numbers: mean_over_ranks(fabric, numbers),
    )
    # With fp16 such gradients are expected: the scaler skips the step and lowers its scale.
    values.check(step, files, gradient=run.precision != "fp16")
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        training.job.method.after_step(
            progress_at(step, total_steps=run.steps, epoch_length=training.epoch_length)
        )
        if training.average is not None:
            training.average.update(training.network, step=step + 1)
    return values


def log_step(training: Training, loggers: Loggers, values: StepValues) -> None:
    """Writes the losses of the step that was just made to the history and the loggers."""
    fabric, state = training.fabric, training.state
    rate = training.run.rate(state.step - 1)
    loggers.scalars(
        state.step,
        {
            **{f"loss/{name}": value for name, value in values.terms.items()},
            "loss/total": values.loss,
            **{f"logged/{name}": value for name, value in values.logged.items()},
            "lr": rate,
        },
    )
    if fabric.is_global_zero:
        training.folder.add(
            {"step": state.step, "loss": values.loss, "losses": values.terms,
             "logged": values.logged, "lr": rate, "seconds": round(state.seconds, 3)}
        )  # fmt: skip


def validate(training: Training, reporter: Reporter, loggers: Loggers) -> None:
    """Scores the deployable network on the validation set; saves it when it is the best so far."""
    fabric, state = training.fabric, training.state
    with averaged(training.network, training.average):
        scores = _scores(training)
        state.last = Evaluation(step=state.step, scores=json_ready(scores))
        improved = gain(scores, state.best.scores if state.best else None, training.monitor)
        state.stale = 0 if improved else state.stale + 1
        if improved:
            state.best = state.last
            save(training, training.folder.best, resumable=False)
    reporter.scores(state.step, scores, improved=improved)
    loggers.scalars(
        state.step,
        {f"validation/{n}": v for n, v in scores.items() if v is not None and math.isfinite(v)},
    )
    if fabric.is_global_zero:
        training.folder.add(state.last.to_dict())


def _scores(training: Training) -> dict[str, float]:
    """Scores of the network as it is now, the same in every process."""
    fabric, scores = training.fabric, {}
    if fabric.is_global_zero:
        training.network.eval()
        with torch.no_grad():
            scores = training.job.method.evaluate(training.data)
    training.module.train()
    everywhere: dict[str, float] = fabric.broadcast(scores, src=0)
    return everywhere


def save(training: Training, path: Path, *, resumable: bool = True) -> None:
    """Writes a checkpoint in the main process, with all that a run needs to resume, or without.

    Raises:
        SinkError: The disk is full or not writable.
    """
    job, fabric = training.job, training.fabric
    if not fabric.is_global_zero:
        return
    save_checkpoint(
        path,
        Checkpoint(
            method=job.method.name,
            config=to_mapping(job.method.config),
            run=to_mapping(training.run),
            spec=training.spec,
            step=training.state.step,
            weights=training.network.state_dict(),
            optimizer=training.optimizer.state_dict() if resumable else {},
            average=(
                training.average.module.state_dict()
                if resumable and training.average is not None
                else {}
            ),
            state={
                **training.state.to_dict(),
                "precision": dict(fabric.strategy.precision.state_dict()),
            },
            source={**job.source, "command": job.command},
        ),
    )


def finish(training: Training, loggers: Loggers) -> dict[str, Any]:
    """Writes ``metrics.json``, the curves, and predictions of the best checkpoint."""
    method, folder, state = training.job.method, training.folder, training.state
    metrics = {
        "method": method.name,
        "task": method.task,
        "best_by": training.monitor,
        "best": state.best.to_dict() if state.best else {},
        "last": state.last.to_dict() if state.last else None,
        "steps": state.step,
        "seconds": round(state.seconds, 2),
        "images_per_second": round(
            state.step * training.run.batch_size / max(state.seconds, 1e-9), 2
        ),
        "parameters": sum(p.numel() for p in training.network.parameters()),
        "device": str(training.fabric.device),
        "precision": training.run.precision,
        "processes": training.fabric.world_size,
    }
    if training.fabric.is_global_zero:
        folder.write_metrics(metrics)
        with disk_errors(folder.path):
            write_curves(folder.history(), folder.path / "curves.png", monitor=training.monitor)
            if folder.best.is_file():
                weights = read_checkpoint(folder.best).weights
                load_weights(training.network, weights, source=str(folder.best))
            method.save_predictions(training.data, folder.path / "predictions.png")
        for name in ("curves", "predictions"):
            loggers.picture(name, folder.path / f"{name}.png", state.step)
        for path in (folder.best, folder.path / METRICS):
            loggers.artefact(path)
    training.fabric.barrier()
    return metrics
