"""Instances of one class that are in view together have different shades of its colour."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from trocar.contract.classes import ClassTable
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.draw.colours import SHADES, class_colours, luminance, shade_of
from trocar.runtime.draw.overlay import OverlayOptions, Painter
from trocar.runtime.draw.shades import MAX_REMEMBERED, Shades
from trocar.runtime.locate.instruments import locate_instances

TABLE = ClassTable.from_names(["background", "grasper", "scissors"])
SIZE = (120, 160)


def instrument(track: int | None, *, class_id: int = 1, instance: int | None = 1) -> Instrument:
    return Instrument(
        class_id=class_id, class_name="x", score=1.0, box=(0, 0, 9, 9), centroid=(4, 4),
        area=81.0, axis=(1.0, 0.0), angle=0.0, track_id=track, instance=instance,
    )  # fmt: skip


def test_shades_differ_and_are_no_darker_than_the_class() -> None:
    for colour in class_colours(TABLE)[1:]:
        shades = [shade_of(colour, number) for number in range(SHADES)]
        assert shades[0] == colour == shade_of(colour, SHADES)
        assert len(set(shades)) == SHADES
        light = sorted(luminance(shade) for shade in shades)
        assert light[0] == luminance(colour)
        assert all(b - a > 0.04 for a, b in pairwise(light))


def test_a_track_keeps_its_shade_and_newcomers_take_a_free_one() -> None:
    shades = Shades()
    assert shades.of([instrument(7), instrument(8), instrument(9, class_id=2)]) == [0, 1, 0]
    assert shades.of([instrument(8)]) == [1]
    assert shades.of([instrument(3), instrument(8)]) == [0, 1]
    # Both had shade 0 while the other was away.
    assert shades.of([instrument(3), instrument(7)]) == [0, 1]
    assert shades.of([instrument(None), instrument(None), instrument(None)]) == [0, 1, 2]
    assert shades.of([instrument(5, instance=None), instrument(6, instance=None)]) == [0, 0]
    for track in range(3 * MAX_REMEMBERED):
        shades.of([instrument(track)])
    assert len(shades._of_track) == MAX_REMEMBERED
    crowd = [instrument(None) for _ in range(SHADES + 2)]
    assert set(shades.of(crowd)) == set(range(SHADES))


def test_crossing_instruments_of_one_class_are_painted_in_two_shades() -> None:
    instances = np.zeros(SIZE, np.uint8)
    instances[50:70, :120] = 2
    instances[:110, 60:80] = 1
    found = locate_instances(instances, [1, 1], [0.9, 0.6], TABLE, SIZE)
    result = FrameResult(
        frame_id=0, time=0, captured_ns=0, age_ms=0, frame_size=SIZE, instances=instances,
        labels=(instances > 0).astype(np.uint8), instruments=found,
    )  # fmt: skip
    painter = Painter(TABLE, OverlayOptions(show=("masks",), opacity=1, legend=False))
    drawn = painter.draw(np.zeros((*SIZE, 3), np.uint8), result)
    colour = class_colours(TABLE)[1]
    first, second = (tuple(drawn[place].tolist()) for place in ((20, 70), (60, 20)))
    assert {first, second} == {colour, shade_of(colour, 1)}
    assert tuple(drawn[60, 100].tolist()) == second  # behind the other one it is the same
