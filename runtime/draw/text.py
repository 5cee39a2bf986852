"""Text on images: lines are rendered once, cached, and pasted.

paste(image, coloured_text(text_mask("grasper", 16), (0, 0, 0), (255, 255, 255)), 10, 20)
"""

from __future__ import annotations

import functools
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

# OpenCV 5 has a proportional typeface; earlier releases have stroke letters only.
_FACE: Any = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None


@functools.lru_cache(maxsize=128)
def text_mask(text: str, height: int) -> NDArray[np.uint8]:
    """Coverage ``[h, w]`` 0..255 of a line of text whose letters are ``height`` pixels high."""
    if _FACE is not None:
        size = max(8, round(height * 1.35))
        box = cv2.getTextSize((1, 1), text, (0, 0), _FACE, size, 500)
        width = max(1, int(box[0]) + int(box[2]) + 2)
        canvas = np.zeros((round(size * 1.25), width, 3), np.uint8)
        cv2.putText(canvas, text, (1, size), (255, 255, 255), _FACE, size, 500)
        return np.ascontiguousarray(canvas[..., 0])
    scale = height / 22
    thickness = max(1, round(height / 12))
    (width, rise), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    canvas = np.zeros((rise + below + 2, max(1, width + 2)), np.uint8)
    cv2.putText(
        canvas,
        text,
        (1, rise + 1),
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        255,
        thickness,
        cv2.LINE_AA,
    )
    return canvas


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


def contrasting_colour(colour: Colour) -> Colour:
    """Black on light colours, white on dark ones."""
    r, g, b = colour
    return (0, 0, 0) if 0.299 * r + 0.587 * g + 0.114 * b > 140 else (255, 255, 255)
