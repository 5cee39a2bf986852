"""Where an instrument ends: one tip, or two when its jaws stand open.

    tips = find_tips(pixels, keep, entry, area=1200.0)

See ``docs/location.md``: circles round the entry cut the far end off; where it falls into two
pieces, the jaws are open. Where it does not, the tip is what a walk from there reaches last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import Point
from trocar.runtime.walking import far_end

CUTS = 8
"""How many circles are tried."""

MIN_PIECE = 4
"""Pixels of the smallest piece that may be a jaw."""


@dataclass(frozen=True)
class Pixels:
    """Pixels of one region, in raster order.

    Attributes:
        y: int64 rows in the label map.
        x: int64 columns.
        scale: ``(sx, sy)`` frame pixels per label pixel.
        fx: float64 ``(x + 0.5) * sx``.
        fy: float64 ``(y + 0.5) * sy``.
    """

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    scale: Point
    fx: NDArray[np.float64] = field(init=False)
    fy: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fx", (self.x + 0.5) * self.scale[0])
        object.__setattr__(self, "fy", (self.y + 0.5) * self.scale[1])


def find_tips(
    pixels: Pixels, keep: NDArray[np.bool_], start: Point, *, area: float
) -> tuple[Point, ...]:
    """Finds the far ends of a region.

    Args:
        pixels: The region.
        keep: Which of them may be tips.
        start: Where the region begins, in frame pixels.
        area: Of the region, in square frame pixels.

    Returns:
        No, one or two points in frame pixels, ordered by y, then x.
    """
    if not keep.any():
        return ()
    y, x = pixels.y[keep], pixels.x[keep]
    dx, dy = pixels.fx[keep] - start[0], pixels.fy[keep] - start[1]
    square = dx * dx + dy * dy
    far = math.sqrt(float(square.max()))
    unit = max(pixels.scale)
    if far <= 2 * unit:
        return ()
    width = area / far
    depth = min(4 * width, 0.5 * far)
    least = max(2 * unit, 0.3 * width)
    outer = square >= (far - depth) * (far - depth)
    y, x, square = y[outer], x[outer], square[outer]
    jaws = _open_jaws(y, x, square, far=far, depth=depth, least=least)
    if jaws:
        cap = max(2 * unit, 0.15 * width)
        ends = [j[square[j] >= _square(math.sqrt(float(square[j].max())) - cap)] for j in jaws]
    else:
        ends = [_walked(y, x, square, far=far, reach=min(2 * width, 0.5 * far), unit=unit)]
    points = [_mean(y[end], x[end], pixels.scale) for end in ends]
    return tuple(sorted(points, key=lambda p: (p[1], p[0])))


def _walked(
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    square: NDArray[np.float64],
    *,
    far: float,
    reach: float,
    unit: float,
) -> NDArray[np.int64]:
    """Indices of the end that is reached last, walking from the near side of the far end."""
    zone = np.nonzero(square >= (far - reach) * (far - reach))[0]
    near = math.sqrt(float(square[zone].min())) + 2 * unit
    end = far_end(y[zone], x[zone], square[zone] < near * near)
    chosen: NDArray[np.int64] = zone[end]
    return chosen


def _open_jaws(
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    square: NDArray[np.float64],
    *,
    far: float,
    depth: float,
    least: float,
) -> list[NDArray[np.int64]]:
    """Indices of the two jaws, at the circle where the shorter one is longest; else nothing."""
    top, left = int(y.min()), int(x.min())
    # Nothing is nearer than 0, so what is no candidate is in no circle's outside.
    away = np.full((int(y.max()) - top + 1, int(x.max()) - left + 1), -1.0)
    away[y - top, x - left] = square
    best: list[NDArray[np.int64]] = []
    longest = 0.0
    for k in range(1, CUTS + 1):
        cut = far - depth * k / CUTS
        canvas = (away >= cut * cut).view(np.uint8)
        count, numbers = cv2.connectedComponents(canvas, connectivity=8, ltype=cv2.CV_32S)
        if count < 3:
            continue
        number = numbers[y - top, x - left]
        sizes = np.bincount(number, minlength=count)
        pieces = []
        for i in range(1, count):
            if sizes[i] >= MIN_PIECE:
                members = np.nonzero(number == i)[0]
                length = math.sqrt(float(square[members].max())) - cut
                pieces.append((-length, int(members[0]), members))
        pieces.sort(key=lambda piece: piece[:2])
        if len(pieces) >= 2 and -pieces[1][0] >= least and -pieces[1][0] > longest:
            longest = -pieces[1][0]
            best = [pieces[0][2], pieces[1][2]]
    return best


def _square(value: float) -> float:
    return value * value


def _mean(y: NDArray[np.int64], x: NDArray[np.int64], scale: Point) -> Point:
    n = len(x)
    return (int(x.sum()) / n + 0.5) * scale[0], (int(y.sum()) / n + 0.5) * scale[1]
