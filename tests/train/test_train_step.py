"""One step of the loop: which losses, which gradient, which rate, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from trocar.train.loop import train
from trocar.train.methods.protocol import Progress
from trocar.train.methods.supervised import Supervised
from trocar.train.state.job import Job


@pytest.fixture
def steps() -> Iterator[list[dict[str, Any]]]:
    """Learning rate, gradients and their norm of every optimiser step, before it is made."""
    made: list[dict[str, Any]] = []

    def record(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        groups = optimizer.param_groups
        grads = [p.grad.clone() for g in groups for p in g["params"] if p.grad is not None]
        norm = float(torch.stack([grad.norm() for grad in grads]).norm())
        made.append({"lr": groups[0]["lr"], "grads": grads, "norm": norm})

    handle = register_optimizer_step_pre_hook(record)
    yield made
    handle.remove()


@pytest.fixture
def run_supervised(
    make_method: Callable[..., Any], make_run: Callable[..., Any], open_toy: Callable[..., Any],
    tmp_path: Path,
) -> Callable[..., Any]:  # fmt: skip
    def run(*, w_ce: float = 1.0, **given: Any) -> Any:
        method, settings = make_method("supervised", w_ce=w_ce), make_run(**given)
        data = open_toy(method, settings)
        train(Job(method=method, run=settings, data=data, name="x", out=tmp_path / "run"))
        return method

    return run


@pytest.mark.parametrize(("clip", "clipped"), [(0.5, True), (0.0, False)])
def test_gradients_are_clipped_to_the_norm_that_was_asked_for(
    steps: list[dict[str, Any]], run_supervised: Callable[..., Any], clip: float, clipped: bool
) -> None:
    run_supervised(w_ce=1000.0, clip=clip, steps=3)
    assert len(steps) == 3
    if clipped:
        assert [step["norm"] for step in steps] == pytest.approx([clip] * 3, rel=1e-3)
    else:
        assert min(step["norm"] for step in steps) > 10


def test_every_loss_is_summed_and_every_step_starts_without_a_gradient(
    steps: list[dict[str, Any]], run_supervised: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    order: list[str] = []
    seen: list[Progress] = []
    rates: list[float] = []

    def losses(self: Any, batch: Any, progress: Progress) -> dict[str, Tensor]:
        order.append("losses")
        seen.append(progress)
        bias = self.network.decoder.head.bias
        return {"one": bias.sum(), "two": 2 * bias.sum()}

    def after_step(self: Any, progress: Progress) -> None:
        order.append(f"after {len(steps)}")
        assert progress == seen[-1]
        assert not torch.is_grad_enabled()
        rates.append(steps[-1]["lr"])

    monkeypatch.setattr(Supervised, "losses", losses)
    monkeypatch.setattr(Supervised, "after_step", after_step)
    run_supervised(clip=0.0, steps=4, warmup=2, lr=0.5)
    assert order == [text for n in range(1, 5) for text in ("losses", f"after {n}")]
    assert [progress.step for progress in seen] == [0, 1, 2, 3]
    assert {progress.total_steps for progress in seen} == {4}
    for step in steps:
        (gradient,) = step["grads"]
        assert gradient.tolist() == pytest.approx([3.0] * 3)
    # Two steps of warm-up, then a cosine.
    assert rates == pytest.approx([0.25, 0.5, 0.5, 0.25])
