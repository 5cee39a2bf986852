"""Makes what a run works with: streams, network, optimiser; and puts back what a checkpoint keeps.

training = setup(job, folder=folder, fabric=fabric, checkpoint=None)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from trocar.contract.errors import ConfigError
from trocar.contract.manifest import InputSpec
from trocar.train.losses.class_weights import set_class_weights
from trocar.train.methods.protocol import BatchSource, ModelSpec
from trocar.train.optimisation.averaging import make_average
from trocar.train.optimisation.compiled import compile_network
from trocar.train.optimisation.fastest import MIN_STEPS, Choice, candidates, measure, resolved
from trocar.train.optimisation.groups import EncoderFreeze, make_optimizer, match_memory_format
from trocar.train.state.checkpoint import Checkpoint, load_weights
from trocar.train.state.job import Job
from trocar.train.state.resume import check_same, check_same_data, extension_note, with_choices
from trocar.train.state.run_folder import RunFolder
from trocar.train.state.settings import RunConfig
from trocar.train.state.start_from import start_network
from trocar.train.state.training import Training
from trocar.train.step import Losses, build, check_batch_norm


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
        ConfigError: The batch is too small for batch normalisation, or settings exclude each other.
    """
    data = replace(job.data, rank=fabric.global_rank, world=fabric.world_size)
    height, width = job.method.config.size
    spec = ModelSpec(
        name=job.name,
        classes=job.data.labelled.table,
        input=InputSpec(height=height, width=width),
    )
    streams = dict(job.method.streams(data))
    epoch_length = -(-len(next(iter(streams.values()))) // job.run.accumulate)
    if checkpoint is not None:
        job = replace(job, run=with_choices(job.run, checkpoint))
    run = job.run.counted(epoch_length)
    if run.ema and getattr(job.method.config, "bn_batches", 0):
        raise ConfigError(
            f"bn_batches is {job.method.config.bn_batches} and ema is {run.ema:g}: the statistics "
            "would be computed for the plain weights, but the averaged ones are exported",
            remedy="drop --bn-batches or --ema",
        )
    weights_note = set_class_weights(job.method, job.data.labelled)
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
    notes += sorted({note for note in (*loaded, weights_note) if note})
    losses = Losses(job.method, network, total_steps=run.steps, epoch_length=epoch_length)
    choice = _choose(losses, streams, run, fabric)
    run = resolved(run, choice.candidate)
    job = replace(job, run=resolved(job.run, choice.candidate))
    notes += [choice.text] if choice.text else []
    losses.is_bf16 = run.precision == "bf16"
    if run.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if run.compile:
        parts = compile_network(network, fabric.device)
        notes.append(f"compiled {', '.join(parts)}; the first steps take longer")
    freeze = EncoderFreeze(network, steps=run.freeze_encoder)
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
        freeze=freeze,
        average=make_average(network, decay=run.ema),
    )


def _choose(
    losses: Losses, streams: Mapping[str, BatchSource], run: RunConfig, fabric: Any
) -> Choice:
    """Memory format and precision, the same in every process."""
    device: torch.device = fabric.device
    choices = candidates(run, device)
    if len(choices) == 1 or run.steps < MIN_STEPS:
        return Choice(candidate=choices[0], seconds={})
    losses.network.to(device)
    batch = fabric.to_device({name: source.batch(0) for name, source in streams.items()})
    choice: Choice = fabric.broadcast(measure(losses, batch, choices, device), src=0)
    return choice


def restore(training: Training, checkpoint: Checkpoint) -> None:
    """Puts weights, optimiser, loss scaling and scores back to where the checkpoint was saved."""
    load_weights(training.network, checkpoint.weights, source=str(training.folder.last))
    training.optimizer.load_state_dict(checkpoint.optimizer)
    match_memory_format(training.optimizer.optimizer)
    training.fabric.strategy.precision.load_state_dict(checkpoint.state.get("precision", {}))
    if training.average is not None:
        load_weights(training.average.module, checkpoint.average, source=str(training.folder.last))
    training.state.restore(checkpoint)
