"""Finds the endoscope's circular field of view inside a frame.

    tracker = FieldOfViewTracker()
    view = tracker.update(image)        # FieldOfView, or None if the image fills the frame

Edge points of the lit area are collected from the left and from the right on a coarse grid. A
circle is fitted to them. Instruments and dark tissue at the edge are outliers; the fit drops them.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRID_ROWS = 135
"""Rows of the coarse grid."""

MAX_DARK_LEVEL = 24
"""Outside the field of view the brightest channel of a pixel is at most this, 0..255."""

_MIN_POINTS = 24
_PERIOD_FRAMES = 15
_WINDOW = 5


@dataclass(frozen=True, kw_only=True)
class FieldOfView:
    """The endoscope's circular field of view, in frame pixels.

    Attributes:
        x: Column of the centre.
        y: Row of the centre.
        radius: Above 0.
    """

    x: float
    y: float
    radius: float


def find_field_of_view(image: NDArray[np.uint8]) -> FieldOfView | None:
    """Finds the field of view of one frame.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.

    Returns:
        The circle in frame pixels; ``None`` if the image fills the frame.
    """
    step = max(1, image.shape[0] // GRID_ROWS)
    lit = image[step // 2 :: step, step // 2 :: step].max(axis=2) > MAX_DARK_LEVEL
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
    circle = _fit_circle(points, step) if len(points) >= _MIN_POINTS else None
    if circle is None:
        return None
    x, y, radius = circle
    if not 0.3 * h < radius < 1.5 * w or not 0 < x < w or not 0 < y < h:
        return None
    return FieldOfView(x=(x + 0.5) * step, y=(y + 0.5) * step, radius=radius * step)


class FieldOfViewTracker:
    """The field of view of a stream: measured every 15 frames, median of the last five."""

    def __init__(self) -> None:
        self._frames = 0
        self._measured: deque[FieldOfView | None] = deque(maxlen=_WINDOW)

    def update(self, image: NDArray[np.uint8]) -> FieldOfView | None:
        """Takes the next frame; gives the field of view, ``None`` if the image fills the frame.

        Args:
            image: ``[H, W, 3]`` uint8 RGB.
        """
        if self._frames % _PERIOD_FRAMES == 0 or len(self._measured) < _WINDOW:
            self._measured.append(find_field_of_view(image))
        self._frames += 1
        views = [view for view in self._measured if view is not None]
        if 2 * len(views) <= len(self._measured):
            return None
        return FieldOfView(
            x=statistics.median(view.x for view in views),
            y=statistics.median(view.y for view in views),
            radius=statistics.median(view.radius for view in views),
        )


def _edge_points(lit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """``[N, 2]`` first and last lit pixel of each row, without those at the frame's border."""
    w = lit.shape[1]
    rows = np.flatnonzero(lit.sum(axis=1) > w // 20)
    left = lit[rows].argmax(axis=1)
    right = w - 1 - lit[rows, ::-1].argmax(axis=1)
    sides = []
    for columns, is_inside in ((left, left > 1), (right, right < w - 2)):
        sides.append(np.stack([columns[is_inside], rows[is_inside]], axis=1).astype(np.float64))
    return np.concatenate(sides)


def _fit_circle(points: NDArray[np.float64], step: int) -> tuple[float, float, float] | None:
    """Three least-squares fits; each one drops the points that lie far from the fit before."""
    inliers = points
    x = y = radius = 0.0
    for limit in (12.0, 4.0, 2.0):
        if len(inliers) < _MIN_POINTS:
            return None
        a = np.column_stack([2 * inliers, np.ones(len(inliers))])
        solution, *_ = np.linalg.lstsq(a, (inliers**2).sum(axis=1), rcond=None)
        x, y = float(solution[0]), float(solution[1])
        square = float(solution[2]) + x * x + y * y
        if square <= 0:
            return None
        radius = square**0.5
        distance = np.abs(np.hypot(points[:, 0] - x, points[:, 1] - y) - radius)
        inliers = points[distance < max(limit, limit * 8 / step)]
    return (x, y, radius) if len(inliers) >= 0.5 * len(points) else None
