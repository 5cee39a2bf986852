"""One picture as labels see it: what they ask for, what is taken, what a place costs.

scene = Scene(wishes, (1080, 1920), blocked=[], labels=None)
corner = scene.best(0)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Rectangle = tuple[int, int, int, int]
"""``(x0, y0, x1, y1)`` in pixels, half open."""

_GRID_CELLS = 900
"""Places that are tried when no place at the instrument is free."""

_COVERAGE_WIDTH = 96
"""Width of the small mask by which covered instruments are counted."""


@dataclass(frozen=True, kw_only=True)
class LabelWish:
    """A label that is to be placed.

    Attributes:
        size: ``(width, height)`` of the label in pixels.
        box: ``(x0, y0, x1, y1)`` of its instrument.
        area: Area of its instrument; large ones get a label first.
        centre: Where a leader line ends.
        spine: Points along the instrument's axis; the label stands beside them. Empty: it stands
            at the box.
        half_width: Half of the instrument's width, across the axis, in pixels.
        tips: Points that labels should not cover.
        key: The same over time; ``None`` if the instrument has no identity.
    """

    size: tuple[int, int]
    box: tuple[float, float, float, float]
    area: float
    centre: tuple[float, float]
    spine: tuple[tuple[float, float], ...] = ()
    half_width: float = 0.0
    tips: tuple[tuple[float, float], ...] = ()
    key: int | None = None


class Scene:
    """What one picture offers: taken rectangles, instruments and the cost of a place."""

    def __init__(
        self,
        wishes: Sequence[LabelWish],
        size: tuple[int, int],
        blocked: Sequence[Rectangle],
        labels: NDArray[np.uint8] | None,
    ) -> None:
        self.wishes = wishes
        self._size = size
        self._taken: list[Rectangle] = list(blocked)
        self._diagonal = float(np.hypot(*size))
        self._labels = labels

    @functools.cached_property
    def _sum(self) -> NDArray[np.float64] | None:
        return None if self._labels is None else _coverage_sum(self._labels)

    @functools.cached_property
    def _tips(self) -> NDArray[np.float64]:
        tips = [tip for wish in self.wishes for tip in wish.tips]
        return np.array(tips, np.float64).reshape(-1, 2)

    def take(self, number: int, corner: tuple[int, int]) -> None:
        """Notes that a label stands at a corner."""
        self._taken.append(rectangle_at(corner, self.wishes[number].size))

    def release(self, number: int, corner: tuple[int, int]) -> None:
        """Takes that back."""
        self._taken.remove(rectangle_at(corner, self.wishes[number].size))

    def inside(self, corner: tuple[int, int], size: tuple[int, int]) -> tuple[int, int] | None:
        """The corner, moved into the picture; ``None`` if the label is larger than that."""
        x, y = self._size[1] - size[0], self._size[0] - size[1]
        if x < 0 or y < 0:
            return None
        return min(x, max(0, corner[0])), min(y, max(0, corner[1]))

    def free(self, corner: tuple[int, int], size: tuple[int, int]) -> bool:
        """Whether a label of this size touches nothing that is taken."""
        x0, y0, x1, y1 = rectangle_at(corner, size)
        return not any(x0 < t[2] and x1 > t[0] and y0 < t[3] and y1 > t[1] for t in self._taken)

    def best(self, number: int) -> tuple[int, int] | None:
        """The free place of the least cost, at the instrument or else anywhere."""
        wish = self.wishes[number]
        for places in (_places_at, self._grid):
            corners = self._corners(places(wish), wish.size)
            corners = corners[self._free(corners, wish.size)]
            if len(corners):
                x, y = corners[int(np.argmin(self._costs(wish, corners)))]
                return int(x), int(y)
        return None

    def gain(self, number: int, corner: tuple[int, int]) -> float:
        """By how much the best free place at the instrument costs less than a corner."""
        wish = self.wishes[number]
        corners = self._corners(_places_at(wish), wish.size)
        corners = np.concatenate([[corner], corners[self._free(corners, wish.size)]])
        costs = self._costs(wish, corners)
        return float(costs[0] - costs.min())

    def _corners(self, places: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.int64]:
        """Places as whole pixels, moved into the picture; none if the label is larger."""
        room = np.array([self._size[1] - size[0], self._size[0] - size[1]])
        if room.min() < 0:
            return np.zeros((0, 2), np.int64)
        return np.clip(np.rint(places), 0, room).astype(np.int64)

    def away(self, number: int, corner: tuple[int, int]) -> bool:
        """Whether a label is farther from its instrument than its own height."""
        wish = self.wishes[number]
        near = wish.size[1]
        if len(wish.spine) > 1:
            gap = _distances(np.array([rectangle_at(corner, wish.size)]), wish)[0]
            return bool(gap > near)
        x, y, (width, height), box = *corner, wish.size, wish.box
        dx = max(box[0] - x - width, x - box[2], 0.0)
        dy = max(box[1] - y - height, y - box[3], 0.0)
        return dx * dx + dy * dy > near * near

    def _grid(self, wish: LabelWish) -> NDArray[np.float64]:
        (height, width), size = self._size, wish.size
        step = max(2.0, (height * width / _GRID_CELLS) ** 0.5)
        xs = np.append(np.arange(0, width - size[0], step), width - size[0])
        ys = np.append(np.arange(0, height - size[1], step), height - size[1])
        return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2).astype(np.float64)

    def _free(self, corners: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.bool_]:
        if not self._taken:
            return np.ones(len(corners), bool)
        taken = np.array(self._taken)
        x, y = corners[:, :1], corners[:, 1:]
        hit = (x < taken[:, 2]) & (x + size[0] > taken[:, 0])
        hit &= (y < taken[:, 3]) & (y + size[1] > taken[:, 1])
        return np.asarray(~hit.any(axis=1), bool)

    def _costs(self, wish: LabelWish, corners: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distance from the instrument, plus what is covered: a tip costs 2, an instrument 1."""
        width, height = wish.size
        rectangles = np.concatenate([corners, corners + np.array([width, height])], axis=1)
        cost = _distances(rectangles, wish) / (4 * height)
        middle = corners + np.array([width, height]) / 2
        cost = cost + np.hypot(*(middle - wish.centre).T) / self._diagonal
        if self._sum is not None:
            cost = cost + _covered(self._sum, rectangles, self._size)
        if len(self._tips):
            tips = self._tips[None]
            beyond = tips >= rectangles[:, None, :2] - height / 3
            before = tips < rectangles[:, None, 2:] + height / 3
            cost = cost + 2.0 * np.any(np.all(beyond & before, axis=2), axis=1)
        return np.asarray(cost, np.float64)


