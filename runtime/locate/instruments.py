"""From a label map to located instruments: box, centroid, axis, entry, tips.

    instruments = locate(labels, confidence, table, (1080, 1920))

``docs/location.md`` states the algorithm with every rounding and tie rule; the section numbers in
this file are its own. The C++ runtime implements the same page. Sums are sums of integers, and the
rest is IEEE double without fused multiply-add, so both languages give the same numbers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ArgumentError
from trocar.contract.results import Instrument, Point
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.measures import (
    Entry,
    find_entry,
    mean_confidence,
    outer_end,
    principal_axis,
    towards_tips,
)
from trocar.runtime.locate.region import Region, connected_components
from trocar.runtime.locate.split_touching import split_touching
from trocar.runtime.locate.tips import find_tips

MAX_VARIANCE_RATIO = 0.5
"""Ratio of the smaller to the larger variance, above which a region has no direction."""

MAX_COUNTED_SEPARATELY = 12
"""Components up to which each is counted in a pass of its own; above, one histogram is faster."""

MIN_TIP_PIXELS = 4
"""Pixels of tip parts from which on only they are candidates for tips."""


@dataclass(frozen=True, kw_only=True)
class LocateOptions:
    """What counts as an instrument.

    Attributes:
        min_area: Smallest region, as a fraction of the label map's pixels.
        min_pixels: Smallest region in pixels of the label map; the larger of the two limits counts.
        border: Width of the frame's border, in pixels of the label map.
        view_border: Width of the border of the field of view, as a fraction of its radius.
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
    """Rows of a class table that form one kind of instrument.

    Attributes:
        class_id: Smallest class id of the rows.
        name: The common type if rows were joined, else the class name.
        ids: Class ids of the rows.
        shaft_ids: Class ids of those rows that are shafts.
        tip_ids: Class ids of those rows that end in a tip.
    """

    class_id: int
    name: str
    ids: tuple[int, ...]
    shaft_ids: tuple[int, ...]
    tip_ids: tuple[int, ...]


DEFAULTS = LocateOptions()


@dataclass(frozen=True, kw_only=True)
class _LabelMap:
    """One label map with all that its regions are measured with."""

    labels: NDArray[np.uint8]
    confidence: NDArray[Any] | None
    scale: Point
    centre: Point
    min_pixels: int
    options: LocateOptions
    view: FieldOfView | None


@dataclass(frozen=True)
class _Located:
    """An instrument with what decides its place in the result."""

    instrument: Instrument
    pixels: int
    first_row: int
    first_column: int


