"""Scores against counts made by hand and against torchmetrics."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ArgumentError
from trocar.train.metrics.segmentation import SegmentationScores, checked_confusion, json_ready

TABLE = ClassTable.from_names(["background", "a", "b"])


def scores_of(*frames: tuple[list[list[int]], list[list[int]]]) -> dict[str, float]:
    scores = SegmentationScores(TABLE)
    for truth, predicted in frames:
        scores.add(np.array(truth, np.uint8), np.array(predicted, np.uint8))
    return scores.result()


def test_counts_by_hand() -> None:
    got = checked_confusion(
        np.array([[0, 1, 1, 2, 255]], np.uint8), np.array([[0, 1, 2, 2, 1]], np.uint8), classes=3
    )
    assert got.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


def test_names_and_values_by_hand() -> None:
    # Frame 1: a is half found, b is false. Frame 2: b is found, one pixel too many.
    one = ([[0, 0, 1, 1]], [[0, 2, 1, 0]])
    two = ([[0, 0, 2, 0]], [[0, 2, 2, 0]])
    got = scores_of(one, two)
    assert got["iou_a"] == pytest.approx(1 / 2)
    assert got["iou_b"] == pytest.approx(1 / 3)
    assert got["dice_a"] == pytest.approx(2 / 3)
    assert got["dice_b"] == pytest.approx(2 / 4)
    assert got["iou_background"] == pytest.approx(3 / 6)
    assert got["iou_mean"] == got["cumulative_iou"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert got["iou_binary"] == pytest.approx(2 / 5)
    assert got["dice_binary"] == pytest.approx(4 / 7)
    assert got["pixel_accuracy"] == pytest.approx(5 / 8)
    assert got["challenge_iou"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert got["isi_iou"] == pytest.approx(((1 / 2 + 0) / 2 + 1 / 2) / 2)
    assert got["mc_iou"] == pytest.approx((1 / 2 + (0 + 1 / 2) / 2) / 2)


def test_the_four_numbers_called_miou_differ_as_documented() -> None:
    got = scores_of(
        ([[0, 0, 1, 1]], [[0, 2, 1, 0]]),
        ([[0, 0, 2, 0]], [[0, 2, 2, 0]]),
        ([[1] * 8], [[1] * 6 + [0] * 2]),
    )
    names = ("challenge_iou", "isi_iou", "mc_iou", "cumulative_iou")
    assert [round(got[name], 4) for name in names] == [0.5833, 0.5, 0.4375, 0.5167]
    text = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    assert all(f"**{got[name]:.4f}**" in text for name in names)


def test_empty_frames_follow_the_protocols() -> None:
    empty = ([[0, 0]], [[0, 0]])
    missed = ([[1, 1]], [[0, 0]])
    false = ([[0, 0]], [[1, 1]])
    assert math.isnan(scores_of(empty)["challenge_iou"])
    assert scores_of(empty, missed)["challenge_iou"] == 0
    assert scores_of(false, ([[1, 1]], [[1, 1]]))["challenge_iou"] == 1
    assert scores_of(false, ([[1, 1]], [[1, 1]]))["isi_iou"] == pytest.approx(0.5)


def test_a_class_that_is_nowhere_is_left_out_of_the_mean() -> None:
    got = scores_of(([[0, 1]], [[0, 1]]))
    assert math.isnan(got["iou_b"])
    assert got["iou_mean"] == 1
    assert json_ready(got)["iou_b"] is None


def test_nothing_added_gives_no_number() -> None:
    assert all(math.isnan(v) for v in SegmentationScores(TABLE).result().values())


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 3).flatmap(
        lambda n: st.tuples(
            *(
                hnp.arrays(np.uint8, (n, 6, 5), elements=st.sampled_from([0, 1, 2]))
                for _ in range(2)
            )
        )
    )
)
def test_agrees_with_torchmetrics(maps: tuple[np.ndarray, np.ndarray]) -> None:
    truth, predicted = maps
    scores = SegmentationScores(TABLE)
    for t, p in zip(truth, predicted, strict=True):
        scores.add(t, p)
    got = scores.result()
    theirs = torchmetrics.JaccardIndex(task="multiclass", num_classes=3, average=None)(
        torch.from_numpy(predicted), torch.from_numpy(truth)
    )
    for row in TABLE:
        mine = got[f"iou_{row.name}"]
        if not math.isnan(mine):
            assert mine == pytest.approx(float(theirs[row.id]), abs=1e-6)


def test_wrong_maps_are_refused() -> None:
    with pytest.raises(ArgumentError, match="differ in shape"):
        checked_confusion(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), classes=2)
    with pytest.raises(ArgumentError, match=r"ids 0\.\.7"):
        checked_confusion(np.array([[0, 7]], np.uint8), np.zeros((1, 2), np.uint8), classes=3)


def test_false_alarms_on_frames_without_instruments() -> None:
    empty = np.zeros((40, 50), np.uint8)
    alarm, shown = empty.copy(), empty.copy()
    alarm[:4, :10], shown[:10] = 2, 1
    hidden = empty.copy()
    hidden[20:, 20:] = 255
    scores = SegmentationScores(TABLE)
    for truth, predicted in (
        (empty, alarm),
        (empty, empty),
        (empty, empty),
        (shown, alarm),
        (hidden, alarm),
    ):
        scores.add(truth, predicted)
    result = scores.result()
    # One of three empty frames, 40 of 2000 pixels; the frame with ignored pixels may hide one.
    assert result["false_alarm_rate"] == pytest.approx(1 / 3)
    assert result["false_alarm_area"] == pytest.approx(40 / 2000 / 3)
    assert "false_alarm_rate" not in scores_of(([[0, 1]], [[0, 1]]))


def test_a_speck_is_no_false_alarm() -> None:
    empty = np.zeros((100, 100), np.uint8)
    speck = empty.copy()
    speck[0, :4] = 1  # 0.04 % of the frame; the runtime drops less than 0.05 %
    scores = SegmentationScores(TABLE)
    scores.add(empty, speck)
    assert scores.result()["false_alarm_rate"] == 0
    speck[0, :5] = 1
    scores.add(empty, speck)
    assert scores.result()["false_alarm_rate"] == 0.5
