"""From a label map to located instruments: box, centroid, axis, entry, tips.

    instruments = locate(labels, confidence, table, (1080, 1920))

The algorithm, with every rounding and tie rule, stands in ``docs/location.md``; the C++ runtime
follows the same page. Sums are sums of integers, and the rest is IEEE double without fused
multiply-add, so that both give the same numbers.
"""

from __future__ import annotations

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
from trocar.runtime.separate import separate
from trocar.runtime.tips import Pixels, find_tips

ROUND_ENOUGH = 0.5
"""Ratio of the smaller to the larger variance above which a free blob has no direction."""


@dataclass(frozen=True, kw_only=True)
class View:
    """The endoscope's round picture inside the frame, in frame pixels.

    Attributes:
        x: Centre.
        y: Centre.
        radius: Above 0.
    """

    x: float
    y: float
    radius: float


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
        for y0, x0, mask in _regions(labels, group.ids, least):
            touching = _border_mask(mask, (y0, x0), (h, w), scale, options, view)
            for piece in _pieces(labels, group, y0, x0, mask, touching, least):
                pixels = _pixels(piece, y0, x0, scale)
                made = _instrument(
                    pixels, group, labels, confidence, touching & piece, (y0, x0), frame_size, view
                )
                order = (group.class_id, -len(pixels.x), int(pixels.y[0]), int(pixels.x[0]))
                found.append((order, made))
    found.sort(key=lambda pair: pair[0])
    return tuple(instrument for _, instrument in found)


def groups_of(table: ClassTable, options: LocateOptions = DEFAULTS) -> list[Group]:
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
    return groups


def _regions(
    labels: NDArray[np.uint8], ids: Sequence[int], least: int
) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """8-connected regions of a group: top, left and the mask inside the region's box."""
    mask = labels == ids[0]
    for other in ids[1:]:
        mask |= labels == other
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width * height < least:
        return []
    crop = np.ascontiguousarray(mask[y : y + height, x : x + width]).view(np.uint8)
    # Without statistics: counting what is asked for is several times faster.
    count, numbers = cv2.connectedComponents(crop, connectivity=8, ltype=cv2.CV_32S)
    if count == 2:
        whole: NDArray[np.bool_] = crop.view(np.bool_)
        return [(y, x, whole)] if cv2.countNonZero(crop) >= least else []
    regions = []
    for i in np.flatnonzero(np.bincount(numbers.ravel(), minlength=count) >= least):
        if i:
            own = cv2.compare(numbers, int(i), cv2.CMP_EQ)
            left, top, wide, high = cv2.boundingRect(own)
            part = own[top : top + high, left : left + wide] != 0
            regions.append((y + top, x + left, part))
    return regions


def _pieces(
    labels: NDArray[np.uint8],
    group: Group,
    y0: int,
    x0: int,
    mask: NDArray[np.bool_],
    touching: NDArray[np.bool_],
    least: int,
) -> list[NDArray[np.bool_]]:
    """The region itself, or its parts where several shafts enter the view."""
    if not group.shafts:
        return [mask]
    h, w = mask.shape
    shaft = np.isin(labels[y0 : y0 + h, x0 : x0 + w], group.shafts) & mask
    return [piece for piece in separate(mask, shaft, touching, least) if piece.sum() >= least]


def _pixels(piece: NDArray[np.bool_], y0: int, x0: int, scale: Point) -> Pixels:
    """The set pixels, row by row."""
    # OpenCV 4 gives [n, 1, 2], OpenCV 5 [n, 2].
    found = cv2.findNonZero(np.ascontiguousarray(piece).view(np.uint8))
    at = found.reshape(-1, 2).astype(np.int64)
    return Pixels(at[:, 1] + y0, at[:, 0] + x0, scale)


def _border_mask(
    mask: NDArray[np.bool_],
    corner: tuple[int, int],
    size: tuple[int, int],
    scale: Point,
    options: LocateOptions,
    view: View | None,
) -> NDArray[np.bool_]:
    """Pixels of the region that lie on the border of the frame or of the view."""
    y0, x0 = corner
    h, w = mask.shape
    b = options.border
    y = np.arange(y0, y0 + h)
    x = np.arange(x0, x0 + w)
    edge_y = (y < b) | (y >= size[0] - b)
    edge_x = (x < b) | (x >= size[1] - b)
    near = edge_y[:, None] | edge_x[None, :]
    if view is not None:
        inner = view.radius - max(b * max(scale), options.view_border * view.radius)
        dx = (x + 0.5) * scale[0] - view.x
        dy = (y + 0.5) * scale[1] - view.y
        near |= (dx * dx)[None, :] + (dy * dy)[:, None] >= inner * inner
    return mask & near


