"""Scores of single instances on frames whose scores are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trocar.contract.classes import ClassTable
from trocar.evaluation.metrics.instance_scores import InstanceScores
from trocar.evaluation.metrics.shape_scores import ShapeScores

TABLE = ClassTable.from_names(["background", "grasper", "scissors"])
SIZE = (60, 100)

# pycocotools returns arrays of its own class.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def bars() -> np.ndarray:
    instances = np.zeros(SIZE, np.uint8)
    instances[:, 10:30], instances[:, 40:60], instances[:, 70:90] = 1, 2, 3
    return instances


def mask_of(instances: np.ndarray) -> np.ndarray:
    return np.array([0, 1, 1, 2], np.uint8)[instances]


def scored(instances: np.ndarray, classes: list[int], confidences: list[float]) -> dict[str, float]:
    scores = InstanceScores(TABLE)
    scores.add(bars(), mask_of(bars()), instances, classes=classes, scores=confidences)
    return scores.result()


def test_what_is_equal_has_full_scores() -> None:
    assert scored(bars(), [1, 1, 2], [0.9, 0.8, 0.7]) == pytest.approx(
        {"mask_ap": 1.0, "mask_ap50": 1.0, "mask_ar": 1.0, "instance_pq": 1.0}
    )


def test_two_that_are_found_as_one_are_missed() -> None:
    joined = bars()
    joined[:, 30:40] = 1
    joined[joined == 2] = 1
    found = scored(joined, [1, 1, 2], [0.9, 0.8, 0.7])
    # One true scissors of two classes; the joined grasper matches no true one.
    assert found["instance_pq"] == pytest.approx(0.5)
    assert found["mask_ap50"] == pytest.approx(0.5, abs=0.01)


def test_a_wrong_class_is_missed_and_added() -> None:
    found = scored(bars(), [1, 1, 1], [0.9, 0.8, 0.7])
    assert found["instance_pq"] == pytest.approx((2 / 2.5 + 0) / 2)


def test_a_mask_that_covers_three_quarters_counts_partly() -> None:
    narrow = bars()
    narrow[:, 25:30] = 0
    found = scored(narrow, [1, 1, 2], [0.9, 0.8, 0.7])
    assert found["instance_pq"] == pytest.approx(((0.75 + 1) / 2 + 1) / 2)
    assert found["mask_ap50"] == pytest.approx(1.0)
    assert 0.7 < found["mask_ap"] < 1


def test_panoptic_quality_of_found_instances_is_that_of_the_other_scores() -> None:
    cut = bars()
    cut[20:30, 10:30] = 0  # one instance of two regions
    shapes = ShapeScores(TABLE, tolerance=2.0)
    sure = np.ones(SIZE, np.float32)
    shapes.add(mask_of(bars()), mask_of(cut), sure, instances=bars(), found=cut)
    by_shape, by_instance = shapes.result(), scored(cut, [1, 1, 2], [0.9, 0.8, 0.7])
    assert by_shape["instance_pq"] == pytest.approx(by_instance["instance_pq"])
    assert (by_shape["instance_f1"], by_shape["region_f1"]) == (1, pytest.approx(4 / 7))


def test_ignored_pixels_do_not_count() -> None:
    scores = InstanceScores(TABLE)
    mask, found = mask_of(bars()), bars()
    mask[:, 85:] = 255
    found[:, 90:] = 3
    scores.add(bars(), mask, found, classes=[1, 1, 2], scores=[0.9, 0.8, 0.7])
    assert scores.result()["instance_pq"] == pytest.approx(1.0)


def test_nothing_found_and_nothing_there() -> None:
    assert scored(np.zeros(SIZE, np.uint8), [], [])["mask_ap"] == 0
    empty = InstanceScores(TABLE)
    zero = np.zeros(SIZE, np.uint8)
    empty.add(zero, zero, zero, classes=[], scores=[])
    assert math.isnan(empty.result()["mask_ap"])
