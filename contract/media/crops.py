"""The crop that a classifier sees of an object: one rule for training and for video.

x0, y0, x1, y1 = crop_window((40, 30, 80, 90), (480, 854))
"""

from __future__ import annotations

CROP_MARGIN = 0.1
"""Margin on each side of a box, as a fraction of its longer side."""


def crop_window(
    box: tuple[float, float, float, float], size: tuple[int, int], *, margin: float = CROP_MARGIN
) -> tuple[int, int, int, int]:
    """The square around a box with its margin, moved into the frame, clipped if it is too large.

    Args:
        box: ``(x0, y0, x1, y1)`` in pixels, half open.
        size: ``(height, width)`` of the frame.
        margin: Margin on each side, as a fraction of the longer side.

    Returns:
        ``(x0, y0, x1, y1)`` integer pixels inside the frame, half open, never empty.
    """
    x0, y0, x1, y1 = box
    side = max(x1 - x0, y1 - y0, 1.0) * (1 + 2 * margin)
    left, right = _span((x0 + x1) / 2, side, size[1])
    top, bottom = _span((y0 + y1) / 2, side, size[0])
    return left, top, right, bottom


def _span(centre: float, side: float, limit: int) -> tuple[int, int]:
    length = min(max(round(side), 1), limit)
    first = min(max(round(centre - length / 2), 0), limit - length)
    return first, first + length
