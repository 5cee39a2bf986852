"""From a label map to located instruments: box, centroid, axis, entry, tips.

    instruments = locate(labels, confidence, table, (1080, 1920))

The algorithm, with every rounding and tie rule, stands in ``docs/location.md``; the C++ runtime
follows the same page. Sums are sums of integers, and the rest is IEEE double without fused
multiply-add, so that both give the same numbers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ArgumentError
from trocar.contract.results import Instrument, Point
from trocar.runtime.locate.field_of_view import View
from trocar.runtime.locate.region import Shape, components
from trocar.runtime.locate.split_touching import separate
from trocar.runtime.locate.tips import find_tips

ROUND_ENOUGH = 0.5
"""Ratio of the smaller to the larger variance above which a free blob has no direction."""

FEW = 12
"""Components up to which each is counted on its own: a histogram of a picture is slow."""


@dataclass(frozen=True, kw_only=True)
class LocateOptions:
    """What counts as an instrument.

    Attributes:
        min_area: Smallest region, as a share of the label map.
        min_pixels: Smallest region in pixels of the label map, whatever its share.
        border: Pixels of the label map that count as the frame's border.
        view_border: The view's border likewise, as a share of its radius.
        shaft_parts: Names of parts that enter the view.
        tip_parts: Names of parts that end in a tip.
    """

    min_area: float = 0.0005
    min_pixels: int = 16
    border: int = 2
    view_border: float = 0.03
    shaft_parts: tuple[str, ...] = ("shaft",)
    tip_parts: tuple[str, ...] = ("clasper", "jaw", "tip")


@dataclass(frozen=True)
class Group:
    """Rows of a class table that form one kind of instrument."""

    class_id: int
    name: str
    ids: tuple[int, ...]
    shafts: tuple[int, ...]
    tips: tuple[int, ...]


DEFAULTS = LocateOptions()


def locate(
    labels: NDArray[np.uint8],
    confidence: NDArray[Any] | None,
    table: ClassTable,
    frame_size: tuple[int, int],
    options: LocateOptions = DEFAULTS,
    *,
    view: View | None = None,
) -> tuple[Instrument, ...]:
    """Finds the instruments of a label map.

    Args:
        labels: ``[h, w]`` uint8 class ids.
        confidence: ``[h, w]`` floating 0..1 or uint8 0..255, or ``None``.
        table: What the ids mean; only rows with ``instrument`` are looked for.
        frame_size: ``(height, width)`` of the frame, whose pixels the results are in.
        options: Thresholds.
        view: The endoscope's round picture, where it is known; else the whole frame.

    Returns:
        Ordered by class id, area descending, then first pixel (row, column).

    Raises:
        ArgumentError: ``labels`` is no uint8 map, or ``confidence`` is of another size.
    """
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ArgumentError(
            f"labels are {labels.dtype} {list(labels.shape)}, expected uint8 [h, w]",
            remedy="pass the label map of one frame",
        )
    if confidence is not None and confidence.shape != labels.shape:
        raise ArgumentError(
            f"confidence is {list(confidence.shape)}, labels are {list(labels.shape)}",
            remedy="pass the confidence of the same frame",
        )
    h, w = labels.shape
    scale = (frame_size[1] / w, frame_size[0] / h)
    least = max(options.min_pixels, int(h * w * options.min_area))
    found: list[tuple[tuple[int, ...], Instrument]] = []
    for group in groups_of(table, options):
        for region in _regions(labels, group.ids, least, scale):
            touching = _border_mask(region, (h, w), options, view)
            for shape, border in _pieces(labels, group, region, touching, least):
                made = _instrument(shape, group, labels, confidence, border, frame_size, view)
                first = shape.left + int(shape.runs.begin[0])
                found.append(((group.class_id, -shape.sums.n, shape.top, first), made))
    found.sort(key=lambda pair: pair[0])
    return tuple(instrument for _, instrument in found)


@functools.lru_cache(maxsize=16)
def groups_of(table: ClassTable, options: LocateOptions = DEFAULTS) -> tuple[Group, ...]:
    """Rows that state both a type and a part join by type; every other row stands alone."""
    members: dict[str, list[int]] = {}
    for row in table:
        if row.instrument:
            key = f"type:{row.type}" if row.type and row.part else f"row:{row.id}"
            members.setdefault(key, []).append(row.id)
    groups = []
    for key, ids in members.items():
        joined = key.startswith("type:")
        groups.append(
            Group(
                class_id=ids[0],
                name=table[ids[0]].type if joined else table[ids[0]].name,
                ids=tuple(ids),
                shafts=tuple(i for i in ids if table[i].part in options.shaft_parts),
                tips=tuple(i for i in ids if table[i].part in options.tip_parts),
            )
        )
    return tuple(groups)


def _rows_of(labels: NDArray[np.uint8], ids: Sequence[int]) -> NDArray[np.bool_]:
    """Where the labels are one of these ids."""
    mask: NDArray[np.bool_] = labels == ids[0]
    for other in ids[1:]:
        mask |= labels == other
    return mask


def _regions(
    labels: NDArray[np.uint8], ids: Sequence[int], least: int, scale: Point
) -> list[Shape]:
    """8-connected regions of a group."""
    mask = _rows_of(labels, ids)
    # Counting is several times faster than looking for the box, and most classes are not there.
    if cv2.countNonZero(mask.view(np.uint8)) < least:
        return []
    whole = Shape(mask, 0, 0, scale).tight()
    count, numbers = components(whole.mask)
    if count == 2:
        return [whole]
    regions = []
    for i in _large(numbers, count, least):
        regions.append(Shape(numbers == i, whole.top, whole.left, scale).tight())
    return regions


def _large(numbers: NDArray[Any], count: int, least: int) -> list[int]:
    """Numbers of the components that have ``least`` pixels."""
    if count <= FEW:
        sizes = [cv2.countNonZero((numbers == i).view(np.uint8)) for i in range(count)]
    else:
        sizes = np.bincount(numbers.ravel(), minlength=count).tolist()
    return [i for i in range(1, count) if sizes[i] >= least]


def _pieces(
    labels: NDArray[np.uint8],
    group: Group,
    region: Shape,
    touching: NDArray[np.bool_],
    least: int,
) -> list[tuple[Shape, NDArray[np.bool_]]]:
    """The region itself, or its parts where several shafts enter the view; with border pixels."""
    if not group.shafts:
        return [(region, touching)]
    shaft = _rows_of(region.cut(labels), group.shafts) & region.mask
    parts = separate(region.mask, shaft, touching, least)
    if len(parts) == 1:
        return [(region, touching)]
    pieces = []
    for part in parts:
        if cv2.countNonZero(part.view(np.uint8)) >= least:
            piece = Shape(part, region.top, region.left, region.scale).tight()
            top, left = piece.top - region.top, piece.left - region.left
            own = touching[top : top + piece.mask.shape[0], left : left + piece.mask.shape[1]]
            pieces.append((piece, own & piece.mask))
    return pieces


def _border_mask(
    region: Shape,
    size: tuple[int, int],
    options: LocateOptions,
    view: View | None,
) -> NDArray[np.bool_]:
    """Pixels of the region that lie on the border of the frame or of the view."""
    b, top, left = options.border, region.top, region.left
    near = np.zeros_like(region.mask)
    near[: max(0, b - top)] = True
    near[max(0, size[0] - b - top) :] = True
    near[:, : max(0, b - left)] = True
    near[:, max(0, size[1] - b - left) :] = True
    if view is not None:
        inner = view.radius - max(b * max(region.scale), options.view_border * view.radius)
        dx = region.columns() - view.x
        dy = region.rows() - view.y
        xx, yy = dx * dx, dy * dy
        if xx.max() + yy.max() >= inner * inner:
            near |= xx[None, :] + yy[:, None] >= inner * inner
    near &= region.mask
    return near


def _instrument(
    shape: Shape,
    group: Group,
    labels: NDArray[np.uint8],
    confidence: NDArray[Any] | None,
    touching: NDArray[np.bool_],
    frame_size: tuple[int, int],
    view: View | None,
) -> Instrument:
    sx, sy = shape.scale
    n = shape.sums.n
    height, width = shape.mask.shape
    x0, y0 = shape.left, shape.top
    sum_x, sum_y = shape.sums.x + n * x0, shape.sums.y + n * y0
    axis, ratio = _principal_axis(shape)
    centre = (frame_size[1] / 2, frame_size[0] / 2) if view is None else (view.x, view.y)
    entry, cluster = _entry(shape, touching)
    start = entry
    if start is None and ratio <= ROUND_ENOUGH:
        start = _outer_end(shape, axis, centre)
    tips: tuple[Point, ...] = ()
    if start is not None:
        keep = _tip_candidates(shape, group, labels, cluster)
        tips = find_tips(shape, keep, start, area=n * sx * sy)
        axis = _towards(axis, start, tips)
    return Instrument(
        class_id=group.class_id,
        class_name=group.name,
        score=_mean_confidence(confidence, shape),
        box=(x0 * sx, y0 * sy, (x0 + width) * sx, (y0 + height) * sy),
        centroid=((sum_x / n + 0.5) * sx, (sum_y / n + 0.5) * sy),
        area=n * sx * sy,
        axis=axis,
        angle=math.degrees(math.atan2(axis[1], axis[0])),
        tips=tips,
        entry=entry,
        touches_border=entry is not None,
    )


def _principal_axis(shape: Shape) -> tuple[Point, float]:
    """Unit vector of the larger variance, pointing right (or down), and the variances' ratio."""
    sx, sy = shape.scale
    sums, n = shape.sums, shape.sums.n
    square = float(n * n)
    # These differences are the same integers wherever the coordinates are counted from.
    xx = float(n * sums.xx - sums.x * sums.x) / square * sx * sx
    yy = float(n * sums.yy - sums.y * sums.y) / square * sy * sy
    xy = float(n * sums.xy - sums.x * sums.y) / square * sx * sy
    difference = xx - yy
    root = math.sqrt(difference * difference + 4 * xy * xy)
    if root == 0:
        return (1.0, 0.0), 1.0
    cosine = difference / root
    dx = math.sqrt((1 + cosine) / 2)
    dy = math.sqrt((1 - cosine) / 2)
    return (dx, -dy if xy < 0 else dy), (xx + yy - root) / (xx + yy + root)


