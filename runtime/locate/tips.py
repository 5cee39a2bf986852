"""The tips of an instrument: one, or two if its jaws are open.

    tips = find_tips(region, candidates, start, area=1200.0)

Circles around the start cut off the far end of the region. If a circle cuts it into two parts, the
jaws are open. Otherwise the tip is the geodesic farthest point. Section 6 of ``docs/location.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import Point
from trocar.runtime.locate.geodesic import farthest_pixels
from trocar.runtime.locate.region import (
    Region,
    RunLengths,
    connected_components,
    run_lengths_of,
)

NUM_CIRCLES = 8
"""Circles that are tried."""

MIN_JAW_PIXELS = 4
"""Pixels of the smallest part that may be a jaw."""

_FLOOD_FILL = 8 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | 1 << 8
"""Eight neighbours, compared with the seed's value, written into the mask only."""


@dataclass(frozen=True)
class FarEnd:
    """Candidates near the farthest one, in raster order; ``N`` pixels.

    Attributes:
        y: ``[N]`` int64 rows in the label map.
        x: ``[N]`` int64 columns in the label map.
        squared_distance: ``[N]`` float64 from the start, in square frame pixels.
        canvas_size: ``(h, w)`` of their bounding box.
        index: ``[N]`` flat index of each pixel in the bounding box.
    """

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    squared_distance: NDArray[np.float64]
    canvas_size: tuple[int, int]
    index: NDArray[np.int64]


def find_tips(
    region: Region, candidates: NDArray[np.bool_], start: Point, *, area: float
) -> tuple[Point, ...]:
    """Finds the tips of a region.

    Args:
        region: The region.
        candidates: ``[h, w]`` which pixels of the region's mask may be tips.
        start: Where the region begins, in frame pixels.
        area: Of the region, in square frame pixels.

    Returns:
        0, 1 or 2 points in frame pixels, ordered by y, then x.
    """
    runs = region.run_lengths if candidates is region.mask else run_lengths_of(candidates)
    if not len(runs.y):
        return ()
    dx, dy = region.column_centres() - start[0], region.row_centres() - start[1]
    xx, yy = dx * dx, dy * dy
    # The farthest pixel of a run is its first or its last.
    run_reach = np.maximum(xx[runs.begin], xx[runs.end - 1]) + yy[runs.y]
    far = math.sqrt(float(run_reach.max()))
    unit = max(region.scale)
    if far <= 2 * unit:
        return ()
    width = area / far
    depth = min(4 * width, 0.5 * far)
    min_jaw = max(2 * unit, 0.3 * width)
    min_square = (far - depth) * (far - depth)
    far_end = _far_end(region, runs.select(run_reach >= min_square), xx, yy, min_square)
    jaws = _open_jaws(far_end, far=far, depth=depth, min_jaw=min_jaw)
    if jaws:
        cap, s = max(2 * unit, 0.15 * width), far_end.squared_distance
        ends = [j[s[j] >= _square(math.sqrt(float(s[j].max())) - cap)] for j in jaws]
    else:
        reach = min(2 * width, 0.5 * far)
        ends = [_geodesic_end(far_end, far=far, reach=reach, unit=unit)]
    tips = [_mean_point(far_end.y[end], far_end.x[end], region.scale) for end in ends]
    return tuple(sorted(tips, key=_by_row))


def _far_end(
    region: Region,
    runs: RunLengths,
    xx: NDArray[np.float64],
    yy: NDArray[np.float64],
    min_square: float,
) -> FarEnd:
    """The pixels of the runs whose squared distance ``xx + yy`` is at least ``min_square``."""
    y, x = runs.coordinates()
    squared_distance = xx[x] + yy[y]
    is_far = squared_distance >= min_square
    y, x = y[is_far], x[is_far]
    top, left = int(y[0]), int(x.min())
    size = int(y[-1]) - top + 1, int(x.max()) - left + 1
    index = (y - top) * size[1] + (x - left)
    return FarEnd(y + region.top, x + region.left, squared_distance[is_far], size, index)


