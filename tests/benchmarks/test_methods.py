"""The scores and scenes that the methods' benchmark compares by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmark_helpers import benchmark_helper
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX

scores = benchmark_helper("methods.scores")
PERFECT = {"boundary_f": 1.0, "false_positive_components": 0.0, "texture_gap": 0.0}


def square(top: int, left: int, side: int = 20, label: int = 1) -> NDArray[np.uint8]:
    labels = np.zeros((64, 80), np.uint8)
    labels[top : top + side, left : left + side] = label
    return labels


def boundary_f(truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> float:
    found = scores.ShapeScores(2)
    found.add(truth, predicted)
    return float(found.result()["boundary_f"])


def test_equal_maps_score_full() -> None:
    both = scores.ShapeScores(3)
    both.add(square(10, 10) + square(40, 40, label=2), square(10, 10) + square(40, 40, label=2))
    assert both.result() == PERFECT


@pytest.mark.parametrize(("shift", "lower", "upper"), [(2, 1.0, 1.0), (4, 0.05, 0.95)])
def test_outlines_agree_within_two_pixels(shift: int, lower: float, upper: float) -> None:
    assert lower <= boundary_f(square(10, 10), square(10, 10 + shift)) <= upper


def test_a_class_that_only_one_map_shows_has_no_outline_in_common() -> None:
    empty = np.zeros((64, 80), np.uint8)
    assert boundary_f(square(10, 10), empty) == 0
    assert boundary_f(empty, square(10, 10)) == 0


def test_only_pieces_off_the_truth_are_false_positives() -> None:
    truth = square(10, 10) > 0
    guess = np.zeros_like(truth)
    guess[12:16, 12:16] = guess[22:26, 22:26] = True  # two pieces on it
    assert scores.false_positive_components(truth, guess) == 0
    guess[50, 50] = guess[51, 51] = guess[60, 5] = True  # corners touch: one piece, and another
    assert scores.false_positive_components(truth, guess) == 2


def test_speckle_widens_the_texture_difference() -> None:
    truth = square(10, 10, 40)
    speckled = truth.copy()
    speckled[::7, ::7] = 1 - speckled[::7, ::7]
    found = scores.ShapeScores(2)
    found.add(truth, speckled)
    assert found.result()["texture_gap"] > 0.1


def test_ignored_pixels_count_nowhere() -> None:
    truth, guess = square(10, 10), square(10, 10)
    truth[40:], guess[50:55, 50:55] = IGNORE_INDEX, 1
    found = scores.ShapeScores(2)
    found.add(truth, guess)
    assert found.result() == PERFECT


def test_few_clips_are_whole_ones_and_leave_the_others(tmp_path: Path) -> None:
    scenes = benchmark_helper("methods.scenes")
    frames = scenes.scenes(tmp_path, "laparoscopy", clips=12)
    labelled, rest = scenes.few_clips(frames, 0.25, 1)
    assert len(labelled.groups) == 3
    assert not set(labelled.groups) & set(rest.groups)
    assert len(labelled) == 3 * scenes.CLIP_LENGTH
    assert len(labelled) + len(rest) == len(frames)
    again, _ = scenes.few_clips(frames, 0.25, 1)
    assert [item.name for item in again] == [item.name for item in labelled]
