"""Measures of one region: principal axis, entry, start, direction, mean confidence.

    direction, variance_ratio = principal_axis(region)
    entry = find_entry(region, border_mask)

Sections 4, 5 and 7 of ``docs/location.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import Point
from trocar.runtime.locate.region import Moments, Region, connected_components


@dataclass(frozen=True)
class Entry:
    """The largest cluster of border pixels: its mean, and where it lies in the region's mask."""

    point: Point
    rows: slice
    columns: slice
    cluster: NDArray[np.bool_]


def mean_confidence(confidence: NDArray[Any] | None, region: Region) -> float:
    """Mean confidence of the region's pixels, 0..1; 1 without a confidence map (section 4).

    The sum is exact in any order: float16 values are multiples of 2^-24.
    """
    if confidence is None:
        return 1.0
    values = region.crop(confidence)[region.mask]
    if values.dtype == np.uint8:
        return int(values.sum(dtype=np.int64)) / (255 * len(values))
    return float(values.astype(np.float16, copy=False).sum(dtype=np.float64)) / len(values)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Principal axis of a set of pixels, in frame pixels.

    Attributes:
        direction: Unit vector of the larger variance, to the right, or down if it is vertical.
        variance_ratio: Smaller to larger variance, 0..1.
        larger: The larger variance.
        xx: Variance of the columns.
        yy: Variance of the rows.
        xy: Their covariance.
    """

    direction: Point
    variance_ratio: float
    larger: float
    xx: float
    yy: float
    xy: float


def axis_of(moments: Moments, scale: Point) -> Axis:
    """The principal axis of pixels (section 4); the origin of their coordinates does not matter."""
    (sx, sy), n = scale, moments.n
    square = float(n * n)
    # These differences are the same integers for every origin of the coordinates.
    xx = float(n * moments.xx - moments.x * moments.x) / square * sx * sx
    yy = float(n * moments.yy - moments.y * moments.y) / square * sy * sy
    xy = float(n * moments.xy - moments.x * moments.y) / square * sx * sy
    difference = xx - yy
    root = math.sqrt(difference * difference + 4 * xy * xy)
    larger = (xx + yy + root) / 2
    if root == 0:
        return Axis(direction=(1.0, 0.0), variance_ratio=1.0, larger=larger, xx=xx, yy=yy, xy=xy)
    cosine = difference / root
    dx = math.sqrt((1 + cosine) / 2)
    dy = math.sqrt((1 - cosine) / 2)
    return Axis(
        direction=(dx, -dy if xy < 0 else dy),
        variance_ratio=(xx + yy - root) / (xx + yy + root),
        larger=larger,
        xx=xx,
        yy=yy,
        xy=xy,
    )


def length_of(axis: Axis, scale: Point) -> float:
    """Length of a bar with this larger variance, in frame pixels (section 3a)."""
    return math.sqrt(12 * axis.larger) + max(scale)


def principal_axis(region: Region) -> tuple[Point, float]:
    """Unit vector of the larger variance, and the ratio of the variances (section 4).

    The vector points right, or down if it is vertical.

    >>> principal_axis(Region(np.ones((1, 5), np.bool_), 0, 0, (1.0, 1.0)))
    ((1.0, 0.0), 0.0)
    """
    axis = axis_of(region.moments, region.scale)
    return axis.direction, axis.variance_ratio


def find_entry(region: Region, border_mask: NDArray[np.bool_]) -> Entry | None:
    """The largest cluster of border pixels, the first of equal ones (section 5)."""
    left, top, width, height = cv2.boundingRect(border_mask.view(np.uint8))
    if not width:
        return None
    rows, columns = slice(top, top + height), slice(left, left + width)
    count, labels = connected_components(border_mask[rows, columns])
    cluster = labels == _largest_component(labels, count)
    ys, xs = np.nonzero(cluster)
    n = len(xs)
    x = int(xs.sum()) + n * (region.left + left)
    y = int(ys.sum()) + n * (region.top + top)
    point = ((x / n + 0.5) * region.scale[0], (y / n + 0.5) * region.scale[1])
    return Entry(point, rows, columns, cluster)


def _largest_component(labels: NDArray[Any], count: int) -> int:
    """Label of the component with most pixels; of equal ones the first in raster order.

    >>> _largest_component(np.array([[2, 0, 1]], np.uint16), 3)
    2
    """
    if count == 2:
        return 1
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=count)

    def largest_then_first(label: int) -> tuple[int, int]:
        return -int(sizes[label]), int((flat == label).argmax())

    return min(range(1, count), key=largest_then_first)


def outer_end(region: Region, axis: Point, centre: Point) -> Point:
    """The end of the axis that lies farther from the centre of the view (section 5)."""
    runs = region.run_lengths
    y, begin, end = runs.y, runs.begin, runs.end
    fx, fy = region.column_centres(), region.row_centres()
    # The axis points right: the smallest projection of a run is its first pixel, the largest its
    # last.
    lowest = int((fx[begin] * axis[0] + fy[y] * axis[1]).argmin())
    highest = int((fx[end - 1] * axis[0] + fy[y] * axis[1]).argmax())
    run = slice(begin[highest], end[highest])
    first = int(begin[highest]) + int((fx[run] * axis[0] + fy[y[highest]] * axis[1]).argmax())
    low_end = float(fx[begin[lowest]]), float(fy[y[lowest]])
    high_end = float(fx[first]), float(fy[y[highest]])
    is_high = _squared_distance(high_end, centre) > _squared_distance(low_end, centre)
    return high_end if is_high else low_end


def _squared_distance(a: Point, b: Point) -> float:
    dx, dy = a[0] - b[0], a[1] - b[1]
    return dx * dx + dy * dy


def towards_tips(axis: Point, start: Point, tips: tuple[Point, ...]) -> Point:
    """The axis, turned by 180 degrees if it points away from the tips (section 7).

    >>> towards_tips((1.0, 0.0), (10.0, 5.0), ((2.0, 5.0),))
    (-1.0, -0.0)
    """
    if not tips:
        return axis
    dx = sum(tip[0] for tip in tips) / len(tips) - start[0]
    dy = sum(tip[1] for tip in tips) / len(tips) - start[1]
    return (-axis[0], -axis[1]) if dx * axis[0] + dy * axis[1] < 0 else axis
