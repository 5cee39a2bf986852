"""Balanced class weights, and frames with rare classes that are drawn more often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trocar.train.data.loader.class_presence import (
    balanced_weights,
    class_presence,
    repeat_factors,
)
from trocar.train.data.loader.empty_frames import BatchDraws
from trocar.train.losses.class_weights import set_class_weights


def test_weights_and_factors_follow_their_formulas() -> None:
    presence = np.array([[90, 10, 0, 0]] * 9 + [[50, 0, 50, 0]])
    weights = balanced_weights(presence)
    assert weights == pytest.approx([1000 / (3 * 860), 1000 / (3 * 90), 1000 / (3 * 50), 1.0], 1e-3)
    assert repeat_factors(presence, 0.4) == pytest.approx([1.0] * 9 + [2.0])
    assert repeat_factors(presence, 0.0) == [1.0] * 10


def test_rare_frames_come_as_often_as_their_factor_says() -> None:
    factors = (1.0,) * 6 + (2.5, 1.0)
    draws = BatchDraws.split(8, (7,), 4, factors=factors)
    # Of four samples one is an empty frame; 8.5 draws of the others make 8 an epoch.
    assert draws.steps == 3
    counts: Counter[int] = Counter()
    for epoch in range(40):
        indices = [draws.frame_index(4 * (place // 3) + 1 + place % 3, (1, 2))
                   for place in range(epoch * 8, epoch * 8 + 8)]  # fmt: skip
        own = Counter(indices)
        assert own[6] in (2, 3)
        assert max(own[i] for i in range(6)) == 1
        counts += own
    assert counts[6] / 40 == pytest.approx(2.5 * 8 / 8.5, abs=0.2)
    again = BatchDraws.split(8, (7,), 4, factors=factors)
    assert [draws.frame_index(i, (1, 2)) for i in range(200)] == [
        again.frame_index(i, (1, 2)) for i in range(200)
    ]
    plain = BatchDraws.split(8, (7,), 4)
    assert BatchDraws.split(8, (7,), 4, factors=(1.0,) * 8) == plain


def test_balanced_weights_become_numbers_in_the_settings(
    make_method: Callable[..., Any], make_run: Callable[..., Any], open_toy: Callable[..., Any]
) -> None:
    method = make_method("supervised", class_weights="balanced")
    data = open_toy(method, make_run(), oversample=0.9)
    note = set_class_weights(method, data.labelled)
    numbers = balanced_weights(class_presence(data.labelled))
    assert [float(part) for part in method.config.class_weights.split(",")] == numbers
    assert numbers[0] < 1 < numbers[1]
    assert note.startswith("class weights: background 0.")
    assert len(data.repeats) == len(data.labelled)
    assert "oversample" in data.labelled.notes[-1] or "rare classes" in data.labelled.notes[-1]
    stream = method.streams(data)["labelled"]
    assert stream.spec.repeats == data.repeats
