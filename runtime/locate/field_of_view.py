"""Finds the endoscope's round picture inside a frame.

    finder = RoundView(); view = finder.update(image)

The picture's edge is looked for from both sides on a coarse grid, and a circle is laid through it.
Instruments and dark tissue at the edge are outliers and are thrown out.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROWS = 135
"""Rows of the coarse grid."""

DARK = 24
"""Brightest channel of a pixel outside the picture is at most this."""

_MIN_POINTS = 24
_PERIOD = 15
_KEPT = 5


def find_view(image: NDArray[np.uint8]) -> View | None:
    """Finds the round picture of one frame.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.

    Returns:
        The circle in frame pixels; ``None`` where the picture fills the frame.
    """
    step = max(1, image.shape[0] // ROWS)
    lit = image[step // 2 :: step, step // 2 :: step].max(axis=2) > DARK
    h, w = lit.shape
    block = max(1, h // 16)
    corners = (
        lit[:block, :block],
        lit[:block, -block:],
        lit[-block:, :block],
        lit[-block:, -block:],
    )
    if sum(float(corner.mean()) < 0.2 for corner in corners) < 3:
        return None
    points = _edge_points(lit)
    circle = _circle(points, step) if len(points) >= _MIN_POINTS else None
    if circle is None:
        return None
    x, y, radius = circle
    if not 0.3 * h < radius < 1.5 * w or not 0 < x < w or not 0 < y < h:
        return None
    return View(x=(x + 0.5) * step, y=(y + 0.5) * step, radius=radius * step)


class RoundView:
    """Keeps the view of a stream: looks at every fifteenth frame, takes the median of five."""

    def __init__(self) -> None:
        self._seen = 0
        self._found: deque[View | None] = deque(maxlen=_KEPT)

    def update(self, image: NDArray[np.uint8]) -> View | None:
        """Looks at a frame when it is time, and gives what is known; ``None`` for no round view."""
        if self._seen % _PERIOD == 0 or len(self._found) < _KEPT:
            self._found.append(find_view(image))
        self._seen += 1
        views = [view for view in self._found if view is not None]
        if 2 * len(views) <= len(self._found):
            return None
        return View(
            x=statistics.median(view.x for view in views),
            y=statistics.median(view.y for view in views),
            radius=statistics.median(view.radius for view in views),
        )


def _edge_points(lit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """First and last lit pixel of each row that are not at the frame's own border."""
    w = lit.shape[1]
    rows = np.flatnonzero(lit.sum(axis=1) > w // 20)
    left = lit[rows].argmax(axis=1)
    right = w - 1 - lit[rows, ::-1].argmax(axis=1)
    sides = []
    for columns, outer in ((left, left > 1), (right, right < w - 2)):
        sides.append(np.stack([columns[outer], rows[outer]], axis=1).astype(np.float64))
    return np.concatenate(sides)


def _circle(points: NDArray[np.float64], step: int) -> tuple[float, float, float] | None:
    """Least squares, three times, each time without what lies far off."""
    keep = points
    x = y = radius = 0.0
    for limit in (12.0, 4.0, 2.0):
        if len(keep) < _MIN_POINTS:
            return None
        a = np.column_stack([2 * keep, np.ones(len(keep))])
        solved, *_ = np.linalg.lstsq(a, (keep**2).sum(axis=1), rcond=None)
        x, y = float(solved[0]), float(solved[1])
        square = float(solved[2]) + x * x + y * y
        if square <= 0:
            return None
        radius = square**0.5
        off = np.abs(np.hypot(points[:, 0] - x, points[:, 1] - y) - radius)
        keep = points[off < max(limit, limit * 8 / step)]
    return (x, y, radius) if len(keep) >= 0.5 * len(points) else None


@dataclass(frozen=True, kw_only=True)
class View:
    """The endoscope's round picture inside the frame, in frame pixels.

    Attributes:
        x: Centre.
        y: Centre.
        radius: Above 0.
    """

    x: float
    y: float
    radius: float
