"""Finds the endoscope's circular field of view inside a frame.

    tracker = FieldOfViewTracker()
    view = tracker.update(image)        # FieldOfView, or None if the image fills the frame

The surroundings of a view are flat, without colour, and reach a corner of the frame: black, noisy
black or grey. What is unlike them is the view, if it is round. Text and a second picture beside the
view are separate and smaller. Instruments and dark tissue at the edge are outliers of the fit.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.media.nv12 import Picture, sampled

GRID_ROWS = 135
"""Rows of the coarse grid."""

MAX_DARK_LEVEL = 24
"""Outside the field of view the brightest channel of a pixel is at most this, 0..255."""

_MIN_POINTS = 24
_SECTORS = 36
_MIN_SECTORS = 8
"""Of 36 sectors of the circle, those in which its edge must be seen: a shorter arc fits more."""

_TRIPLES = 120
_ON_CIRCLE = 1.5
"""Distance from the circle, in pixels of the grid, at which a point lies on it."""

_PERIOD_FRAMES = 8
_EVERY_16 = slice(None, None, 16)
_WINDOW = 5
_MOVED = 0.03
"""Difference of two views, as a fraction of the radius, from which on the view has moved."""


Circle = tuple[float, float, float]
"""Column and row of the centre, and radius."""


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


def find_field_of_view(image: Picture) -> FieldOfView | None:
    """Finds the field of view of one frame.

    Args:
        image: ``[H, W, 3]`` uint8 RGB, or NV12.

    Returns:
        The circle in frame pixels; ``None`` if the image fills the frame.
    """
    step = max(1, image.shape[0] // GRID_ROWS)
    grid = _grid(image, step)
    outside = _surroundings(grid)
    if outside is None:
        return None
    lit = _largest(~outside)
    points = _edge_points(lit)
    circle = _fit_circle(points) if len(points) >= _MIN_POINTS else None
    if circle is None or not _is_view(circle, lit):
        return None
    x, y, radius = circle
    # The edge lies a quarter of a grid pixel beyond the centre of the last lit one (measured).
    return FieldOfView(x=(x + 0.5) * step, y=(y + 0.5) * step, radius=(radius + 0.25) * step)


class FieldOfViewTracker:
    """The field of view of a stream: measured every 8 frames, median of the last five.

    A view that moves or zooms is taken over as soon as two measurements agree on it. A view that is
    lost for a moment is kept: it ends when most of the last five measurements find none.
    """

    def __init__(self) -> None:
        self._frames = 0
        self._measured: deque[FieldOfView | None] = deque(maxlen=_WINDOW)
        self._size: tuple[int, ...] | None = None

    def update(self, image: Picture) -> FieldOfView | None:
        """Takes the next frame; gives the field of view, ``None`` if the image fills the frame.

        Args:
            image: ``[H, W, 3]`` uint8 RGB, or NV12.
        """
        if image.shape != self._size:
            # Circles are in pixels of their frames.
            self._measured.clear()
            self._size = image.shape
        is_due = self._frames % _PERIOD_FRAMES == 0 or len(self._measured) < _WINDOW
        self._frames += 1
        # A dark frame says nothing: the light is off, or the endoscope is outside of the body.
        if is_due and sampled(image, _EVERY_16, _EVERY_16).max(initial=0) > MAX_DARK_LEVEL:
            self._measured.append(find_field_of_view(image))
            self._forget_moved()
        views = [view for view in self._measured if view is not None]
        if 2 * len(views) <= len(self._measured):
            return None
        return FieldOfView(
            x=statistics.median(view.x for view in views),
            y=statistics.median(view.y for view in views),
            radius=statistics.median(view.radius for view in views),
        )

    def _forget_moved(self) -> None:
        """Keeps only the last two measurements if they agree and all earlier ones differ."""
        views = [view for view in self._measured if view is not None]
        if len(views) < 3 or self._measured[-1] is None or self._measured[-2] is None:
            return
        *earlier, before, last = views
        if _agree(before, last) and not any(_agree(view, last) for view in earlier):
            self._measured.clear()
            self._measured.extend([before, last])


def _agree(a: FieldOfView, b: FieldOfView) -> bool:
    limit = _MOVED * min(a.radius, b.radius)
    return max(abs(a.x - b.x), abs(a.y - b.y), abs(a.radius - b.radius)) <= limit


def _grid(image: Picture, step: int) -> NDArray[np.uint8]:
    """``[h, w, 3]`` a sample for each square of ``step`` pixels: the mean of four where it can."""
    half = step // 2
    if half:
        h, w = image.shape[0] // step, image.shape[1] // step
        every = slice(half // 2, None, half)
        points = np.ascontiguousarray(sampled(image, every, every)[: 2 * h, : 2 * w])
        if points.shape[:2] == (2 * h, 2 * w) and half * 2 == step:
            mean = cv2.resize(points, (w, h), interpolation=cv2.INTER_AREA)
            return cast("NDArray[np.uint8]", mean)
    every = slice(step // 2, None, step)
    return np.ascontiguousarray(sampled(image, every, every))


def _median(values: NDArray[Any]) -> NDArray[np.float64]:
    """Along the first axis. The first call of `np.median` would import all of `numpy.ma`."""
    ordered = np.sort(values, axis=0).astype(np.float64)
    return np.asarray((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)


def _surroundings(grid: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """What is like a flat corner without colour, and joined with a corner of the frame."""
    block = max(2, grid.shape[0] // 16)
    corners = (
        grid[:block, :block],
        grid[:block, -block:],
        grid[-block:, :block],
        grid[-block:, -block:],
    )
    levels = []
    for corner in corners:
        level = _median(corner.reshape(-1, 3))
        spread = float(_median(np.abs(corner - level).ravel()))
        if level.max() - level.min() <= 12 and spread <= 8:
            levels.append((float(level.max()), spread, level))
    if len(levels) < 2:
        return None
    _, spread, level = min(levels, key=lambda one: one[0])
    limit = max(10.0, 5 * spread)
    # 255 where all three channels are within the limit. Noise leaves single pixels on both sides.
    alike = cv2.medianBlur(cv2.inRange(grid, level - limit, level + limit), 3)
    count, labels = cv2.connectedComponents(alike, connectivity=4, ltype=cv2.CV_32S)
    at_border = np.zeros(count, np.bool_)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        at_border[edge] = True
    at_border[0] = False
    outside: NDArray[np.bool_] = at_border[labels]
    return outside


def _largest(lit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest part of the lit area, without text that touches it."""
    opened = cv2.morphologyEx(lit.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return np.zeros_like(lit)
    largest: NDArray[np.bool_] = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return largest


def _edge_points(lit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """``[N, 2]`` points of the lit area's edge on its convex hull, without those at the frame.

    Dark instruments and tissue cut notches into the edge; these do not reach the hull.
    """
    h, w = lit.shape
    if np.count_nonzero(lit) < _MIN_POINTS:
        return np.zeros((0, 2))
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    flipped_rows, flipped_columns = lit[rows, ::-1], lit[::-1, columns]
    sides = (
        (lit[rows].argmax(axis=1), rows),
        (w - 1 - flipped_rows.argmax(axis=1), rows),
        (columns, lit[:, columns].argmax(axis=0)),
        (columns, h - 1 - flipped_columns.argmax(axis=0)),
    )
    points = np.concatenate([np.stack(side, axis=1) for side in sides])
    hull = cv2.convexHull(points.astype(np.int32))
    canvas = np.zeros((h, w), np.uint8)
    cv2.polylines(canvas, [hull], True, 1, 3)
    x, y = points[:, 0], points[:, 1]
    inside = (x > 1) & (x < w - 2) & (y > 1) & (y < h - 2)
    chosen = inside & (canvas[y, x] > 0)
    edge: NDArray[np.float64] = points[chosen].astype(np.float64)
    return edge


def _fit_circle(points: NDArray[np.float64]) -> Circle | None:
    """The circle that passes most points; of an octagon the one that fits all of them best."""
    consensus = _consensus(points)
    if consensus is not None and consensus.share >= 0.6:
        return consensus.circle
    whole = _least_squares(points, points, limits=(0.2, 0.1, 0.05))
    if whole is not None and whole.share >= 0.85:
        return whole.circle
    return consensus.circle if consensus is not None and consensus.share >= 0.35 else None


@dataclass(frozen=True)
class _Fit:
    """A circle, and the share of the points that lie on it."""

    circle: Circle
    share: float


def _consensus(points: NDArray[np.float64]) -> _Fit | None:
    """The best of many circles through three points, fitted again to the points on it.

    Dark tissue at the edge gives many points that lie on no circle. The triples are always the same
    ones, so that one image always gives one result.
    """
    chosen = np.random.default_rng(0).integers(0, len(points), (_TRIPLES, 3))
    a, b, c = (points[chosen[:, i]] for i in range(3))
    ab, ac = b - a, c - a
    cross = 2 * (ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0])
    good = np.abs(cross) > 1
    ab, ac, a, cross = ab[good], ac[good], a[good], cross[good]
    if not len(a):
        return None
    bb, cc = (ab * ab).sum(axis=1), (ac * ac).sum(axis=1)
    x = (ac[:, 1] * bb - ab[:, 1] * cc) / cross
    y = (ab[:, 0] * cc - ac[:, 0] * bb) / cross
    radius = np.hypot(x, y)
    distance = np.hypot(
        points[:, 0] - (a[:, 0] + x)[:, None], points[:, 1] - (a[:, 1] + y)[:, None]
    )
    near = np.abs(distance - radius[:, None]) < _ON_CIRCLE
    best = near[int(near.sum(axis=1).argmax())]
    return _least_squares(points, points[best], limits=(0.0, 0.0))


def _least_squares(
    points: NDArray[np.float64], inliers: NDArray[np.float64], *, limits: Sequence[float]
) -> _Fit | None:
    """Fits to inliers; each fit takes the points within a limit of the fit before.

    Args:
        points: ``[N, 2]`` all points.
        inliers: Those of the first fit.
        limits: Of the distance from the circle, as fractions of the radius.
    """
    x = y = radius = 0.0
    for limit in limits:
        if len(inliers) < _MIN_POINTS:
            return None
        a = np.column_stack([2 * inliers, np.ones(len(inliers))])
        try:
            solution = np.linalg.solve(a.T @ a, a.T @ (inliers**2).sum(axis=1))
        except np.linalg.LinAlgError:  # All points on one line.
            return None
        x, y = float(solution[0]), float(solution[1])
        square = float(solution[2]) + x * x + y * y
        if square <= 0:
            return None
        radius = square**0.5
        distance = np.abs(np.hypot(points[:, 0] - x, points[:, 1] - y) - radius)
        inliers = points[distance < max(_ON_CIRCLE, limit * radius)]
    angle = np.arctan2(inliers[:, 1] - y, inliers[:, 0] - x)
    seen = len(np.unique((angle * (_SECTORS / (2 * np.pi))).astype(np.int64)))
    return _Fit((x, y, radius), len(inliers) / len(points)) if seen >= _MIN_SECTORS else None


def _is_view(circle: Circle, lit: NDArray[np.bool_]) -> bool:
    """Whether the circle is lit inside, dark outside, and leaves a part of the frame outside."""
    h, w = lit.shape
    x, y, radius = circle
    if not 0.2 * h < radius < 1.0 * w or not 0 < x < w or not 0 < y < h:
        return False
    dx, dy = np.arange(w) - x, np.arange(h) - y
    inside = (dx * dx)[None, :] + (dy * dy)[:, None] <= radius * radius
    outside = ~inside
    if outside.mean() < 0.02:
        return False
    return bool(lit[inside].mean() > 0.6 and lit[outside].mean() < 0.15)
