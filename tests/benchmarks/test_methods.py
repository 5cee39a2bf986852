"""The scores and scenes that the methods' benchmark compares by."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


scores = module("method_scores")


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
    assert both.result() == {"boundary_f": 1.0, "stray": 0.0, "texture_gap": 0.0}


@pytest.mark.parametrize(("shift", "least", "most"), [(2, 1.0, 1.0), (4, 0.05, 0.95)])
def test_outlines_agree_within_two_pixels(shift: int, least: float, most: float) -> None:
    assert least <= boundary_f(square(10, 10), square(10, 10 + shift)) <= most


def test_a_class_that_only_one_map_shows_has_no_outline_in_common() -> None:
    empty = np.zeros((64, 80), np.uint8)
    assert boundary_f(square(10, 10), empty) == 0
    assert boundary_f(empty, square(10, 10)) == 0


def test_only_pieces_off_the_truth_are_stray() -> None:
    truth = square(10, 10) > 0
    guess = np.zeros_like(truth)
    guess[12:16, 12:16] = guess[22:26, 22:26] = True  # two pieces on it
    assert scores.stray_pieces(truth, guess) == 0
    guess[50, 50] = guess[51, 51] = guess[60, 5] = True  # corners touch: one piece, and another
    assert scores.stray_pieces(truth, guess) == 2


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
    assert found.result() == {"boundary_f": 1.0, "stray": 0.0, "texture_gap": 0.0}


def test_few_clips_are_whole_ones_and_leave_the_others(tmp_path: Path) -> None:
    scenes = module("method_scenes")
    frames = scenes.scenes(tmp_path, "laparoscopy", clips=12)
    labelled, rest = scenes.few_clips(frames, 0.25, 1)
    assert len(labelled.groups) == 3
    assert not set(labelled.groups) & set(rest.groups)
    assert len(labelled) == 3 * scenes.CLIP_LENGTH
    assert len(labelled) + len(rest) == len(frames)
    again, _ = scenes.few_clips(frames, 0.25, 1)
    assert [item.name for item in again] == [item.name for item in labelled]