def _entry(
    shape: Shape, touching: NDArray[np.bool_]
) -> tuple[Point | None, tuple[slice, slice, NDArray[np.bool_]] | None]:
    """Mean of the largest cluster of border pixels (the first in raster order of equal ones)."""
    left, top, wide, high = cv2.boundingRect(touching.view(np.uint8))
    if not wide:
        return None, None
    rows, columns = slice(top, top + high), slice(left, left + wide)
    count, numbers = components(touching[rows, columns])
    best = 1
    if count > 2:
        flat = numbers.ravel()
        sizes = np.bincount(flat, minlength=count)
        best = min(range(1, count), key=lambda i: (-int(sizes[i]), int((flat == i).argmax())))
    cluster = numbers == best
    ys, xs = np.nonzero(cluster)
    n = len(xs)
    x = int(xs.sum()) + n * (shape.left + left)
    y = int(ys.sum()) + n * (shape.top + top)
    entry = ((x / n + 0.5) * shape.scale[0], (y / n + 0.5) * shape.scale[1])
    return entry, (rows, columns, cluster)


def _outer_end(shape: Shape, axis: Point, centre: Point) -> Point:
    """The end of the axis that lies farther from the picture's centre."""
    y, begin, end = shape.runs.y, shape.runs.begin, shape.runs.end
    fx, fy = shape.columns(), shape.rows()
    # The axis points right, so the smallest of a run is its first pixel, and the largest its last.
    lowest = int((fx[begin] * axis[0] + fy[y] * axis[1]).argmin())
    highest = int((fx[end - 1] * axis[0] + fy[y] * axis[1]).argmax())
    run = slice(begin[highest], end[highest])
    first = int(begin[highest]) + int((fx[run] * axis[0] + fy[y[highest]] * axis[1]).argmax())
    ends = []
    for row, column in ((y[lowest], begin[lowest]), (y[highest], first)):
        at = float(fx[column]), float(fy[row])
        dx, dy = at[0] - centre[0], at[1] - centre[1]
        ends.append((dx * dx + dy * dy, at))
    return ends[1][1] if ends[1][0] > ends[0][0] else ends[0][1]


