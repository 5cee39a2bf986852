"""How often a training step would make the host wait for a GPU: once, for every method.

Each method runs through the loop on the CPU under `HostWaits`, and its late steps are counted, when
all terms are there and all constants have been copied. `EXTRA` names what waits more, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from host_waits import HostWaits
from method_cases import CASES
from method_subjects import method_of, open_sets, run_config
from photo_fixtures import photo_kit, toy_folder

from trocar.cuda_kernels.backends import torch as torch_backend
from trocar.train import loop
from trocar.train.state.job import Job

__all__ = ["open_sets", "photo_kit", "toy_folder"]

OTHER_SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "named losses, class weights": (
        "supervised",
        {"loss": ("ce", "focal", "tversky", "lovasz"), "class_weights": "1,2,3"},
    ),
    "boundary loss": ("supervised", {"loss": ("ce", "boundary")}),
    "soft texture": ("texture-entropy", {"texture_mode": "soft"}),
    "fourier": ("mean-teacher", {"style": "fourier", "style_probability": 0.5}),
    "histogram": ("mean-teacher", {"style": "histogram", "style_strength": 0.5}),
    "top": ("mean-teacher", {"reliability": "top", "student_view": "strong"}),
    "top-per-class": ("mean-teacher", {"reliability": "top-per-class", "mc_passes": 2}),
    "soft reliability": ("mean-teacher", {"reliability": "soft"}),
    "no cutout": (
        "cross-consistency",
        {"perturbations": ("f-noise", "f-drop", "object-masking", "context-masking", "vat")},
    ),
    "no skip": ("cross-consistency", {"aux_skip": "none", "consistency_on": "unlabelled"}),
    "255 instances": ("center-offset", {"max_instances": 255}),
    "soft margin": ("head-triplet", {"margin": 0.0, "alternate_losses": True}),
    "descriptors": ("few-shot", {"comparison": "dn4"}),
    "prototypes": ("few-shot", {"comparison": "proto"}),
    "through": ("few-shot", {"attention_gradient": "through"}),
}
EXTRA = {
    # Regions are found by OpenCV.
    "cross-consistency": 1,
    "no skip": 1,
    # So are distances to outlines.
    "boundary loss": 1,
    # ONNX Runtime takes the teacher's images from the host.
    "distillation": 1,
}
EVERY = {**{name: (name, {}) for name in CASES}, **OTHER_SETTINGS}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The waits of each step of a run that follows."""
    plain, steps, waits = loop.train_step, list[list[str]](), HostWaits()

    def counted(training: Any, batches: Iterator[Any], **given: Any) -> Any:
        average = training.average
        for module in (training.module, *([] if average is None else [average.module])):
            waits.place(list(module.parameters()), list(module.buffers()))
        for state in training.optimizer.state.values():
            # torch keeps the number of steps on the host.
            waits.place([value for name, value in state.items() if name != "step"])

        def placed() -> Iterator[Any]:
            for batch in batches:
                waits.place(batch)
                yield batch

        with waits:
            values = plain(training, placed(), **given)
        steps.append(list(waits.found))
        waits.found.clear()
        return values

    monkeypatch.setattr(loop, "train_step", counted)
    # What a GPU without the kernels computes; launches of the kernels never wait.
    monkeypatch.setattr(torch_backend, "is_on_cpu", lambda _: False)
    return steps


@pytest.mark.parametrize("name", sorted(EVERY))
def test_the_host_waits_once_in_a_step(
    name: str, steps: list[list[str]], open_sets: Callable[..., Any], tmp_path: Path
) -> None:
    method_name, settings = EVERY[name]
    method, run = method_of(method_name, **settings), run_config(evaluate_every=6)
    data = open_sets(method, run)
    loop.train(Job(method=method, run=run, data=data, name="x", out=tmp_path / "run"))
    assert len(steps) == run.steps
    for waits in steps[-2:]:
        assert len(waits) == 1 + EXTRA.get(name, 0), waits
        assert sum("train/step.py" in wait for wait in waits) == 1


