"""Colours that colour-blind readers tell apart, and text that can be read on any tissue."""

from __future__ import annotations

import pytest
from colour_vision import VISION, smallest_distance

from trocar.contract.classes import ClassRow, ClassTable
from trocar.runtime.draw.colours import Colour, class_colours, contrasting_colour, luminance
from trocar.runtime.draw.legend import ALARM, BACKGROUND_GAIN, PLAIN


def contrast(a: Colour, b: Colour) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("vision", VISION)
def test_twelve_classes_are_told_apart(vision: str) -> None:
    table = ClassTable.from_names(["background", *"abcdefghijkl"])
    drawn = class_colours(table)[1:]
    assert len(set(drawn)) == 12
    assert smallest_distance(drawn, vision) > 15


def test_the_measure_sees_what_a_colour_blind_reader_does_not() -> None:
    green, brown = (0, 170, 94), (190, 120, 80)
    assert smallest_distance([green, brown], "normal") > 60
    assert smallest_distance([green, brown], "deuteranopia") < 30


def test_given_colours_stay_and_dark_ones_get_brighter() -> None:
    given = ((0, 0, 0), (200, 10, 10), (0, 90, 50), (10, 10, 10))
    rows = tuple(
        ClassRow(id=i, name=name, colour=colour)
        for i, (name, colour) in enumerate(zip("abcd", given, strict=True))
    )
    drawn = class_colours(ClassTable(rows))
    assert drawn[1] == (200, 10, 10)
    assert drawn[2] == (0, 170, 94)
    assert drawn[3] == (170, 170, 170)


def test_text_has_contrast_on_every_colour_and_background() -> None:
    steps = range(0, 256, 51)
    for colour in ((r, g, b) for r in steps for g in steps for b in steps):
        assert contrast(colour, contrasting_colour(colour)) >= 4.5
    level = round(255 * BACKGROUND_GAIN)
    white_behind_text = (level, level, level)
    for text in (ALARM, PLAIN):
        assert contrast(text, white_behind_text) >= 4.5
