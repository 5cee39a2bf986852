"""Which instrument belongs to which track: a cost for each pair, and the assignment.

    costs = cost_matrix(shapes_of(instruments), tracks, lost_s=lost_s, diagonal=734.0)
    pairs = assign(costs)       # [(instrument, track), ...]

An instrument is described by its box, by the line from its outer end to its far end, and by the
point where it enters the view. All costs come from one set of array operations. A point is a
complex number ``x + iy``: then the distance of two points is the absolute value of one difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import Instrument
from trocar.runtime.temporal.assignment import linear_sum_assignment

MAX_COST = 1.0
"""Matching cost above which an instrument is not assigned to a track."""

GOOD_COST = 0.4
"""Matching cost up to which there is no doubt."""

_OVERLAP_WEIGHT = 0.35
_DISTANCE_WEIGHT = 0.45
_ENTRY_WEIGHT = 0.6
_UNKNOWN_ENTRY_WEIGHT = 0.3
_ONLY_ONE_ENTERS = 0.25
_CLASS_PENALTY = 0.45
_AREA_WEIGHT = 0.3
_LOST_WEIGHT = 0.2

CENTRE, FAR, NEAR, ENTRY = range(4)
"""Rows of `Shapes.points`."""

Floats = NDArray[np.float64]
Points = NDArray[np.complex128]
Index = NDArray[np.int64] | NDArray[np.bool_]


@dataclass
class Shapes:
    """N instruments as arrays, in frame pixels; also what is expected of N tracks.

    Attributes:
        points: ``[4, N]`` complex ``x + iy``: centre of the box; far end, the mean of the tips
            where there are any; near end, the entry where there is one; entry, or NaN.
        sizes: ``[5, N]`` width and height of the box, its diagonal; width and area of the mask.
        class_id: ``[N]`` row of the class table.
    """

    points: Points
    sizes: Floats
    class_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.class_id)

    def at(self, index: Index) -> Shapes:
        """A copy of some of the instruments."""
        return Shapes(self.points[:, index], self.sizes[:, index], self.class_id[index])

    def joined(self, others: Shapes) -> Shapes:
        """These instruments and then the others."""
        return Shapes(
            np.concatenate([self.points, others.points], axis=1),
            np.concatenate([self.sizes, others.sizes], axis=1),
            np.concatenate([self.class_id, others.class_id]),
        )


def shapes_of(instruments: Sequence[Instrument]) -> Shapes:
    """The instruments as arrays."""
    rows = [_shape_of(one) for one in instruments]
    points = np.array([row[0] for row in rows], np.complex128).reshape(-1, 4)
    sizes = np.array([row[1] for row in rows], np.float64).reshape(-1, 5)
    class_id = np.array([one.class_id for one in instruments], np.int64)
    return Shapes(points.T.copy(), sizes.T.copy(), class_id)


def _shape_of(one: Instrument) -> tuple[tuple[complex, ...], tuple[float, ...]]:
    x0, y0, x1, y1 = one.box
    centre = complex((x0 + x1) / 2, (y0 + y1) / 2)
    w, h = max(1.0, x1 - x0), max(1.0, y1 - y0)
    dx, dy = one.axis
    # Half of the axis's part inside of the box.
    half = min(w / max(abs(dx), 1e-6), h / max(abs(dy), 1e-6)) / 2
    far = near = entry = complex("nan+nanj")
    if one.tips:
        far = sum(complex(*tip) for tip in one.tips) / len(one.tips)
    else:
        far = centre + half * complex(dx, dy)
    if one.entry is not None:
        near = entry = complex(*one.entry)
    else:
        near = centre - half * complex(dx, dy)
    width = one.area / max(1.0, 2 * half)
    return (centre, far, near, entry), (w, h, abs(complex(w, h)), width, max(1.0, one.area))


def cost_matrix(found: Shapes, tracks: Shapes, *, lost_s: Floats, diagonal: float) -> Floats:
    """Matching costs ``[N, M]``: 0 for an equal shape; a weighted sum of terms from 0 to 1.

    Args:
        found: The N instruments of a frame.
        tracks: What is expected of the M tracks.
        lost_s: ``[M]`` seconds since each track was seen. A longer time allows a longer way.
        diagonal: Of the frame, in pixels.
    """
    centre, far, near, entry = found.points[:, :, None]
    centre_, far_, near_, entry_ = tracks.points[:, None]
    length, width = np.maximum(found.sizes[2:4, :, None], tracks.sizes[2:4, None])
    patience = 1 + 2 * lost_s
    reach = (0.5 * length + 0.05 * diagonal) * patience
    entries = np.abs(entry - entry_)
    # A part of an instrument (the tip without the shaft, the shaft without the tip) lies on the
    # line of the whole, and shares one end with it; the centres of their boxes are far apart.
    aside = np.minimum(to_segment(centre, near_, far_), to_segment(centre_, near, far))
    aside /= (width + 0.03 * diagonal) * patience
    end = np.fmin(np.abs(far - far_) / reach, np.maximum(entries / reach, 0.5))
    distance = np.minimum(np.abs(centre - centre_) / reach, np.maximum(end, aside))
    distance = np.minimum(distance, 1.0)
    cost: Floats = _OVERLAP_WEIGHT * (1 - _overlap(found, tracks)) + _DISTANCE_WEIGHT * distance
    apart = np.minimum(entries / (0.15 * diagonal * patience), 1.0) * _ENTRY_WEIGHT
    # NaN where one of the two has no entry; of two parts, the one that enters is the instrument.
    only_one = np.isnan(entry) != np.isnan(entry_)
    unknown = _UNKNOWN_ENTRY_WEIGHT * distance + np.where(only_one, _ONLY_ONE_ENTERS, 0.0)
    cost += np.where(np.isnan(apart), unknown, apart)
    area, area_ = found.sizes[4, :, None], tracks.sizes[4]
    cost += _AREA_WEIGHT * (1 - np.minimum(area, area_) / np.maximum(area, area_))
    # Of two tracks, the one that was seen last goes on.
    cost += _LOST_WEIGHT * np.minimum(lost_s / 0.5, 1.0)
    cost[found.class_id[:, None] != tracks.class_id] += _CLASS_PENALTY
    return cost


def assign(costs: Floats) -> list[tuple[int, int]]:
    """Pairs ``(row, column)`` of the smallest total cost, each at most `MAX_COST`.

    Good pairs (`GOOD_COST`) are chosen first. Otherwise an instrument would lose its track to
    another one, only so that a speck gets a track as well.
    """
    nearest = costs.argmin(axis=1).tolist()
    if len(set(nearest)) == len(nearest) and (costs.min(axis=1) <= GOOD_COST).all():
        return list(enumerate(nearest))  # The usual case: nothing competes.
    free_rows, free_columns = (np.arange(n) for n in costs.shape)
    pairs: list[tuple[int, int]] = []
    for limit in (GOOD_COST, MAX_COST):
        rest = costs[np.ix_(free_rows, free_columns)]
        # A pair that is not allowed costs as much as none.
        chosen = np.array(linear_sum_assignment(np.minimum(rest, limit)))
        rows, columns = chosen[:, rest[tuple(chosen)] <= limit]
        pairs += zip(free_rows[rows].tolist(), free_columns[columns].tolist(), strict=True)
        free_rows, free_columns = np.delete(free_rows, rows), np.delete(free_columns, columns)
        if not len(free_rows) or not len(free_columns):
            break
    return pairs


def to_segment(point: Points, begin: Points, end: Points) -> Floats:
    """Distances of points to segments; the shapes broadcast."""
    along, offset = end - begin, point - begin
    share = (offset * along.conj()).real / np.maximum((along * along.conj()).real, 1e-9)
    distances: Floats = np.abs(offset - np.minimum(np.maximum(share, 0.0), 1.0) * along)
    return distances


def _overlap(found: Shapes, tracks: Shapes) -> Floats:
    """``[N, M]`` intersection over union of the boxes."""
    (w, h), (w_, h_) = found.sizes[:2, :, None], tracks.sizes[:2, None]
    gap = found.points[CENTRE][:, None] - tracks.points[CENTRE]
    wide = np.minimum(np.minimum(w, w_), (w + w_) / 2 - np.abs(gap.real))
    high = np.minimum(np.minimum(h, h_), (h + h_) / 2 - np.abs(gap.imag))
    intersection = np.maximum(wide, 0.0) * np.maximum(high, 0.0)
    overlap: Floats = intersection / (w * h + w_ * h_ - intersection)
    return overlap