def _tip_candidates(
    shape: Shape,
    group: Group,
    labels: NDArray[np.uint8],
    cluster: tuple[slice, slice, NDArray[np.bool_]] | None,
) -> NDArray[np.bool_]:
    """Pixels of parts that end in a tip where there are any, else all but the entry's."""
    if group.tips:
        tips: NDArray[np.bool_] = _rows_of(shape.cut(labels), group.tips) & shape.mask
        if cv2.countNonZero(tips.view(np.uint8)) >= 4:
            return tips
    if cluster is None:
        return shape.mask
    rows, columns, entry = cluster
    keep: NDArray[np.bool_] = shape.mask.copy()
    keep[rows, columns] &= ~entry
    return keep


def _towards(axis: Point, start: Point, tips: tuple[Point, ...]) -> Point:
    if not tips:
        return axis
    dx = sum(tip[0] for tip in tips) / len(tips) - start[0]
    dy = sum(tip[1] for tip in tips) / len(tips) - start[1]
    return (-axis[0], -axis[1]) if dx * axis[0] + dy * axis[1] < 0 else axis


def _mean_confidence(confidence: NDArray[Any] | None, shape: Shape) -> float:
    """Exact whatever the order: float16 values are multiples of 2^-24, so no sum rounds."""
    if confidence is None:
        return 1.0
    values = shape.cut(confidence)[shape.mask]
    if values.dtype == np.uint8:
        return int(values.sum(dtype=np.int64)) / (255 * len(values))
    return float(values.astype(np.float16, copy=False).sum(dtype=np.float64)) / len(values)
