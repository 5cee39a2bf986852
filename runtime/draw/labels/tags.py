"""The label of an instrument: its text, where it wants to stand, and how it is drawn.

text = tag_mask(instrument, frozenset(("labels", "ids")), unit=2.0, size=(1080, 1920))
wish = label_wish(instrument, tag_size(text, unit=2.0), at_box=True)
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


def tag_mask(
    instrument: Instrument, show: frozenset[str], *, unit: float, size: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """Coverage of a label's text: name, track number, score.

    Args:
        instrument: The instrument.
        show: ``labels`` for name and score, ``ids`` for the track number.
        unit: Scale of the type; 1 is for 540 lines.
        size: ``(height, width)`` of the picture.

    Returns:
        ``[h, w]`` 0..255. Where there is no room for all of it, the score goes first, then the
        name is shortened, then it goes too. ``None`` if nothing is left.
    """
    height, gap = round(11 * unit), round(6 * unit)
    limit = int(LARGEST_WIDTH * size[1]) - 2 * padding(unit)
    if text_mask("0", height).shape[0] + padding(unit) > LARGEST_HEIGHT * size[0]:
        return None
    number = None
    if "ids" in show and instrument.track_id is not None:
        number = text_mask(f"#{instrument.track_id}", height)
        if number.shape[1] > limit:
            return None
    if "labels" not in show:
        return number
    name = instrument.class_name
    if instrument.classified is not None:
        name = f"{instrument.classified.name} {instrument.classified.score:.2f}"
    score = _score_mask(f"{instrument.score:.2f}", height)
    kept = [] if number is None else [number]
    whole = joined([text_mask(name, height), *kept, score], gap)
    if whole.shape[1] <= limit:
        return whole
    room = limit if number is None else limit - number.shape[1] - gap
    shortened = fitting_mask(name, height, room)
    return number if shortened is None else joined([shortened, *kept], gap)


def padding(unit: float) -> int:
    """Pixels between a label's text and its left and right edge."""
    return round(4 * unit)


def tag_size(mask: NDArray[np.uint8], *, unit: float) -> tuple[int, int]:
    """``(width, height)`` of a label with this text."""
    return mask.shape[1] + 2 * padding(unit), mask.shape[0] + padding(unit)


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


def draw_tag(
    picture: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    rectangle: Rectangle,
    colour: Colour,
    *,
    unit: float,
) -> None:
    """Draws a label: text on its class's colour with a dark edge."""
    x0, y0, x1, y1 = rectangle
    cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), BLACK, cv2.FILLED)
    edge = max(1, round(0.6 * unit))
    patch = cv2.copyMakeBorder(
        mask, *([padding(unit) // 2 - edge] * 2), *([padding(unit) - edge] * 2),
        cv2.BORDER_CONSTANT, value=0,
    )  # fmt: skip
    text = coloured_text(np.asarray(patch, np.uint8), contrasting_colour(colour), colour)
    paste(picture, text, x0 + edge, y0 + edge)


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


@functools.lru_cache(maxsize=512)
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
