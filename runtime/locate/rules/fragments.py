"""Joins fragments that continue an instrument's axis and width.

    pieces = join_fragments(pieces, options, united)

Glare, smoke, a thread or a hole in the mask divides one instrument into several regions. Section 3a
of ``docs/location.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from trocar.contract.location import LocationOptions
from trocar.contract.results import Point
from trocar.runtime.locate.measures import Axis, axis_of, length_of
from trocar.runtime.locate.region import Moments
from trocar.runtime.locate.rules.pieces import Measured, size_order

P = TypeVar("P", bound=Measured)

MAX_FRAGMENTS = 16
"""Pieces of a group that are looked at, the largest ones."""

MAX_BASE_RATIO = 0.25
"""Ratio of the smaller to the larger variance, above which a fragment has no axis to continue."""


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """Size, position and direction of one fragment or of several, in frame pixels."""

    moments: Moments
    centre: Point
    axis: Axis
    length: float
    width: float
    touches_border: bool


def join_fragments(
    pieces: Sequence[P], options: LocationOptions, unite: Callable[[Sequence[P]], P]
) -> list[P]:
    """Joins the fragments of each group; the cost of a group is bounded by `MAX_FRAGMENTS`.

    Args:
        pieces: Regions and parts of one label map, group by group.
        options: Limits of gap, angle and width.
        unite: Makes one piece of several.

    Returns:
        The pieces, in another order.
    """
    by_group: dict[int, list[P]] = {}
    for piece in pieces:
        by_group.setdefault(piece.group.class_id, []).append(piece)
    joined: list[P] = []
    for members in by_group.values():
        ordered = sorted(members, key=size_order)
        joined += _joined(ordered[:MAX_FRAGMENTS], options, unite) + ordered[MAX_FRAGMENTS:]
    return joined


def _joined(
    pieces: list[P], options: LocationOptions, unite: Callable[[Sequence[P]], P]
) -> list[P]:
    if len(pieces) < 2:
        return pieces
    clusters: list[list[P] | None] = [[piece] for piece in pieces]
    shapes = [_shape(piece) for piece in pieces]
    for base in range(len(pieces)):
        while (held := clusters[base]) is not None:
            other = _nearest(base, clusters, shapes, options)
            if other is None:
                break
            absorbed = clusters[other]
            assert absorbed is not None
            clusters[base], clusters[other] = held + absorbed, None
            touches = shapes[base].touches_border or shapes[other].touches_border
            moments = _sum(shapes[base].moments, shapes[other].moments)
            shapes[base] = _shape_of(moments, pieces[0].scale, touches)
    return [c[0] if len(c) == 1 else unite(c) for c in clusters if c is not None]


def _nearest(
    base: int,
    clusters: Sequence[list[P] | None],
    shapes: Sequence[_Shape],
    options: LocationOptions,
) -> int | None:
    """The fragment that continues the base with the smallest gap, the first of equal ones."""
    if shapes[base].axis.variance_ratio > MAX_BASE_RATIO:
        return None
    found, smallest = None, math.inf
    for index, cluster in enumerate(clusters):
        if index == base or cluster is None:
            continue
        gap = _gap(shapes[base], shapes[index], options)
        if gap is not None and gap < smallest:
            found, smallest = index, gap
    return found


def _gap(base: _Shape, other: _Shape, options: LocationOptions) -> float | None:
    """The gap along the base's axis; ``None`` if the other one does not continue the base."""
    if base.touches_border and other.touches_border:
        return None
    if max(base.width, other.width) > options.max_width_ratio * min(base.width, other.width):
        return None
    (ax, ay), (dx, dy) = base.axis.direction, _difference(other.centre, base.centre)
    along, across = abs(dx * ax + dy * ay), abs(dx * ay - dy * ax)
    beyond = along - 0.5 * base.length
    if beyond < 0:
        return None
    slope = options.max_angle * math.pi / 180
    if across > 0.5 * base.width + math.tan(slope) * beyond:
        return None
    bx, by = other.axis.direction
    if other.axis.variance_ratio <= MAX_BASE_RATIO and abs(ax * bx + ay * by) < math.cos(slope):
        return None
    spread = other.axis.xx * ax * ax + 2 * other.axis.xy * ax * ay + other.axis.yy * ay * ay
    gap = beyond - math.sqrt(3 * max(spread, 0.0))
    return gap if gap <= options.max_gap * base.width else None


def _difference(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1]


def _sum(a: Moments, b: Moments) -> Moments:
    return Moments(
        n=a.n + b.n, x=a.x + b.x, y=a.y + b.y, xx=a.xx + b.xx, xy=a.xy + b.xy, yy=a.yy + b.yy
    )


def _shape(piece: Measured) -> _Shape:
    return _shape_of(piece.moments, piece.scale, piece.touches_border)


def _shape_of(moments: Moments, scale: Point, touches_border: bool) -> _Shape:
    axis, n = axis_of(moments, scale), moments.n
    length = length_of(axis, scale)
    return _Shape(
        moments=moments,
        centre=((moments.x / n + 0.5) * scale[0], (moments.y / n + 0.5) * scale[1]),
        axis=axis,
        length=length,
        width=n * scale[0] * scale[1] / length,
        touches_border=touches_border,
    )
