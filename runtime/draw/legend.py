"""The legend and the status line: what they say, and how much of the picture they may take.

legend = legend_sprite([("grasper", (250, 120, 0))], unit=2.0, size=(1080, 1920))
rectangle = legend_rectangle(legend, (1080, 1920), unit=2.0)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.runtime.draw.colours import WHITE, Colour
from trocar.runtime.draw.labels.scene import Rectangle
from trocar.runtime.draw.sprites import Sprite, sprite_from_mask
from trocar.runtime.draw.text import fitting_mask, joined, paste, text_mask

BACKGROUND_GAIN = 0.25
"""Brightness, 0..1, that the image keeps behind text."""

ALARM: Colour = (255, 176, 64)
PLAIN: Colour = (235, 235, 235)

_LARGEST_WIDTH = 0.4
_LARGEST_HEIGHT = 0.5
"""Largest share of the picture's width and height that the legend takes."""


def legend_sprite(
    rows: Sequence[tuple[str, Colour]],
    note: str = "",
    *,
    unit: float,
    size: tuple[int, int],
    count: int = 0,
    alone: bool = False,
) -> Sprite | None:
    """The legend as a sprite.

    Args:
        rows: Name and colour of each class.
        note: A last line without a colour; it begins with a number.
        unit: Scale of the type; 1 is for 540 lines.
        size: ``(height, width)`` of the picture.
        count: Largest number that the note may begin with: the legend is wide enough for it.
        alone: Whether it may take the whole picture, because it is all that is drawn.

    Returns:
        The sprite; names that are too long are shortened, rows that have no room are counted in
        the last line. ``None`` where the picture is too small for it, or there is nothing to say.
    """
    return _legend(tuple(rows), note, len(str(count)), unit, size, alone)


def legend_rectangle(sprite: Sprite, size: tuple[int, int], *, unit: float) -> Rectangle:
    """Where the legend stands: the top right corner."""
    high, wide = sprite.colour.shape[:2]
    pad = min(round(8 * unit), size[1] - wide, size[0] - high)
    return size[1] - wide - pad, pad, size[1] - pad, pad + high


@functools.lru_cache(maxsize=32)
def status_sprite(text: str, *, unit: float, size: tuple[int, int], alarm: bool) -> Sprite | None:
    """The status line as a sprite, cut where the picture ends; ``None`` if it does not fit.

    Args:
        text: Parts are divided by three spaces.
        unit: Scale of the type; 1 is for 540 lines.
        size: ``(height, width)`` of the picture.
        alarm: Whether it has the warning colour.
    """
    pad, height = max(1, round(6 * min(size) / 540)), round(12 * unit)
    room = size[1] - 2 * pad
    masks: list[NDArray[np.uint8]] = []
    gap = text_mask("   ", height).shape[1]
    for part in text.split("   "):
        mask = fitting_mask(part, height, room)
        if mask is None:
            break
        masks.append(mask)
        room -= mask.shape[1] + gap
    if not masks or masks[0].shape[0] + 2 * pad > size[0]:
        return None
    line = cv2.copyMakeBorder(joined(masks, gap), pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
    return sprite_from_mask(
        cast("NDArray[np.uint8]", line), ALARM if alarm else PLAIN, background_gain=BACKGROUND_GAIN
    )


def status_rectangle(sprite: Sprite, size: tuple[int, int]) -> Rectangle:
    """Where the status line stands: the bottom left corner."""
    high, wide = sprite.colour.shape[:2]
    return 0, size[0] - high, wide, size[0]


@functools.lru_cache(maxsize=64)
def _legend(
    rows: tuple[tuple[str, Colour], ...],
    note: str,
    digits: int,
    unit: float,
    size: tuple[int, int],
    alone: bool,
) -> Sprite | None:
    height, pad, swatch = round(12 * unit), round(8 * unit), round(12 * unit)
    row_height = text_mask("Ag", height).shape[0] + round(3 * unit)
    high, wide = (1.0, 1.0) if alone else (_LARGEST_HEIGHT, _LARGEST_WIDTH)
    fit = int((high * size[0] - 2 * pad) / row_height)
    room = int(wide * size[1]) - 3 * pad - swatch
    notes = [note] if note else []
    if len(rows) + len(notes) > fit:
        keep = max(0, fit - len(notes) - 1)
        notes.insert(0, f"+{len(rows) - keep} classes")
        rows = rows[:keep]
    if not rows or len(rows) + len(notes) > fit:
        return None
    masks = [fitting_mask(text, height, room) for text in (*(text for text, _ in rows), *notes)]
    known = [mask for mask in masks if mask is not None]
    if len(known) < len(masks):
        return None
    text_width = max(mask.shape[1] for mask in known)
    if note:
        widest = "8" * digits + note.lstrip("0123456789")
        text_width = min(room, max(text_width, text_mask(widest, height).shape[1]))
    shape = 2 * pad + row_height * len(known) - round(3 * unit), 3 * pad + swatch + text_width
    coverage = np.zeros(shape, np.uint8)
    for number, mask in enumerate(known):
        paste(coverage, mask, 2 * pad + swatch, pad + number * row_height)
    sprite = sprite_from_mask(coverage, WHITE, background_gain=BACKGROUND_GAIN)
    for number, (_, colour) in enumerate(rows):
        middle = pad + number * row_height + known[number].shape[0] // 2
        first, last = (pad, middle - swatch // 2), (pad + swatch, middle + swatch // 2)
        cv2.rectangle(sprite.colour, first, last, colour, cv2.FILLED)
        cv2.rectangle(sprite.alpha, first, last, WHITE, cv2.FILLED)
    return sprite
