"""The label of an instrument: its text, where it wants to stand, and how it is drawn.

tag = tag_of(instrument, frozenset(("labels", "ids")), (230, 159, 0), unit=2.0, size=(1080, 1920))
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import Instrument, Point
from trocar.runtime.draw.colours import BLACK, Colour, contrasting_colour
from trocar.runtime.draw.labels.scene import LabelWish, Rectangle
from trocar.runtime.draw.text import coloured_text, fitting_mask, joined, paste, text_mask

LARGEST_WIDTH = 0.4
LARGEST_HEIGHT = 0.25
"""Largest share of the picture's width and height that a label takes."""

_SPINE_POINTS = 7


def tag_of(
    instrument: Instrument,
    show: frozenset[str],
    colour: Colour,
    *,
    unit: float,
    size: tuple[int, int],
) -> NDArray[np.uint8] | None:
    """A label: name, track number and score on the colour of the class, with a dark edge.

    Args:
        instrument: The instrument.
        show: ``labels`` for name and score, ``ids`` for the track number.
        colour: RGB.
        unit: Scale of the type; 1 is for 540 lines.
        size: ``(height, width)`` of the picture.

    Returns:
        ``[h, w, 3]`` uint8 RGB, not to be changed. Where there is no room for all of it, the score
        goes first, then the name is shortened, then it goes too. ``None`` if nothing is left.
    """
    number, name, score = "", "", ""
    if "ids" in show and instrument.track_id is not None:
        number = f"#{instrument.track_id}"
    if "labels" in show:
        name, score = instrument.class_name, f"{instrument.score:.2f}"
        if instrument.classified is not None:
            name = f"{instrument.classified.name} {instrument.classified.score:.2f}"
    return text_tag(name, number, score, colour=colour, unit=unit, size=size)


@functools.lru_cache(maxsize=128)
def text_tag(
    name: str, number: str, score: str, *, colour: Colour, unit: float, size: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """A label as `tag_of` makes it, of any texts; empty ones are left out."""
    pad, edge = round(4 * unit), max(1, round(0.6 * unit))
    text = _text(name, number, score, unit, int(LARGEST_WIDTH * size[1]) - 2 * pad)
    if text is None or text.shape[0] + pad > LARGEST_HEIGHT * size[0]:
        return None
    high, wide = text.shape[0] + pad, text.shape[1] + 2 * pad
    coverage = np.zeros((high, wide), np.uint8)
    paste(coverage, text, pad, pad // 2)
    framed = coloured_text(coverage, contrasting_colour(colour), colour)
    cv2.rectangle(framed, (0, 0), (wide - 1, high - 1), BLACK, 2 * edge - 1)
    framed.flags.writeable = False
    return framed


def _text(name: str, number: str, score: str, unit: float, limit: int) -> NDArray[np.uint8] | None:
    """Coverage of a label's text, ``limit`` pixels wide at most."""
    height, gap = round(11 * unit), round(6 * unit)
    track = text_mask(number, height) if number else None
    if track is not None and track.shape[1] > limit:
        return None
    if not name:
        return track
    kept = [] if track is None else [track]
    last = [_score_mask(score, height)] if score else []
    whole = joined([text_mask(name, height), *kept, *last], gap)
    if whole.shape[1] <= limit:
        return whole
    room = limit if track is None else limit - track.shape[1] - gap
    shortened = fitting_mask(name, height, room)
    return track if shortened is None else joined([shortened, *kept], gap)


def label_wish(instrument: Instrument, size: tuple[int, int], *, at_box: bool) -> LabelWish:
    """What a label of an instrument asks for.

    Args:
        instrument: The instrument.
        size: ``(width, height)`` of the label.
        at_box: Whether it stands at the box; otherwise beside the instrument's axis.
    """
    spine = () if at_box else _spine(instrument)
    length = math.dist(spine[0], spine[-1]) if spine else 0.0
    return LabelWish(
        size=size,
        box=instrument.box,
        area=instrument.area,
        centre=instrument.centroid,
        spine=spine,
        half_width=instrument.area / length / 2 if length else 0.0,
        tips=instrument.tips,
        key=instrument.track_id,
    )


def draw_leader(
    picture: NDArray[np.uint8],
    rectangle: Rectangle,
    target: Point,
    colour: Colour,
    *,
    unit: float,
) -> None:
    """Draws a line from a label to its instrument, with a dot at its end."""
    x0, y0, x1, y1 = rectangle
    end = round(target[0]), round(target[1])
    start = min(x1 - 1, max(x0, end[0])), min(y1 - 1, max(y0, end[1]))
    line = max(1, round(1.2 * unit))
    for shade, more in ((BLACK, max(2, round(1.6 * unit))), (colour, 0)):
        cv2.line(picture, start, end, shade, line + more, cv2.LINE_AA)
        cv2.circle(picture, end, max(2, round(2.4 * unit)) + more // 2, shade, -1, cv2.LINE_AA)


def _score_mask(score: str, height: int) -> NDArray[np.uint8]:
    """The score; always of one width, so that labels do not change theirs."""
    mask = text_mask(score, height)
    wide = max(mask.shape[1], text_mask("0.00", height).shape[1])
    return np.pad(mask, ((0, 0), (wide - mask.shape[1], 0)))


def _spine(instrument: Instrument) -> tuple[Point, ...]:
    """Points along the axis within the box, from the entry's end to the tip's end."""
    x0, y0, x1, y1 = instrument.box
    (cx, cy), (dx, dy) = instrument.centroid, instrument.axis
    reach = [math.inf, math.inf]
    for position, step, low, high in ((cx, dx, x0, x1), (cy, dy, y0, y1)):
        if abs(step) > 1e-6:
            far, near = (high - position) / step, (low - position) / step
            reach[0] = min(reach[0], max(0.0, -min(far, near)))
            reach[1] = min(reach[1], max(0.0, max(far, near)))
    if not all(map(math.isfinite, reach)) or reach[0] + reach[1] < 1:
        return ()
    steps = np.linspace(-reach[0], reach[1], _SPINE_POINTS)
    return tuple((cx + float(t) * dx, cy + float(t) * dy) for t in steps)
