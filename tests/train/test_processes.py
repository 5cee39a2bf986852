"""Two processes train as one: the losses' gradients do not depend on the number of processes."""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import CASES
from method_subjects import Subject, make_independent, make_subject, open_sets
from photo_fixtures import toy_folder
from torch import Tensor, distributed

from trocar.train.losses.processes import gathered, mean_over_processes

__all__ = ["make_subject", "open_sets", "toy_folder"]

WORLD = 2
# Without what each process draws for itself, such as noise. BatchNorm keeps the statistics of its
# process, and a few-shot process its own episodes; both are documented.
SETTINGS: dict[str, dict[str, Any]] = {
    "supervised": {},
    "texture-entropy": {},
    "mean-teacher": {"noise": 1e-9, "teacher_noise": 0.0, "style": "none"},
    "cross-consistency": {"perturbations": "object-masking,context-masking"},
    "classifier": {},
    "head-triplet": {"p": 2},  # one class a process
}


def gradients(subject: Subject, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Of the sum of the losses, by parameter."""
    subject.network.zero_grad(set_to_none=True)
    torch.stack(list(subject.losses(batch).values())).sum().backward()
    return {
        name: value.grad.clone()
        for name, value in subject.network.named_parameters()
        if value.grad is not None
    }


def share_of(batch: dict[str, Any], rank: int) -> dict[str, Any]:
    """A process's half of every stream's batch."""
    shared = {}
    for stream, values in batch.items():
        half = len(values["image"]) // WORLD
        part = slice(rank * half, (rank + 1) * half)
        shared[stream] = {key: value[part] for key, value in values.items()}
    return shared


def work(rank: int, place: str, subjects: dict[str, Subject]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{place}/meeting", rank=rank, world_size=WORLD
    )
    found = {}
    for name, subject in subjects.items():
        found[name] = gradients(subject, share_of(subject.batch, rank))
        for value in found[name].values():
            distributed.all_reduce(value)
            value /= WORLD  # as DistributedDataParallel does
    one = torch.full((1,), float(rank))
    found["mean"] = {"of ranks": mean_over_processes(one)}
    found["rows"] = {"of ranks": gathered(one)}
    if not rank:
        torch.save(found, f"{place}/gradients.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def both(
    make_subject: Callable[..., Subject], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Gradients of one process and of two, by method."""
    torch.set_num_threads(1)
    subjects = {}
    for name, given in SETTINGS.items():
        subject = make_subject(name, **{**CASES[name].independent, **given})
        make_independent(subject)
        subjects[name] = subject
    alone = {name: gradients(copy.copy(one), one.batch) for name, one in subjects.items()}
    place = tmp_path_factory.mktemp("processes")
    context = multiprocessing.get_context("fork")
    pair = [context.Process(target=work, args=(r, str(place), subjects)) for r in range(WORLD)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(120)
        assert process.exitcode == 0
    found = torch.load(place / "gradients.pt")
    return {name: (alone.get(name, {}), values) for name, values in found.items()}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_gradients_of_two_processes_are_those_of_one(name: str, both: Any) -> None:
    alone, shared = both[name]
    assert alone.keys() == shared.keys()
    size = max(float(value.abs().max()) for value in alone.values())
    assert size > 0
    for key, value in alone.items():
        torch.testing.assert_close(shared[key], value, rtol=1e-3, atol=1e-4 * size, msg=key)


def test_what_the_processes_share(both: Any, tmp_path: Path) -> None:
    assert both["mean"][1]["of ranks"].tolist() == [0.5]
    assert both["rows"][1]["of ranks"].tolist() == [0, 1]
    alone = torch.ones(2, requires_grad=True)
    assert gathered(alone) is alone
    assert mean_over_processes(alone) is alone
