"""Every method under bfloat16: the losses, gradients and progress that it has in float32.

A device with bfloat16 trains in it by default, so what the other tests say must hold there too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from method_cases import CASES, LATE
from method_subjects import Subject, parameters_of
from torch import Tensor

from trocar.train.methods.protocol import Progress

Make = Callable[..., Subject]

SAME_WAY = 0.4
"""Least cosine between a gradient in bfloat16 and in float32.

Rounding alone gives 0.56 to 1.0 here: encoders of untrained networks, statistics of four images.
Unrelated gradients have 0.0.
"""

every_method = pytest.mark.parametrize("name", sorted(CASES))


def losses_and_gradients(
    subject: Subject, *, bf16: bool
) -> tuple[dict[str, float], dict[str, dict[str, Tensor]]]:
    """Every term, and its gradient by parameter, from the same weights and random draws."""
    state = copy.deepcopy(subject.network.state_dict())
    values, gradients = {}, {}
    for term in subject.case.terms:
        subject.network.load_state_dict(state)
        subject.network.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = subject.losses(progress=LATE)
        losses[term.name].backward()
        values[term.name] = float(losses[term.name].detach())
        gradients[term.name] = {
            path: torch.cat([p.grad.flatten() for p in parameters_of(subject.network, path)
                             if p.grad is not None])
            for path in term.trains
        }  # fmt: skip
    subject.network.load_state_dict(state)
    return values, gradients


@every_method
def test_losses_and_gradients_are_those_of_float32_but_for_rounding(
    name: str, make_subject: Make
) -> None:
    subject = make_subject(name)
    subject.train(2)
    expected, full = losses_and_gradients(subject, bf16=False)
    found, half = losses_and_gradients(subject, bf16=True)
    for term in subject.case.terms:
        assert found[term.name] == pytest.approx(expected[term.name], rel=0.1, abs=1e-2), term.name
        for path in term.trains:
            one, other = full[term.name][path], half[term.name][path]
            assert other.dtype == torch.float32
            assert float(torch.cosine_similarity(one, other, dim=0)) > SAME_WAY, (term.name, path)


@every_method
def test_the_loss_falls_in_bf16(name: str, make_subject: Make) -> None:
    subject = make_subject(name)
    trained = [p for p in subject.network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=3e-3)
    history = []
    for step in range(20):
        with torch.autocast("cpu", torch.bfloat16):
            total = torch.stack(list(subject.losses().values())).sum()
        optimizer.zero_grad()
        total.backward()
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in trained)
        optimizer.step()
        subject.method.after_step(Progress(step, 100))
        history.append(float(total.detach()))
    assert np.mean(history[-3:]) < 0.8 * np.mean(history[:3])
