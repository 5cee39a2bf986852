"""Text on images: pieces of lines are rendered once, cached, and pasted.

paste(image, coloured_text(text_mask("grasper", 16), (0, 0, 0), (255, 255, 255)), 10, 20)
"""

from __future__ import annotations

import functools
import unicodedata
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.runtime.draw.colours import Colour

# OpenCV 5 has a proportional typeface; earlier releases have stroke letters only.
_FACE: Any = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None

ELLIPSIS = "…" if _FACE is not None else "..."


@functools.lru_cache(maxsize=2048)
def text_mask(text: str, height: int) -> NDArray[np.uint8]:
    """Coverage ``[h, w]`` 0..255 of a line of text whose letters are ``height`` pixels high.

    All lines of one height have the same ``h``. Characters that the typeface does not have are
    question marks.
    """
    if _FACE is not None:
        size = max(8, round(height * 1.35))
        box = cv2.getTextSize((1, 1), text, (0, 0), _FACE, size, 500)
        width = max(1, int(box[0]) + int(box[2]) + 2)
        canvas = np.zeros((round(size * 1.25), width, 3), np.uint8)
        cv2.putText(canvas, text, (1, size), (255, 255, 255), _FACE, size, 500)
        return np.ascontiguousarray(canvas[..., 0])
    text = _in_ascii(text)
    scale = height / 22
    thickness = max(1, round(height / 12))
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, rise), below = cv2.getTextSize(text, font, scale, thickness)
    canvas = np.zeros((rise + below + 2, max(1, width + 2)), np.uint8)
    cv2.putText(canvas, text, (1, rise + 1), font, scale, 255, thickness, cv2.LINE_AA)
    return canvas


def fitting_mask(text: str, height: int, width: int) -> NDArray[np.uint8] | None:
    """Coverage of a text that is shortened to a width; ``None`` if three letters do not fit.

    Args:
        text: The text; at least its first three letters are kept, or nothing.
        height: Height of the letters in pixels.
        width: Largest width in pixels.
    """
    whole = text_mask(text, height)
    if whole.shape[1] <= width:
        return whole
    first, last = 3, len(text) - 1
    best = None
    while first <= last:
        middle = (first + last) // 2
        mask = text_mask(text[:middle].rstrip() + ELLIPSIS, height)
        if mask.shape[1] <= width:
            best, first = mask, middle + 1
        else:
            last = middle - 1
    return best


def joined(masks: list[NDArray[np.uint8]], gap: int) -> NDArray[np.uint8]:
    """Masks of one height side by side, ``[h, w]``, with a gap in pixels between them."""
    high = max(mask.shape[0] for mask in masks)
    wide = sum(mask.shape[1] for mask in masks) + gap * (len(masks) - 1)
    line = np.zeros((high, wide), np.uint8)
    x = 0
    for mask in masks:
        line[: mask.shape[0], x : x + mask.shape[1]] = mask
        x += mask.shape[1] + gap
    return line


def coloured_text(
    mask: NDArray[np.uint8], foreground: Colour, background: Colour
) -> NDArray[np.uint8]:
    """``[h, w, 3]`` uint8 RGB: a coverage mask ``[h, w]`` in one colour on another."""
    channels = cv2.merge([mask] * 3)
    image = cv2.LUT(channels, _mix_table(foreground, background))
    return cast("NDArray[np.uint8]", image)


@functools.lru_cache(maxsize=256)
def _mix_table(foreground: Colour, background: Colour) -> NDArray[np.uint8]:
    coverage = np.arange(256)[:, None]
    mixed = np.array(background) * (255 - coverage) + np.array(foreground) * coverage
    table = (mixed + 127) // 255
    return table.astype(np.uint8)[:, None, :]


def paste(image: NDArray[np.uint8], patch: NDArray[np.uint8], x: int, y: int) -> None:
    """Copies ``patch`` with its top-left corner at ``(x, y)``, clipped to the image."""
    x0, y0 = max(0, x), max(0, y)
    x1 = min(image.shape[1], x + patch.shape[1])
    y1 = min(image.shape[0], y + patch.shape[0])
    if x1 > x0 and y1 > y0:
        image[y0:y1, x0:x1] = patch[y0 - y : y1 - y, x0 - x : x1 - x]


def _in_ascii(text: str) -> str:
    """The text without accents; every other character outside ASCII is one question mark."""
    plain = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in plain)
