"""Where an instrument ends: one tip, or two when its jaws stand open.

    tips = find_tips(pixels, keep, entry, area=1200.0)

See ``docs/location.md``: circles round the entry cut the far end off; where it falls into two
pieces, the jaws are open. Where it does not, the tip is what a walk from there reaches last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import Point
from trocar.runtime.locate.geodesic import far_end
from trocar.runtime.locate.region import Runs, Shape, components, runs_of

CUTS = 8
"""How many circles are tried."""

MIN_PIECE = 4
"""Pixels of the smallest piece that may be a jaw."""

FILL = 8 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | 1 << 8
"""Eight neighbours, by the seed's value, into the mask alone."""


@dataclass(frozen=True)
class Zone:
    """The far end of a region: pixels within reach of the farthest one, in raster order.

    Attributes:
        y: int64 rows in the label map.
        x: int64 columns.
        square: float64 squared distances from the start, in frame pixels.
        shape: ``(h, w)`` of a picture that holds them.
        at: Where in that picture, flat, they are.
    """

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    square: NDArray[np.float64]
    shape: tuple[int, int]
    at: NDArray[np.int64]


def find_tips(
    shape: Shape, keep: NDArray[np.bool_], start: Point, *, area: float
) -> tuple[Point, ...]:
    """Finds the far ends of a region.

    Args:
        shape: The region.
        keep: ``[h, w]`` which pixels of it may be tips.
        start: Where the region begins, in frame pixels.
        area: Of the region, in square frame pixels.

    Returns:
        No, one or two points in frame pixels, ordered by y, then x.
    """
    runs = shape.runs if keep is shape.mask else runs_of(keep)
    if not len(runs.y):
        return ()
    dx, dy = shape.columns() - start[0], shape.rows() - start[1]
    xx, yy = dx * dx, dy * dy
    # The farthest pixel of a run is its first or its last.
    reach = np.maximum(xx[runs.begin], xx[runs.end - 1]) + yy[runs.y]
    far = math.sqrt(float(reach.max()))
    unit = max(shape.scale)
    if far <= 2 * unit:
        return ()
    width = area / far
    depth = min(4 * width, 0.5 * far)
    least = max(2 * unit, 0.3 * width)
    floor = (far - depth) * (far - depth)
    zone = _zone(shape, runs.take(reach >= floor), xx, yy, floor)
    jaws = _open_jaws(zone, far=far, depth=depth, least=least)
    if jaws:
        cap, s = max(2 * unit, 0.15 * width), zone.square
        ends = [j[s[j] >= _square(math.sqrt(float(s[j].max())) - cap)] for j in jaws]
    else:
        ends = [_walked(zone, far=far, reach=min(2 * width, 0.5 * far), unit=unit)]
    points = [_mean(zone.y[end], zone.x[end], shape.scale) for end in ends]
    return tuple(sorted(points, key=lambda p: (p[1], p[0])))


def _zone(
    shape: Shape, runs: Runs, xx: NDArray[np.float64], yy: NDArray[np.float64], floor: float
) -> Zone:
    y, x = runs.pixels()
    square = xx[x] + yy[y]
    outer = square >= floor
    y, x = y[outer], x[outer]
    top, left = int(y[0]), int(x.min())
    size = int(y[-1]) - top + 1, int(x.max()) - left + 1
    at = (y - top) * size[1] + (x - left)
    return Zone(y + shape.top, x + shape.left, square[outer], size, at)


def _walked(zone: Zone, *, far: float, reach: float, unit: float) -> NDArray[np.int64]:
    """Indices of the end that is reached last, walking from the near side of the far end."""
    part = np.flatnonzero(zone.square >= (far - reach) * (far - reach))
    square = zone.square[part]
    near = math.sqrt(float(square.min())) + 2 * unit
    end = far_end(zone.y[part], zone.x[part], square < near * near)
    chosen: NDArray[np.int64] = part[end]
    return chosen


def _open_jaws(zone: Zone, *, far: float, depth: float, least: float) -> list[NDArray[np.int64]]:
    """Indices of the two jaws, at the circle where the shorter one is longest; else nothing."""
    cuts = np.array([far - depth * k / CUTS for k in range(1, CUTS + 1)])
    # In how many circles' outsides each pixel is: the k-th circle's are those with 9 - k and more.
    depths = (zone.square >= (cuts * cuts)[:, None]).sum(axis=0, dtype=np.uint8)
    canvas = np.zeros(zone.shape, np.uint8)
    canvas.ravel()[zone.at] = depths
    filled = np.empty((canvas.shape[0] + 2, canvas.shape[1] + 2), np.uint8)
    at = int(zone.at[zone.square.argmax()])
    seed = (at % canvas.shape[1], at // canvas.shape[1])
    best: list[NDArray[np.int64]] = []
    longest = 0.0
    # From the last to the first, because no jaw can be longer than its circle's distance from the
    # farthest pixel: what is found at the later ones rules the earlier ones out.
    for k in range(CUTS, 0, -1):
        cut, outside = float(cuts[k - 1]), CUTS + 1 - k
        if longest > far - cut:
            break
        filled.fill(0)
        main = cv2.floodFill(canvas, filled, seed, 0, CUTS - outside, 0, FILL)[0]
        if np.count_nonzero(depths >= outside) - main < MIN_PIECE:
            continue
        count, numbers = components(canvas >= outside)
        number = numbers.ravel()[zone.at]
        pieces = []
        for i in range(1, count):
            members = np.flatnonzero(number == i)
            if len(members) >= MIN_PIECE:
                length = math.sqrt(float(zone.square[members].max())) - cut
                pieces.append((-length, int(members[0]), members))
        pieces.sort(key=lambda piece: piece[:2])
        # Of equal ones, the one at the earliest circle.
        if len(pieces) >= 2 and -pieces[1][0] >= least and -pieces[1][0] >= longest:
            longest = -pieces[1][0]
            best = [pieces[0][2], pieces[1][2]]
    return best


def _square(value: float) -> float:
    return value * value


def _mean(y: NDArray[np.int64], x: NDArray[np.int64], scale: Point) -> Point:
    n = len(x)
    return (int(x.sum()) / n + 0.5) * scale[0], (int(y.sum()) / n + 0.5) * scale[1]