def _instrument(
    pixels: Pixels,
    group: Group,
    labels: NDArray[np.uint8],
    confidence: NDArray[Any] | None,
    touching: NDArray[np.bool_],
    corner: tuple[int, int],
    frame_size: tuple[int, int],
    view: View | None,
) -> Instrument:
    sx, sy = pixels.scale
    n = len(pixels.x)
    x0, y0 = int(pixels.x.min()), int(pixels.y[0])
    x1, y1 = int(pixels.x.max()) + 1, int(pixels.y[-1]) + 1
    sum_x, sum_y = int(pixels.x.sum()), int(pixels.y.sum())
    axis, ratio = _principal_axis(pixels, sum_x, sum_y)
    centre = (frame_size[1] / 2, frame_size[0] / 2) if view is None else (view.x, view.y)
    entry, cluster = _entry(touching, corner, pixels.scale)
    start = entry
    if start is None and ratio <= ROUND_ENOUGH:
        start = _outer_end(pixels, axis, centre)
    tips: tuple[Point, ...] = ()
    if start is not None:
        keep = _tip_candidates(pixels, group, labels, cluster, corner)
        tips = find_tips(pixels, keep, start, area=n * sx * sy)
        axis = _towards(axis, start, tips)
    return Instrument(
        class_id=group.class_id,
        class_name=group.name,
        score=_mean_confidence(confidence, pixels),
        box=(x0 * sx, y0 * sy, x1 * sx, y1 * sy),
        centroid=((sum_x / n + 0.5) * sx, (sum_y / n + 0.5) * sy),
        area=n * sx * sy,
        axis=axis,
        angle=math.degrees(math.atan2(axis[1], axis[0])),
        tips=tips,
        entry=entry,
        touches_border=entry is not None,
    )


def _principal_axis(pixels: Pixels, sum_x: int, sum_y: int) -> tuple[Point, float]:
    """Unit vector of the larger variance, pointing right (or down), and the variances' ratio."""
    sx, sy = pixels.scale
    n = len(pixels.x)
    square = float(n * n)
    xx = float(n * int(np.dot(pixels.x, pixels.x)) - sum_x * sum_x) / square * sx * sx
    yy = float(n * int(np.dot(pixels.y, pixels.y)) - sum_y * sum_y) / square * sy * sy
    xy = float(n * int(np.dot(pixels.x, pixels.y)) - sum_x * sum_y) / square * sx * sy
    difference = xx - yy
    root = math.sqrt(difference * difference + 4 * xy * xy)
    if root == 0:
        return (1.0, 0.0), 1.0
    cosine = difference / root
    dx = math.sqrt((1 + cosine) / 2)
    dy = math.sqrt((1 - cosine) / 2)
    return (dx, -dy if xy < 0 else dy), (xx + yy - root) / (xx + yy + root)


def _entry(
    touching: NDArray[np.bool_], corner: tuple[int, int], scale: Point
) -> tuple[Point | None, NDArray[np.bool_] | None]:
    """Mean of the largest cluster of border pixels (the first in raster order of equal ones)."""
    left, top, wide, high = cv2.boundingRect(touching.view(np.uint8))
    if not wide:
        return None, None
    part = np.ascontiguousarray(touching[top : top + high, left : left + wide]).view(np.uint8)
    count, numbers = cv2.connectedComponents(part, connectivity=8, ltype=cv2.CV_32S)
    best = 1
    if count > 2:
        flat = numbers.ravel()
        sizes = np.bincount(flat, minlength=count)
        best = min(range(1, count), key=lambda i: (-int(sizes[i]), int((flat == i).argmax())))
    cluster = np.zeros_like(touching)
    cluster[top : top + high, left : left + wide] = numbers == best
    ys, xs = np.nonzero(numbers == best)
    n = len(xs)
    x = int(xs.sum()) + n * (corner[1] + left)
    y = int(ys.sum()) + n * (corner[0] + top)
    return ((x / n + 0.5) * scale[0], (y / n + 0.5) * scale[1]), cluster


def _outer_end(pixels: Pixels, axis: Point, centre: Point) -> Point:
    """The end of the axis that lies farther from the picture's centre."""
    along = pixels.fx * axis[0] + pixels.fy * axis[1]
    ends = []
    for i in (int(along.argmin()), int(along.argmax())):
        x, y = float(pixels.fx[i]), float(pixels.fy[i])
        dx, dy = x - centre[0], y - centre[1]
        ends.append((dx * dx + dy * dy, (x, y)))
    return ends[1][1] if ends[1][0] > ends[0][0] else ends[0][1]


def _tip_candidates(
    pixels: Pixels,
    group: Group,
    labels: NDArray[np.uint8],
    cluster: NDArray[np.bool_] | None,
    corner: tuple[int, int],
) -> NDArray[np.bool_]:
    """Pixels of parts that end in a tip where there are any, else all but the entry's."""
    if group.tips:
        keep = np.isin(labels[pixels.y, pixels.x], group.tips)
        if keep.sum() >= 4:
            return keep
    if cluster is None:
        return np.ones(len(pixels.x), np.bool_)
    inside: NDArray[np.bool_] = ~cluster[pixels.y - corner[0], pixels.x - corner[1]]
    return inside


def _towards(axis: Point, start: Point, tips: tuple[Point, ...]) -> Point:
    if not tips:
        return axis
    dx = sum(tip[0] for tip in tips) / len(tips) - start[0]
    dy = sum(tip[1] for tip in tips) / len(tips) - start[1]
    return (-axis[0], -axis[1]) if dx * axis[0] + dy * axis[1] < 0 else axis


def _mean_confidence(confidence: NDArray[Any] | None, pixels: Pixels) -> float:
    """Exact whatever the order: float16 values are multiples of 2^-24, so no sum rounds."""
    if confidence is None:
        return 1.0
    values = confidence[pixels.y, pixels.x]
    if values.dtype == np.uint8:
        return int(values.sum(dtype=np.int64)) / (255 * len(values))
    return float(values.astype(np.float16).sum(dtype=np.float64)) / len(values)