def test_several_batches_a_step_and_an_average_wait_no_more(
    steps: list[list[str]], open_sets: Callable[..., Any], tmp_path: Path
) -> None:
    method = method_of("supervised")
    run = run_config(evaluate_every=6, accumulate=2, ema=0.9)
    data = open_sets(method, run)
    loop.train(Job(method=method, run=run, data=data, name="x", out=tmp_path / "run"))
    assert [len(waits) for waits in steps[-2:]] == [1, 1], steps[-1]


def test_a_wait_that_a_method_adds_is_counted(
    steps: list[list[str]], open_sets: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    method, run = method_of("supervised"), run_config(evaluate_every=6)
    plain = type(method).losses

    def slower(self: Any, batch: Any, progress: Any) -> Any:
        terms = plain(self, batch, progress)
        return {**terms, "ce": terms["ce"] * float(batch["labelled"]["mask"].max() >= 0)}

    monkeypatch.setattr(type(method), "losses", slower)
    data = open_sets(method, run)
    loop.train(Job(method=method, run=run, data=data, name="x", out=tmp_path / "run"))
    assert len(steps[-1]) == 2, steps[-1]


X = torch.arange(6.0).reshape(2, 3)
WAITING: dict[str, Callable[[Any], Any]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "bool": lambda x: bool(x.sum() > 0),
    "cpu": lambda x: x.cpu(),
    "numpy": lambda x: x.numpy(),
    "tolist": lambda x: x.tolist(),
    "nonzero": lambda x: (x > 2).nonzero(),
    "mask": lambda x: x[x > 2],
    "set by a mask": lambda x: x.clone().index_put_((x > 2,), torch.zeros_like(x[0, :1]).expand(3)),
    "index list": lambda x: x[:, [0, 2]],
    "unique": lambda x: x.unique(),
    "bincount": lambda x: torch.bincount(x.long().flatten()),
    "tensor": lambda x: x + torch.tensor([1.0, 2.0, 3.0], device=x.device),
    "new_tensor": lambda x: x + x.new_tensor([1.0, 2.0, 3.0]),
    "to": lambda x: x + torch.tensor([1.0, 2.0, 3.0]).to(x.device),
    "to like": lambda x: x + torch.tensor([1.0, 2.0, 3.0]).to(x),
    "copy": lambda x: x.clone().copy_(torch.ones(2, 3)),
}
FREE: dict[str, Callable[[Any], Any]] = {
    "of the host": lambda x: (torch.rand(2).tolist(), float(torch.rand(1)), x + 1),
    "masked_fill": lambda x: x.masked_fill(x > 2, 0.0),
    "filled mask": lambda x: x.clone().__setitem__(x > 2, 0.0),
    "where": lambda x: torch.where(x > 2, x, 0.0),
    "index": lambda x: x[:, torch.arange(2, device=x.device)],
    "one_hot": lambda x: torch.nn.functional.one_hot(x.long(), 6),
    "to, not blocking": lambda x: x + torch.ones(3).to(x.device, non_blocking=True),
    "to a type": lambda x: x.to(torch.float64),
    "scattered": lambda x: torch.zeros(6, device=x.device).scatter_add_(0, x.long()[0], x[0]),
}


@pytest.mark.parametrize("name", sorted(WAITING))
def test_what_waits_is_counted(name: str) -> None:
    waits = HostWaits()
    x = X.clone()
    waits.place(x)
    with waits:
        WAITING[name](x)
    assert waits.found
    assert all("test_host_waits.py" in wait for wait in waits.found)


@pytest.mark.parametrize("name", sorted(FREE))
def test_what_does_not_wait_is_not_counted(name: str) -> None:
    waits = HostWaits()
    x = X.clone()
    waits.place(x)
    with waits:
        FREE[name](x)
    assert not waits.found


def test_a_backward_pass_is_watched_too() -> None:
    waits = HostWaits()
    x = X.clone().requires_grad_()
    waits.place(x)
    x.register_hook(lambda gradient: gradient * float(gradient.sum()))
    with waits:
        x.square().sum().backward()
    assert len(waits.found) == 1
