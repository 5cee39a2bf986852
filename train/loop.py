"""The only training loop: any method, one process or many, stopped and resumed at any step.

    train(Job(method=Supervised(SegmentationConfig()), run=RunConfig(), data=data, name="first",
              out=Path("runs/first")))

Resuming is exact because batches depend on their step alone, torch's generator is seeded again at
each step, and the learning rate follows from the step. The file reads in call order: `train`,
`setup`, `restore`, `fit`, `train_step`, `validate`, `save`, `finish`.
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
from trocar.contract.text.words import first_line
from trocar.train.data.loader.worker_pool import feed
from trocar.train.devices import any_rank, make_fabric, mean_over_ranks, out_of_memory
from trocar.train.methods.protocol import Batch, ModelSpec
from trocar.train.metrics.segmentation import json_ready
from trocar.train.report.figures import write_curves
from trocar.train.report.progress import Reporter
from trocar.train.state.checkpoint import Checkpoint, load_weights, read_checkpoint, save_checkpoint
from trocar.train.state.job import Job
from trocar.train.state.resume import (
    check_same,
    check_same_data,
    extension_note,
    stop_signals,
    with_origin,
)
from trocar.train.state.run_folder import RunFolder, disk_errors
from trocar.train.state.start_from import start_network
from trocar.train.state.training import Evaluation, Training
from trocar.train.step import (
    Losses,
    build,
    check_batch_norm,
    make_optimizer,
    match_memory_format,
    not_finite,
    progress_at,
    score_or_lowest,
    step_seed,
)


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
    checkpoint = read_checkpoint(folder.last) if job.resume and folder.last.is_file() else None
    if checkpoint is not None:
        job = with_origin(job, checkpoint)
    training = setup(job, folder=folder, fabric=fabric, checkpoint=checkpoint)
    if checkpoint is not None:
        restore(training, checkpoint)
    state = training.state
    if is_main_process:
        folder.start(job.recipe(), job.command)
        folder.rewind(state.step)
    try:
        with Reporter(
            job.out,
            total=training.run.steps,
            done=state.step,
            monitor=job.method.monitor,
            silent=not is_main_process,
        ) as reporter:
            fit(training, reporter)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise TrainingError(
            f"memory ran out at step {state.step} on {fabric.device}: {first_line(error)}",
            remedy=f"lower --batch-size (now {job.run.batch_size}) or --size, choose a lighter "
            "--encoder, or pass --precision bf16; then start again or --resume",
        ) from error
    return finish(training)


def setup(job: Job, *, folder: RunFolder, fabric: Any, checkpoint: Checkpoint | None) -> Training:
    """Makes streams, network and optimiser.

    Args:
        job: The job.
        folder: The run's folder.
        fabric: Lightning Fabric, launched.
        checkpoint: Where the run resumes; its settings are checked and no starting weights are
            fetched. `restore` loads its content.

    Raises:
        CheckpointError: The checkpoint is of other settings.
        ConfigError: The batch is too small for batch normalisation.
    """
    data = replace(job.data, rank=fabric.global_rank, world=fabric.world_size)
    height, width = job.method.config.size
    spec = ModelSpec(
        name=job.name,
        classes=job.data.labelled.table,
        input=InputSpec(height=height, width=width),
    )
    streams = dict(job.method.streams(data))
    epoch_length = len(next(iter(streams.values())))
    run = job.run.counted(epoch_length)
    check_batch_norm(job.method, run.batch_size // fabric.world_size)
    if checkpoint is not None:
        check_same(checkpoint, job.method, run, spec)
        check_same_data(checkpoint, job)
    torch.manual_seed(run.seed)
    network = build(
        job.method, spec, skip_pretrained=checkpoint is not None or job.start is not None
    )
    notes: list[str] = []
    if checkpoint is not None:
        notes += extension_note(checkpoint, run)
    elif job.start is not None:
        notes.append(start_network(network, spec.classes, job.start))
    loaded = (getattr(module, "weights_note", "") for module in network.modules())
    notes += sorted({note for note in loaded if note})
    if run.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    losses = Losses(job.method, network, total_steps=run.steps, epoch_length=epoch_length)
    module, optimizer = fabric.setup(losses, make_optimizer(network, run))
    return Training(
        job=job,
        run=run,
        data=data,
        spec=spec,
        folder=folder,
        fabric=fabric,
        streams=streams,
        epoch_length=epoch_length,
        network=network,
        module=module,
        optimizer=optimizer,
        notes=tuple(notes),
    )


def restore(training: Training, checkpoint: Checkpoint) -> None:
    """Puts weights, optimiser, loss scaling and scores back to where the checkpoint was saved."""
    load_weights(training.network, checkpoint.weights, source=str(training.folder.last))
    training.optimizer.load_state_dict(checkpoint.optimizer)
    match_memory_format(training.optimizer.optimizer)
    training.fabric.strategy.precision.load_state_dict(checkpoint.state.get("precision", {}))
    training.state.restore(checkpoint)


def fit(training: Training, reporter: Reporter) -> None:
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
    training.module.train()
    seconds_before, began = state.seconds, time.monotonic()
    batches = feed(
        training.streams,
        range(state.step, run.steps),
        workers=run.workers,
        pin_memory=fabric.device.type == "cuda",
    )
    with stop_signals() as stopped:
        for batch in batches:
            loss, terms = train_step(training, batch)
            state.step += 1
            state.seconds = seconds_before + time.monotonic() - began
            reporter.step(state.step, loss)
            is_last = state.step == run.steps
            if is_last or state.step % run.log_every == 0:
                log_step(training, reporter, loss, terms)
            evaluated = is_last or state.step % run.evaluation_period == 0
            if evaluated:
                validate(training, reporter)
            stop = any_rank(fabric, stopped())
            if stop or evaluated or state.step % run.save_period == 0:
                save(training, training.folder.last)
            if stop:
                reporter.say(f"stopped after step {state.step}; continue with --resume")
                raise InterruptedByUserError(
                    f"stopped after step {state.step}",
                    remedy=f"continue with --resume; {training.folder.last} is complete",
                )


def train_step(training: Training, batch: Mapping[str, Batch]) -> tuple[float, dict[str, Tensor]]:
    """Makes one optimiser step; gives the total loss and its terms.

    Raises:
        TrainingError: The loss or its gradient is not finite; the weights are as they were.
    """
    run, step, fabric = training.run, training.state.step, training.fabric
    for group in training.optimizer.param_groups:
        group["lr"] = run.rate(step)
    torch.manual_seed(step_seed(run.seed, step, fabric.global_rank))
    terms = training.module(fabric.to_device(batch), step)
    total = torch.stack([term.float() for term in terms.values()]).sum()
    loss = float(mean_over_ranks(fabric, total.detach()))
    if not math.isfinite(loss):
        raise not_finite("the loss", step, terms, batch)
    fabric.backward(total)
    norm = fabric.clip_gradients(
        training.module,
        training.optimizer,
        max_norm=run.clip or math.inf,
        error_if_nonfinite=False,
    )
    # With fp16 such gradients are expected: the scaler skips the step and lowers its scale.
    if run.precision != "fp16" and not math.isfinite(float(norm)):
        raise not_finite("the gradient", step, terms, batch)
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        training.job.method.after_step(
            progress_at(step, total_steps=run.steps, epoch_length=training.epoch_length)
        )
    return loss, terms


def log_step(
    training: Training, reporter: Reporter, loss: float, terms: Mapping[str, Tensor]
) -> None:
    """Writes the losses of the step that was just made to the history and to TensorBoard."""
    fabric, state = training.fabric, training.state
    values = {name: float(mean_over_ranks(fabric, t.detach().float())) for name, t in terms.items()}
    rate = training.run.rate(state.step - 1)
    logged = {name: float(value) for name, value in training.job.method.logged.items()}
    reporter.losses(state.step, {**values, "total": loss}, logged, rate)
    if fabric.is_global_zero:
        training.folder.add(
            {"step": state.step, "loss": loss, "losses": values, "logged": logged, "lr": rate,
             "seconds": round(state.seconds, 3)}
        )  # fmt: skip


def validate(training: Training, reporter: Reporter) -> None:
    """Scores the deployable network on the validation set; saves it when it is the best so far."""
    method, fabric, state = training.job.method, training.fabric, training.state
    scores: dict[str, float] = {}
    if fabric.is_global_zero:
        training.network.eval()
        with torch.no_grad():
            scores = method.evaluate(training.data)
    scores = fabric.broadcast(scores, src=0)
    training.module.train()
    state.last = Evaluation(step=state.step, scores=json_ready(scores))
    improved = state.best is None or score_or_lowest(scores, method.monitor) > score_or_lowest(
        state.best.scores, method.monitor
    )
    if improved:
        state.best = state.last
        save(training, training.folder.best, optimizer=False)
    reporter.scores(state.step, scores, improved=improved)
    if fabric.is_global_zero:
        training.folder.add(state.last.to_dict())


def save(training: Training, path: Path, *, optimizer: bool = True) -> None:
    """Writes a checkpoint in the main process.

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
            optimizer=training.optimizer.state_dict() if optimizer else {},
            state={
                **training.state.to_dict(),
                "precision": dict(fabric.strategy.precision.state_dict()),
            },
            source={**job.source, "command": job.command},
        ),
    )


def finish(training: Training) -> dict[str, Any]:
    """Writes ``metrics.json``, the curves, and predictions of the best checkpoint."""
    method, folder, state = training.job.method, training.folder, training.state
    metrics = {
        "method": method.name,
        "task": method.task,
        "best_by": method.monitor,
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
            write_curves(folder.history(), folder.path / "curves.png", monitor=method.monitor)
            if folder.best.is_file():
                weights = read_checkpoint(folder.best).weights
                load_weights(training.network, weights, source=str(folder.best))
            method.save_predictions(training.data, folder.path / "predictions.png")
    training.fabric.barrier()
    return metrics
