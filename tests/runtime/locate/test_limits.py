"""Every limit of docs/location.md, on both sides of it: a changed constant fails a test here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.location import LEGACY
from trocar.runtime.locate import instruments, tips
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.instruments import locate
from trocar.runtime.locate.rules import regions
from trocar.runtime.locate.split_touching import split_touching

TABLE = ClassTable.from_names(["background", "grasper"])
PARTS = ClassTable(
    (
        ClassRow(id=0, name="background", colour=(0, 0, 0)),
        ClassRow(
            id=1, name="shaft", colour=(1, 0, 0), instrument=True, type="grasper", part="shaft"
        ),
        ClassRow(id=2, name="tip", colour=(2, 0, 0), instrument=True, type="grasper", part="tip"),
    )
)
SIDE = 160
FINE = replace(LEGACY, min_pixels=8)


def blank() -> NDArray[np.uint8]:
    return np.zeros((SIDE, SIDE), np.uint8)


def pronged(length: int, width: int, prong: int, rows: int) -> NDArray[np.uint8]:
    """A bar from the left border that ends in two prongs of ``rows`` rows each."""
    labels, top = blank(), 70
    labels[top : top + width, :length] = 1
    labels[top : top + rows, length : length + prong] = 1
    labels[top + width - rows : top + width, length : length + prong] = 1
    return labels


def hook(length: int, width: int, rod: int, bend: int) -> NDArray[np.uint8]:
    """A bar from the left border, a thin rod, and a bend downwards at its end."""
    labels, top = blank(), 70
    labels[top : top + width, :length] = 1
    middle = top + width // 2
    labels[middle - 2 : middle + 2, length : length + rod] = 1
    labels[middle - 2 : middle + 2 + bend, length + rod - 4 : length + rod] = 1
    return labels


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pronged(50, 12, 3, 1), [(51.5, 76.0)]),
        (pronged(60, 5, 3, 1), [(62.0, 72.5)]),
        (pronged(60, 5, 3, 2), [(61.7, 70.9), (61.7, 74.1)]),
        (pronged(60, 12, 4, 2), [(62.7, 70.9), (62.7, 81.1)]),
        (pronged(60, 20, 2, 1), [(58.66, 80.0)]),
        (pronged(60, 20, 8, 2), [(66.5, 71.0), (66.5, 89.0)]),
        (pronged(90, 8, 4, 1), [(92.5, 70.5), (92.5, 77.5)]),
        (pronged(90, 12, 5, 1), [(93.5, 76.0)]),
        (hook(50, 12, 10, 5), [(58.5, 81.93)]),
    ],
)
def test_tips_of_shapes_near_the_limits(
    labels: NDArray[np.uint8], expected: list[tuple[float, float]]
) -> None:
    """The shapes were chosen so that every constant of section 6 decides one of them."""
    (found,) = locate(labels, None, TABLE, (SIDE, SIDE), FINE)
    assert [(round(x, 2), round(y, 2)) for x, y in found.tips] == expected


@pytest.mark.parametrize(("height", "num_tips"), [(14, 1), (15, 0)])
def test_a_region_has_a_direction_up_to_a_variance_ratio(height: int, num_tips: int) -> None:
    labels = blank()
    labels[80 : 80 + height, 60:80] = 1
    ratio = (height**2 - 1) / (20**2 - 1)
    assert (ratio <= instruments.MAX_VARIANCE_RATIO) == (num_tips == 1)
    (found,) = locate(labels, None, TABLE, (SIDE, SIDE))
    assert len(found.tips) == num_tips


@pytest.mark.parametrize(("pixels", "at_tip_part"), [(3, False), (4, True)])
def test_tip_parts_are_used_from_four_pixels_on(pixels: int, at_tip_part: bool) -> None:
    labels = blank()
    labels[80:90, :100] = 1
    labels[84:86, 40:42] = 2
    labels[85, 41] = 2 if pixels == 4 else 1
    (found,) = locate(labels, None, PARTS, (SIDE, SIDE))
    assert (found.tips[0][0] < 50) == at_tip_part


@pytest.mark.parametrize(("first_column", "touches"), [(1, True), (2, False)])
def test_the_border_is_two_pixels_wide(first_column: int, touches: bool) -> None:
    labels = blank()
    labels[80:90, first_column:100] = 1
    (found,) = locate(labels, None, TABLE, (SIDE, SIDE))
    assert found.touches_border == touches


@pytest.mark.parametrize(("first_column", "touches"), [(3, True), (4, False)])
def test_the_border_of_the_field_of_view_is_a_fraction_of_its_radius(
    first_column: int, touches: bool
) -> None:
    labels = np.zeros((201, 201), np.uint8)
    labels[99:102, first_column:100] = 1
    view = FieldOfView(x=100.5, y=100.5, radius=100)
    (found,) = locate(labels, None, TABLE, (201, 201), view=view)
    assert found.touches_border == touches


@pytest.mark.parametrize(("pixels", "located"), [(15, 0), (16, 1)])
def test_the_smallest_region_of_a_small_map(pixels: int, located: int) -> None:
    labels = blank()
    labels[80, 60 : 60 + pixels] = 1
    assert len(locate(labels, None, TABLE, (SIDE, SIDE))) == located


@pytest.mark.parametrize("limit", [0, 10**9])
def test_counting_components_gives_the_same_by_both_methods(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    labels = np.kron(rng.random((20, 20)) < 0.3, np.ones((8, 8))).astype(np.uint8)
    expected = locate(labels, None, TABLE, (SIDE, SIDE))
    assert len(expected) > regions.MAX_COUNTED_SEPARATELY
    monkeypatch.setattr(regions, "MAX_COUNTED_SEPARATELY", limit)
    assert locate(labels, None, TABLE, (SIDE, SIDE)) == expected


def test_a_shaft_enters_from_the_smallest_size_on() -> None:
    mask = np.ones((4, 20), np.bool_)
    shaft = np.zeros_like(mask)
    shaft[:, :2] = shaft[:, -2:] = True
    assert len(split_touching(mask, shaft, shaft, min_pixels=8)) == 2
    assert len(split_touching(mask, shaft, shaft, min_pixels=9)) == 1


def test_a_pixel_between_two_shafts_goes_to_the_lower_number() -> None:
    mask = np.ones((1, 5), np.bool_)
    shaft = np.array([[True, False, False, False, True]])
    first, second = split_touching(mask, shaft, shaft, min_pixels=1)
    assert first.tolist() == [[True, True, True, False, False]]
    assert second.tolist() == [[False, False, False, True, True]]


def test_the_constants_are_those_of_the_page() -> None:
    assert (tips.NUM_CIRCLES, tips.MIN_JAW_PIXELS) == (8, 4)
    assert (instruments.MAX_VARIANCE_RATIO, instruments.MIN_TIP_PIXELS) == (0.5, 4)