def locate(
    labels: NDArray[np.uint8],
    confidence: NDArray[Any] | None,
    table: ClassTable,
    frame_size: tuple[int, int],
    options: LocateOptions = DEFAULTS,
    *,
    view: FieldOfView | None = None,
) -> tuple[Instrument, ...]:
    """Finds the instruments of a label map.

    Args:
        labels: ``[h, w]`` uint8 class ids.
        confidence: ``[h, w]`` floating 0..1 or uint8 0..255, or ``None``.
        table: What the ids mean; only rows with ``instrument`` are located.
        frame_size: ``(height, width)`` of the frame; results are in its pixels.
        options: Thresholds.
        view: The endoscope's field of view; ``None`` for the full frame.

    Returns:
        Instruments ordered by class id, area descending, then first pixel (row, column).

    Raises:
        ArgumentError: ``labels`` is not a uint8 map, or ``confidence`` is of another size.
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
    label_map = _LabelMap(
        labels=labels,
        confidence=confidence,
        scale=(frame_size[1] / w, frame_size[0] / h),
        centre=(frame_size[1] / 2, frame_size[0] / 2) if view is None else (view.x, view.y),
        min_pixels=max(options.min_pixels, int(h * w * options.min_area)),
        options=options,
        view=view,
    )
    located: list[_Located] = []
    for group in instrument_groups(table, options):
        for region in _regions(label_map, group.ids):
            border_mask = _border_mask(label_map, region)
            for part, part_border in _parts(label_map, group, region, border_mask):
                located.append(_measure(label_map, group, part, part_border))
    return tuple(one.instrument for one in sorted(located, key=_result_order))


def _result_order(one: _Located) -> tuple[int, int, int, int]:
    """By class id, pixels descending, first pixel."""
    return one.instrument.class_id, -one.pixels, one.first_row, one.first_column


@functools.lru_cache(maxsize=16)
def instrument_groups(table: ClassTable, options: LocateOptions = DEFAULTS) -> tuple[Group, ...]:
    """Groups of a class table (section 1).

    Rows that state both a type and a part join by type; every other row is a group of its own.

    >>> table = ClassTable.from_names(["background", "grasper", "scissors"])
    >>> [(group.class_id, group.name) for group in instrument_groups(table)]
    [(1, 'grasper'), (2, 'scissors')]
    """
    members: dict[str, list[int]] = {}
    for row in table:
        if row.instrument:
            key = f"type:{row.type}" if row.type and row.part else f"row:{row.id}"
            members.setdefault(key, []).append(row.id)
    groups = []
    for key, ids in members.items():
        is_joined = key.startswith("type:")
        groups.append(
            Group(
                class_id=ids[0],
                name=table[ids[0]].type if is_joined else table[ids[0]].name,
                ids=tuple(ids),
                shaft_ids=tuple(i for i in ids if table[i].part in options.shaft_parts),
                tip_ids=tuple(i for i in ids if table[i].part in options.tip_parts),
            )
        )
    return tuple(groups)


def _mask_of(labels: NDArray[np.uint8], ids: Sequence[int]) -> NDArray[np.bool_]:
    """Where the labels are one of these ids.

    >>> _mask_of(np.array([[0, 1, 2]], np.uint8), (1, 2)).tolist()
    [[False, True, True]]
    """
    mask: NDArray[np.bool_] = labels == ids[0]
    for other in ids[1:]:
        mask |= labels == other
    return mask


def _regions(label_map: _LabelMap, ids: Sequence[int]) -> list[Region]:
    """8-connected regions of a group that are large enough (section 2)."""
    mask = _mask_of(label_map.labels, ids)
    # Counting is several times faster than finding the box, and most classes are absent.
    if cv2.countNonZero(mask.view(np.uint8)) < label_map.min_pixels:
        return []
    group = Region(mask, 0, 0, label_map.scale).crop_to_bbox()
    count, components = connected_components(group.mask)
    if count == 2:
        return [group]
    return [
        Region(components == i, group.top, group.left, group.scale).crop_to_bbox()
        for i in _large_components(components, count, label_map.min_pixels)
    ]


def _large_components(components: NDArray[Any], count: int, min_pixels: int) -> list[int]:
    """Labels of the components of at least ``min_pixels`` pixels; 0 is the background.

    >>> _large_components(np.array([[1, 0, 2], [0, 0, 2]], np.uint16), 3, 2)
    [2]
    """
    if count <= MAX_COUNTED_SEPARATELY:
        sizes = [cv2.countNonZero((components == i).view(np.uint8)) for i in range(count)]
    else:
        sizes = np.bincount(components.ravel(), minlength=count).tolist()
    return [i for i in range(1, count) if sizes[i] >= min_pixels]


def _border_mask(label_map: _LabelMap, region: Region) -> NDArray[np.bool_]:
    """Pixels of the region on the border of the frame or of the field of view (section 2)."""
    height, width = label_map.labels.shape
    b, top, left = label_map.options.border, region.top, region.left
    near = np.zeros_like(region.mask)
    near[: max(0, b - top)] = True
    near[max(0, height - b - top) :] = True
    near[:, : max(0, b - left)] = True
    near[:, max(0, width - b - left) :] = True
    view = label_map.view
    if view is not None:
        relative_border = label_map.options.view_border * view.radius
        inner = view.radius - max(b * max(region.scale), relative_border)
        dx = region.column_centres() - view.x
        dy = region.row_centres() - view.y
        xx, yy = dx * dx, dy * dy
        if xx.max() + yy.max() >= inner * inner:
            near |= xx[None, :] + yy[:, None] >= inner * inner
    near &= region.mask
    return near


def _parts(
    label_map: _LabelMap, group: Group, region: Region, border_mask: NDArray[np.bool_]
) -> Iterator[tuple[Region, NDArray[np.bool_]]]:
    """The region, or its parts if several shafts enter, with border masks (section 3)."""
    masks = [region.mask]
    if group.shaft_ids:
        shaft = _mask_of(region.crop(label_map.labels), group.shaft_ids) & region.mask
        masks = split_touching(region.mask, shaft, border_mask, min_pixels=label_map.min_pixels)
    if len(masks) == 1:
        yield region, border_mask
        return
    for mask in masks:
        if cv2.countNonZero(mask.view(np.uint8)) >= label_map.min_pixels:
            part = Region(mask, region.top, region.left, region.scale).crop_to_bbox()
            top, left = part.top - region.top, part.left - region.left
            height, width = part.mask.shape
            yield part, border_mask[top : top + height, left : left + width] & part.mask


def _measure(
    label_map: _LabelMap, group: Group, region: Region, border_mask: NDArray[np.bool_]
) -> _Located:
    """Measures one instrument (sections 4 to 7)."""
    sx, sy = region.scale
    moments = region.moments
    n = moments.n
    height, width = region.mask.shape
    x0, y0 = region.left, region.top
    sum_x, sum_y = moments.x + n * x0, moments.y + n * y0
    axis, variance_ratio = principal_axis(region)
    entry = find_entry(region, border_mask)
    start = None if entry is None else entry.point
    if start is None and variance_ratio <= MAX_VARIANCE_RATIO:
        start = outer_end(region, axis, label_map.centre)
    tips: tuple[Point, ...] = ()
    if start is not None:
        candidates = _tip_candidates(label_map, group, region, entry)
        tips = find_tips(region, candidates, start, area=n * sx * sy)
        axis = towards_tips(axis, start, tips)
    instrument = Instrument(
        class_id=group.class_id,
        class_name=group.name,
        score=mean_confidence(label_map.confidence, region),
        box=(x0 * sx, y0 * sy, (x0 + width) * sx, (y0 + height) * sy),
        centroid=((sum_x / n + 0.5) * sx, (sum_y / n + 0.5) * sy),
        area=n * sx * sy,
        axis=axis,
        angle=math.degrees(math.atan2(axis[1], axis[0])),
        tips=tips,
        entry=None if entry is None else entry.point,
        touches_border=entry is not None,
    )
    first_column = x0 + int(region.run_lengths.begin[0])
    return _Located(instrument, n, first_row=y0, first_column=first_column)


def _tip_candidates(
    label_map: _LabelMap, group: Group, region: Region, entry: Entry | None
) -> NDArray[np.bool_]:
    """Pixels of tip parts if there are enough, else all but those of the entry (section 6)."""
    if group.tip_ids:
        labels = region.crop(label_map.labels)
        tips: NDArray[np.bool_] = _mask_of(labels, group.tip_ids) & region.mask
        if cv2.countNonZero(tips.view(np.uint8)) >= MIN_TIP_PIXELS:
            return tips
    if entry is None:
        return region.mask
    candidates: NDArray[np.bool_] = region.mask.copy()
    candidates[entry.rows, entry.columns] &= ~entry.cluster
    return candidates