def _places_at(wish: LabelWish) -> NDArray[np.float64]:
    """Corners at which a label touches its instrument's box or stands beside its axis."""
    x0, y0, x1, y1 = wish.box
    width, height = wish.size
    if len(wish.spine) > 1:
        points = np.array(wish.spine)
        dx, dy = points[-1] - points[0]
        normal = np.array([-dy, dx]) / max(1e-9, float(np.hypot(dx, dy)))
        reach = wish.half_width + height / 3 + abs(normal) @ np.array([width, height]) / 2
        beside = [points + reach * normal, points - reach * normal]
        return np.asarray(np.concatenate(beside) - np.array([width, height]) / 2, np.float64)
    columns = (x0, x1 - width, (x0 + x1 - width) / 2)
    rows = (y0, (y0 + y1 - height) / 2, y1 - height)
    outside = [(x, y) for y in (y0 - height, y1) for x in columns]
    outside += [(x, y) for x in (x1, x0 - width) for y in rows]
    corners = [(x, y) for x in columns[:2] for y in (y0, y1 - height)]
    return np.array(outside + corners)


def _distances(rectangles: NDArray[np.int64], wish: LabelWish) -> NDArray[np.float64]:
    """Distance of rectangles ``[n, 4]`` from an instrument: its axis, or its box."""
    if len(wish.spine) <= 1:
        return _gaps(rectangles, wish.box)
    gaps = [_gaps(rectangles, (x, y, x, y)) for x, y in wish.spine]
    return np.asarray(np.maximum(0.0, np.min(gaps, axis=0) - wish.half_width), np.float64)


def _gaps(
    rectangles: NDArray[np.int64], box: tuple[float, float, float, float]
) -> NDArray[np.float64]:
    """Distance of rectangles ``[n, 4]`` from a box; 0 where they touch or overlap."""
    dx = np.maximum(np.maximum(box[0] - rectangles[:, 2], rectangles[:, 0] - box[2]), 0)
    dy = np.maximum(np.maximum(box[1] - rectangles[:, 3], rectangles[:, 1] - box[3]), 0)
    return cast("NDArray[np.float64]", np.hypot(dx, dy))


def _coverage_sum(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Integral image of a small mask of everything that is not background."""
    width = min(_COVERAGE_WIDTH, labels.shape[1])
    height = max(1, round(labels.shape[0] * width / labels.shape[1]))
    small = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.integral((small > 0).astype(np.uint8)), np.float64)


def _covered(
    total: NDArray[np.float64], rectangles: NDArray[np.int64], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Share, 0..1, of rectangles ``[n, 4]`` that lies on instruments."""
    rows, columns = total.shape[0] - 1, total.shape[1] - 1
    x0 = np.floor(rectangles[:, 0] * columns / size[1]).astype(int)
    y0 = np.floor(rectangles[:, 1] * rows / size[0]).astype(int)
    x1 = np.clip(np.ceil(rectangles[:, 2] * columns / size[1]).astype(int), x0 + 1, columns)
    y1 = np.clip(np.ceil(rectangles[:, 3] * rows / size[0]).astype(int), y0 + 1, rows)
    held = total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]
    return cast("NDArray[np.float64]", held / ((x1 - x0) * (y1 - y0)))


def rectangle_at(corner: tuple[int, int], size: tuple[int, int]) -> Rectangle:
    """The rectangle of a label of ``(width, height)`` at a corner."""
    return corner[0], corner[1], corner[0] + size[0], corner[1] + size[1]
