"""Which pixels a classifier sees of an object in a box: one rule for training and for video.

x0, y0, x1, y1 = crop_window((40, 30, 80, 90), (480, 854))
"""

from __future__ import annotations

CROP_MARGIN = 0.1
"""Surroundings on each side of a box, as a share of its longer side."""


def crop_window(
    box: tuple[float, float, float, float], size: tuple[int, int], *, margin: float = CROP_MARGIN
) -> tuple[int, int, int, int]:
    """The square around a box and its margin, moved into the frame and cut where it is too large.

    Args:
        box: ``(x0, y0, x1, y1)`` in pixels, half open.
        size: Height and width of the frame.
        margin: See `CROP_MARGIN`.

    Returns:
        ``(x0, y0, x1, y1)`` whole pixels inside the frame, half open, never empty.
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
