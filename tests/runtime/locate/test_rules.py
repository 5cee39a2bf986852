"""One instrument is one object: parts and fragments join, and what is no instrument is not one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.location import LEGACY, LocationOptions
from trocar.contract.results import Instrument
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.instruments import locate
from trocar.runtime.locate.rules.fragments import MAX_FRAGMENTS

H, W = 200, 260
NEW = LocationOptions()


def row(i: int, name: str, **more: Any) -> ClassRow:
    return ClassRow(id=i, name=name, colour=(i, 0, 0), instrument=i > 0, **more)


PARTS = ClassTable(
    (
        row(0, "background"),
        row(1, "shaft", part="shaft"),
        row(2, "wrist", part="wrist"),
        row(3, "manipulator", part="manipulator"),
        row(4, "hook"),
    )
)
FLAT = ClassTable.from_names(["background", "grasper", "scissors"])


def blank() -> NDArray[np.uint8]:
    return np.zeros((H, W), np.uint8)


def bar(
    labels: NDArray[np.uint8], y: int, x0: int, x1: int, label: int = 1, width: int = 20
) -> None:
    labels[y : y + width, x0:x1] = label


def find(
    labels: NDArray[np.uint8],
    options: LocationOptions = NEW,
    table: ClassTable = FLAT,
    **more: Any,
) -> tuple[Instrument, ...]:
    return locate(labels, more.pop("confidence", None), table, (H, W), options, **more)


# Parts


def test_touching_parts_without_a_type_are_one_instrument_with_the_tip_at_its_end() -> None:
    labels = blank()
    bar(labels, 90, 0, 120, 1)
    bar(labels, 85, 120, 170, 3, width=30)
    (found,) = find(labels, table=PARTS)
    assert (found.class_id, found.class_name) == (1, "instrument")
    assert found.box == (0.0, 85.0, 170.0, 115.0)
    (tip,) = found.tips
    assert tip[0] > 160
    assert len(find(labels, LEGACY, PARTS)) == 2


def test_a_wrist_carries_the_tip_only_where_no_tip_part_is_seen() -> None:
    labels = blank()
    bar(labels, 90, 0, 120, 1)
    bar(labels, 90, 120, 150, 2)
    options = replace(NEW, tip_parts=("manipulator",))
    (alone,) = find(labels, options, PARTS)
    assert alone.tips[0][0] > 140
    # Beside the shaft, so that only the part can decide.
    labels[110:160, 60:80] = 3
    (both,) = find(labels, options, PARTS)
    assert both.tips[0][1] > 150


def test_only_named_instruments_are_located() -> None:
    labels = blank()
    bar(labels, 40, 0, 100, 1)
    bar(labels, 120, 0, 100, 2)
    (found,) = find(labels, replace(NEW, classes=("scissors",)))
    assert found.class_name == "scissors"
    bar(labels, 120, 0, 100, 4)
    (found,) = find(labels, replace(NEW, classes=("instrument",)), PARTS)
    assert found.box[1] == 40


# Fragments


def test_a_gap_across_an_instrument_leaves_one() -> None:
    labels = blank()
    bar(labels, 90, 0, 100)
    bar(labels, 90, 112, 180)
    (found,) = find(labels)
    assert found.box == (0.0, 90.0, 180.0, 110.0)
    assert found.tips[0][0] > 170
    assert found.area == 168 * 20
    assert found.entry is not None
    assert len(find(labels, replace(NEW, max_gap=0.0))) == 2


def test_three_fragments_on_a_slanted_axis_are_one() -> None:
    labels = blank()
    cv2.line(labels, (0, 20), (220, 150), 1, 14)
    for x in (80, 150):
        labels[:, x : x + 9] = 0
    (found,) = find(labels)
    assert found.box[2] > 215
    assert len(found.tips) == 1
    assert found.tips[0][0] > 210
    assert len(find(labels, replace(NEW, max_gap=0.0))) == 3


@pytest.mark.parametrize(
    ("gap", "fragments"), [(29, 1), (31, 2)], ids=["gap of 1.45 widths", "gap of 1.55 widths"]
)
def test_the_gap_is_limited_in_widths(gap: int, fragments: int) -> None:
    labels = blank()
    bar(labels, 90, 0, 100)
    bar(labels, 90, 100 + gap, 200)
    assert len(find(labels)) == fragments


def test_what_leaves_the_axis_or_has_another_width_is_another_instrument() -> None:
    beside = blank()
    bar(beside, 60, 0, 100)
    bar(beside, 90, 110, 180)
    assert len(find(beside)) == 2
    across = blank()
    bar(across, 90, 0, 100)
    across[60:140, 112:132] = 1
    assert len(find(across)) == 2
    thin = blank()
    bar(thin, 90, 0, 100)
    bar(thin, 96, 110, 180, width=8)
    assert len(find(thin)) == 2
    assert len(find(thin, replace(NEW, max_width_ratio=3.0))) == 1


def test_two_instruments_that_meet_tip_to_tip_stay_two() -> None:
    """Each enters the view by itself, although they share axis and width."""
    labels = blank()
    bar(labels, 90, 0, 120)
    bar(labels, 90, 130, W)
    assert len(find(labels)) == 2


def test_fragments_of_another_kind_do_not_join() -> None:
    labels = blank()
    bar(labels, 90, 0, 100, 1)
    bar(labels, 90, 110, 180, 2)
    assert [one.class_name for one in find(labels)] == ["grasper", "scissors"]


def test_the_gap_is_no_open_jaw() -> None:
    """The circles of the jaws cut a joined instrument in two; one fragment alone may have jaws."""
    labels = blank()
    bar(labels, 90, 0, 150, width=30)
    bar(labels, 90, 158, 190, width=30)
    (found,) = find(labels)
    assert len(found.tips) == 1
    assert found.tips[0][0] > 180


def test_only_the_largest_fragments_are_compared() -> None:
    labels = blank()
    for i in range(MAX_FRAGMENTS + 4):
        y, x = 10 + 36 * (i // 4), 10 + 60 * (i % 4)
        labels[y : y + 12, x : x + 30 + i % 4] = 1
    options = replace(NEW, min_pixels=1, min_area=0.0, max_gap=3.0)
    joined = find(labels, options)
    # Twelve largest per row of four: the rest stay alone, and nothing is lost.
    assert sum(one.area for one in joined) == np.count_nonzero(labels)
    assert len(joined) < MAX_FRAGMENTS + 4


# What is no instrument


def test_specks_are_dropped_by_the_area_of_the_largest() -> None:
    labels = blank()
    bar(labels, 90, 0, 150)
    bar(labels, 30, 100, 110, width=15)
    assert len(find(labels, replace(NEW, min_relative_area=0.05))) == 2
    assert len(find(labels, replace(NEW, min_relative_area=0.0501))) == 1
    # An instrument that enters is small at first.
    bar(labels, 30, 0, 16, width=9)
    assert len(find(labels, replace(NEW, min_relative_area=0.0501))) == 2


def test_strips_along_the_border_and_the_rim_are_dropped() -> None:
    labels = blank()
    labels[:, :12] = 1
    bar(labels, 90, 100, 200)
    (found,) = find(labels)
    assert found.box[0] == 100
    labels[50:60, :13] = 1
    assert len(find(labels)) == 2, "deeper than 6 % of the shorter side"
    view = FieldOfView(x=130.0, y=100.0, radius=90.0)
    ring = blank()
    cv2.circle(ring, (130, 100), 87, 1, 3)
    bar(ring, 90, 100, 160)
    assert len(find(ring, view=view)) == 1
    assert len(find(ring, replace(NEW, strip_depth=0.0), view=view)) == 2


def test_an_instrument_that_enters_is_no_strip() -> None:
    """It is as wide as an instrument, not three times as long as it is deep."""
    labels = blank()
    bar(labels, 90, 0, 10)
    (found,) = find(labels)
    assert found.entry is not None
    labels[70:130, :10] = 1
    assert find(labels) == ()


def test_a_low_mean_score_is_no_instrument() -> None:
    labels = blank()
    bar(labels, 40, 0, 100)
    bar(labels, 120, 0, 100)
    confidence = np.full((H, W), 0.9, np.float16)
    confidence[100:] = 0.5
    (found,) = find(labels, confidence=confidence)
    assert found.box[1] == 40
    assert len(find(labels, replace(NEW, min_score=0.5), confidence=confidence)) == 2


@pytest.mark.parametrize(
    ("scores", "count"),
    [((0.55, 0.5), 2), ((0.59, 0.43), 1), ((0.9, 0.59), 1), ((0.41, 0.41), 2), ((0.39, 0.39), 0)],
)
def test_a_model_that_is_never_sure_keeps_its_instruments(
    scores: tuple[float, float], count: int
) -> None:
    """The limit is 0.75 of the best score, at most 0.6 and at least 0.4."""
    labels = blank()
    bar(labels, 40, 0, 100)
    bar(labels, 120, 0, 100)
    confidence = np.full((H, W), scores[0], np.float64)
    confidence[100:] = scores[1]
    assert len(find(labels, confidence=confidence)) == count
    strict = NEW.changed({"min_score": 0.6}, source="test")
    assert strict.relative_score == 0
    expected = sum(score >= 0.6 for score in scores)
    assert len(find(labels, strict, confidence=confidence)) == expected


def test_the_best_are_chosen_by_score_times_area_and_the_first_of_equal_ones() -> None:
    labels = blank()
    bar(labels, 20, 0, 100)
    bar(labels, 80, 0, 100)
    bar(labels, 140, 0, 120)
    two = find(labels, replace(NEW, max_instruments=2))
    assert [one.box[1] for one in two] == [140, 20]
    confidence = np.full((H, W), 0.9, np.float16)
    confidence[130:] = 0.7
    two = find(labels, replace(NEW, max_instruments=2), confidence=confidence)
    assert [one.box[1] for one in two] == [20, 80]


def test_the_largest_regions_are_looked_at() -> None:
    labels = blank()
    for i in range(20):
        labels[10 * i : 10 * i + 5, 20 : 40 + i] = 1 + i % 2
    options = replace(LEGACY, max_regions=3)
    found = find(labels, options)
    assert sorted(one.area for one in found) == [5 * 37, 5 * 38, 5 * 39]
    same = np.kron(np.eye(20, dtype=np.uint8), np.ones((5, 5), np.uint8))[:H, :W] * 2
    same = np.pad(np.kron(np.ones((8, 8), np.uint8), np.pad(np.ones((5, 5), np.uint8), 2)), 1)
    three = find(same, options)
    assert [one.box[:2] for one in three] == [
        pytest.approx((x * W / same.shape[1], 3 * H / same.shape[0])) for x in (3, 12, 21)
    ]


# Nothing is outside the view


def test_labels_outside_the_view_are_not_located() -> None:
    labels = blank()
    labels[:30] = 1
    bar(labels, 90, 60, 120, 2)
    view = FieldOfView(x=130.0, y=100.0, radius=70.0)
    (found,) = find(labels, view=view)
    assert found.class_name == "scissors"
    assert len(find(labels, replace(NEW, mask_outside_view=False, strip_depth=0.0), view=view)) == 2
    assert labels[0, 0] == 1, "the caller's map is unchanged"