def _geodesic_end(far_end: FarEnd, *, far: float, reach: float, unit: float) -> NDArray[np.int64]:
    """Indices of the geodesic farthest pixels, searched from the near side of the far end."""
    zone = np.flatnonzero(far_end.squared_distance >= (far - reach) * (far - reach))
    square = far_end.squared_distance[zone]
    near = math.sqrt(float(square.min())) + 2 * unit
    is_end = farthest_pixels(far_end.y[zone], far_end.x[zone], square < near * near)
    end: NDArray[np.int64] = zone[is_end]
    return end


def _open_jaws(
    far_end: FarEnd, *, far: float, depth: float, min_jaw: float
) -> list[NDArray[np.int64]]:
    """Indices of the two jaws at the circle where the shorter jaw is longest; empty if closed."""
    cuts = np.array([far - depth * k / NUM_CIRCLES for k in range(1, NUM_CIRCLES + 1)])
    # Number of circles that a pixel lies outside of. Outside circle k: those with 9 - k or more.
    outside_count = (far_end.squared_distance >= (cuts * cuts)[:, None]).sum(axis=0, dtype=np.uint8)
    canvas = np.zeros(far_end.canvas_size, np.uint8)
    canvas.ravel()[far_end.index] = outside_count
    fill_mask = np.empty((canvas.shape[0] + 2, canvas.shape[1] + 2), np.uint8)
    farthest = int(far_end.index[far_end.squared_distance.argmax()])
    seed = (farthest % canvas.shape[1], farthest // canvas.shape[1])
    best: list[NDArray[np.int64]] = []
    longest = 0.0
    # From the last circle to the first: no jaw is longer than its circle's distance from the
    # farthest pixel, so a long jaw at a late circle makes the earlier circles unnecessary.
    for k in range(NUM_CIRCLES, 0, -1):
        cut, min_count = float(cuts[k - 1]), NUM_CIRCLES + 1 - k
        if longest > far - cut:
            break
        fill_mask.fill(0)
        upper = NUM_CIRCLES - min_count
        main_part = cv2.floodFill(canvas, fill_mask, seed, 0, upper, 0, _FLOOD_FILL)[0]
        if np.count_nonzero(outside_count >= min_count) - main_part < MIN_JAW_PIXELS:
            continue
        parts = _parts_outside(far_end, canvas >= min_count, cut)
        # Of equal ones, the one at the smallest k.
        if len(parts) >= 2 and parts[1].length >= min_jaw and parts[1].length >= longest:
            longest = parts[1].length
            best = [parts[0].members, parts[1].members]
    return best


@dataclass(frozen=True)
class _Part:
    """A connected part outside a circle: its length in frame pixels, and indices of its pixels."""

    length: float
    members: NDArray[np.int64]


def _parts_outside(far_end: FarEnd, is_outside: NDArray[np.bool_], cut: float) -> list[_Part]:
    """Connected parts outside the circle of radius ``cut``, longest first, then by first pixel."""
    count, labels = connected_components(is_outside)
    label_of = labels.ravel()[far_end.index]
    parts = []
    for label in range(1, count):
        members = np.flatnonzero(label_of == label)
        if len(members) >= MIN_JAW_PIXELS:
            length = math.sqrt(float(far_end.squared_distance[members].max())) - cut
            parts.append(_Part(length, members))
    return sorted(parts, key=_longest_first)


def _longest_first(part: _Part) -> tuple[float, int]:
    return -part.length, int(part.members[0])


def _by_row(point: Point) -> Point:
    return point[1], point[0]


def _square(value: float) -> float:
    return value * value


def _mean_point(y: NDArray[np.int64], x: NDArray[np.int64], scale: Point) -> Point:
    n = len(x)
    return (int(x.sum()) / n + 0.5) * scale[0], (int(y.sum()) / n + 0.5) * scale[1]
