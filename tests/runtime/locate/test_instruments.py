"""Location: every rule of docs/location.md on masks drawn by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.errors import ArgumentError
from trocar.contract.location import LEGACY
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.instruments import locate

TABLE = ClassTable.from_names(
    ["background", "grasper", "scissors", "fat"], instruments=["grasper", "scissors"]
)
H, W = 256, 320


def blank() -> NDArray[np.uint8]:
    return np.zeros((H, W), np.uint8)


def rod(
    labels: NDArray[np.uint8],
    entry: tuple[float, float],
    tip: tuple[float, float],
    *,
    opening: float = 0.0,
    value: int = 1,
    jaw_value: int | None = None,
    width: int = 12,
) -> list[tuple[float, float]]:
    """A shaft and two jaws of 34 pixels; gives the true ends of the jaws."""
    a, b = np.array(entry, float), np.array(tip, float)
    along = (b - a) / np.linalg.norm(b - a)
    joint = b - 34 * along
    cv2.line(labels, _at(a), _at(joint), value, width)
    ends = []
    for side in (-1, 1):
        c, s = math.cos(side * opening), math.sin(side * opening)
        end = joint + 34 * np.array([c * along[0] - s * along[1], s * along[0] + c * along[1]])
        cv2.line(labels, _at(joint), _at(end), jaw_value or value, 5)
        ends.append((float(end[0]) + 0.5, float(end[1]) + 0.5))
    return ends


def _at(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def test_nothing_gives_nothing() -> None:
    assert locate(blank(), None, TABLE, (H, W)) == ()


def test_a_rectangle_is_measured_exactly() -> None:
    labels = blank()
    labels[100:120, 60:160] = 2
    confidence = np.full((H, W), 0.75, np.float16)
    (found,) = locate(labels, confidence, TABLE, (2 * H, 3 * W))
    assert found.class_name == "scissors"
    assert found.box == (180.0, 200.0, 480.0, 240.0)
    assert found.centroid == (330.0, 220.0)
    assert found.area == 100 * 20 * 6
    assert found.score == 0.75
    assert abs(found.axis[0]) == pytest.approx(1.0)
    assert not found.touches_border
    assert found.entry is None


def test_tissue_is_no_instrument() -> None:
    labels = blank()
    labels[10:200, 10:200] = 3
    assert locate(labels, None, TABLE, (H, W)) == ()


def test_small_regions_are_dropped_at_the_stated_size() -> None:
    labels = blank()
    least = int(H * W * 0.0005)
    labels[50, 50 : 50 + least] = 1
    labels[90, 50 : 50 + least - 1] = 1
    assert [i.box[1] for i in locate(labels, None, TABLE, (H, W))] == [50.0]
    options = replace(LEGACY, min_area=0.0, min_pixels=5)
    assert len(locate(labels, None, TABLE, (H, W), options)) == 2


@pytest.mark.parametrize("opening", [0.25, 0.4])
@pytest.mark.parametrize(
    ("entry", "tip"), [((-5, 40), (190, 130)), ((325, 200), (150, 120)), ((160, -5), (170, 150))]
)
def test_open_jaws_give_two_tips(
    entry: tuple[int, int], tip: tuple[int, int], opening: float
) -> None:
    labels = blank()
    ends = rod(labels, entry, tip, opening=opening)
    (found,) = locate(labels, None, TABLE, (H, W))
    assert len(found.tips) == 2
    for end in ends:
        assert min(math.dist(end, tip) for tip in found.tips) < 4
    assert found.touches_border
    assert found.entry is not None
    assert math.dist(found.entry, np.clip(entry, 0, [W, H])) < 8


def test_closed_jaws_give_one_tip_and_the_axis_points_to_it() -> None:
    labels = blank()
    rod(labels, (-5, 40), (190, 130))
    (found,) = locate(labels, None, TABLE, (H, W))
    assert len(found.tips) == 1
    assert math.dist(found.tips[0], (190.5, 130.5)) < 4
    assert found.axis[0] > 0.8
    assert found.angle == pytest.approx(math.degrees(math.atan2(90, 195)), abs=2)
    mirrored = locate(labels[:, ::-1].copy(), None, TABLE, (H, W))[0]
    assert mirrored.axis[0] < -0.8


def test_without_a_border_the_outer_end_is_the_entry_side() -> None:
    labels = blank()
    rod(labels, (20, 30), (150, 110))
    (found,) = locate(labels, None, TABLE, (H, W))
    assert found.entry is None
    assert math.dist(found.tips[0], (150.5, 110.5)) < 4


def test_the_round_view_is_a_border() -> None:
    labels = blank()
    rod(labels, (40, 128), (160, 128))
    view = FieldOfView(x=160, y=128, radius=120)
    (free,) = locate(labels, None, TABLE, (H, W))
    (found,) = locate(labels, None, TABLE, (H, W), view=view)
    assert not free.touches_border
    assert found.touches_border
    assert found.entry is not None
    assert found.entry[0] < 48


def test_a_round_blob_has_no_tip() -> None:
    labels = blank()
    cv2.circle(labels, (160, 128), 20, 1, -1)
    (found,) = locate(labels, None, TABLE, (H, W))
    assert found.tips == ()


def test_order_is_class_then_area_then_place() -> None:
    labels = blank()
    labels[10:20, 10:30] = 2
    labels[200:210, 10:30] = 1
    labels[100:110, 50:70] = 1
    labels[100:110, 10:30] = 1
    labels[50:60, 10:50] = 1
    boxes = [(i.class_id, i.box[1], i.box[0]) for i in locate(labels, None, TABLE, (H, W))]
    assert boxes == [(1, 50, 10), (1, 100, 10), (1, 100, 50), (1, 200, 10), (2, 10, 10)]


PARTS = ClassTable(
    (
        ClassRow(id=0, name="background", colour=(0, 0, 0)),
        ClassRow(
            id=1,
            name="grasper shaft",
            colour=(1, 0, 0),
            instrument=True,
            type="grasper",
            part="shaft",
        ),
        ClassRow(
            id=2,
            name="grasper clasper",
            colour=(2, 0, 0),
            instrument=True,
            type="grasper",
            part="clasper",
        ),
        ClassRow(id=3, name="hook", colour=(3, 0, 0), instrument=True),
    )
)


def test_parts_join_into_one_instrument() -> None:
    labels = blank()
    ends = rod(labels, (-5, 40), (190, 130), opening=0.3, value=1, jaw_value=2)
    (found,) = locate(labels, None, PARTS, (H, W))
    assert (found.class_id, found.class_name) == (1, "grasper")
    assert len(found.tips) == 2
    assert max(min(math.dist(e, t) for t in found.tips) for e in ends) < 4


def test_touching_instruments_are_separated_by_their_shafts_alone() -> None:
    labels = blank()
    rod(labels, (-5, 60), (165, 128), value=1, jaw_value=2)
    rod(labels, (325, 190), (160, 128), value=1, jaw_value=2)
    found = locate(labels, None, PARTS, (H, W))
    assert len(found) == 2
    assert {round(i.entry[0] > 160) for i in found if i.entry} == {0, 1}
    assert sum(i.area for i in found) == int((labels > 0).sum())
    merged = np.where(labels > 0, 1, 0).astype(np.uint8)
    assert len(locate(merged, None, TABLE, (H, W))) == 1


def test_confidence_of_every_type_gives_the_mean() -> None:
    labels = blank()
    labels[100:120, 60:160] = 1
    values = np.random.default_rng(0).random((H, W))
    expected = values[100:120, 60:160].mean()
    for confidence in (
        values.astype(np.float16),
        values.astype(np.float32),
        np.rint(values * 255).astype(np.uint8),
    ):
        (found,) = locate(labels, confidence, TABLE, (H, W), LEGACY)
        assert found.score == pytest.approx(expected, abs=2e-3)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ArgumentError, match="expected uint8"):
        locate(blank().astype(np.int64), None, TABLE, (H, W))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="confidence is"):
        locate(blank(), np.zeros((3, 3), np.float16), TABLE, (H, W))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.5))
def test_any_label_map_gives_sound_instruments(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    small = (rng.random((24, 30)) < density).astype(np.uint8) * rng.integers(
        1, 4, (24, 30), np.uint8
    )
    labels = np.kron(small, np.ones((3, 3), np.uint8))
    options = replace(LEGACY, min_area=0, min_pixels=9)
    found = locate(labels, None, TABLE, (144, 270), options)
    assert sum(round(i.area) for i in found) == 6 * int(np.isin(labels, (1, 2)).sum())
    for i in found:
        x0, y0, x1, y1 = i.box
        assert x0 < i.centroid[0] < x1
        assert y0 < i.centroid[1] < y1
        assert math.hypot(*i.axis) == pytest.approx(1.0)
        for x, y in i.tips:
            assert x0 <= x <= x1
            assert y0 <= y <= y1
    again = locate(labels, None, TABLE, (144, 270), options)
    assert again == found


@pytest.mark.parametrize("turn", [0, 35, 80, 145, 250])
def test_the_tip_of_a_hook_lies_beyond_its_bend(turn: int) -> None:
    labels = np.zeros((320, 320), np.uint8)
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))

    def at(along: float, across: float) -> tuple[int, int]:
        return round(160 + c * along - s * across), round(160 + s * along + c * across)

    # A thick shaft, a thin rod, and the hook: it turns back a little, so its end is not farthest.
    cv2.line(labels, at(-260, 0), at(0, 0), 1, 24)
    cv2.line(labels, at(0, 0), at(50, 0), 1, 9)
    cv2.line(labels, at(50, 0), at(42, 26), 1, 9)
    (found,) = locate(labels, None, TABLE, (320, 320))
    assert len(found.tips) == 1
    assert math.dist(found.tips[0], at(42, 26)) < 7


@pytest.mark.parametrize("angle", [0, 20, 45])
def test_the_tip_of_a_blunt_end_is_its_middle(angle: int) -> None:
    labels = np.zeros((300, 400), np.uint8)
    end = np.array(
        [60 + 200 * math.cos(math.radians(angle)), 40 + 200 * math.sin(math.radians(angle))]
    )
    back = np.array([60.0, 40.0]) - (end - [60, 40]) * 2
    across = np.array([-(end - back)[1], (end - back)[0]]) / np.linalg.norm(end - back) * 20
    corners = [back + across, end + across, end - across, back - across]
    cv2.fillPoly(labels, [np.rint(corners).astype(np.int32)], 1)
    (found,) = locate(labels, None, TABLE, (300, 400))
    assert len(found.tips) == 1
    assert math.dist(found.tips[0], end) < 9
