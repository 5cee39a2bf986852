"""From a label map to located instruments: box, centroid, axis, entry, tips.

    instruments = locate(labels, confidence, table, (1080, 1920))

``docs/location.md`` states the algorithm with every rounding and tie rule; the section numbers in
this file are its own. The C++ runtime implements the same page. Sums are sums of integers, and the
rest is IEEE double without fused multiply-add, so both languages give the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ArgumentError
from trocar.contract.instances.masks import Mask
from trocar.contract.location import LocationOptions
from trocar.contract.results import Instrument, Point
from trocar.runtime.frames import is_finite
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.groups import DEFAULTS, Group, instrument_groups
from trocar.runtime.locate.measures import (
    Entry,
    find_entry,
    outer_end,
    principal_axis,
    towards_tips,
)
from trocar.runtime.locate.region import Region
from trocar.runtime.locate.rules.fragments import MAX_FRAGMENTS, join_fragments
from trocar.runtime.locate.rules.pieces import Piece, size_order, united
from trocar.runtime.locate.rules.regions import RegionLimits, find_regions, mask_of
from trocar.runtime.locate.rules.selection import Scored, best_of, is_strip, select
from trocar.runtime.locate.split_touching import split_touching
from trocar.runtime.locate.tips import find_tips
from trocar.runtime.locate.view_mask import clear_outside_view

MAX_VARIANCE_RATIO = 0.5
"""Ratio of the smaller to the larger variance, above which a region has no direction."""

MIN_TIP_PIXELS = 4
"""Pixels of tip parts from which on only they are candidates for tips."""


@dataclass(frozen=True, kw_only=True)
class _LabelMap:
    """One label map with all that its regions are measured with."""

    labels: NDArray[np.uint8]
    confidence: NDArray[Any] | None
    scale: Point
    centre: Point
    min_pixels: int
    options: LocationOptions
    view: FieldOfView | None
    frame_size: tuple[int, int]


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
    options: LocationOptions = DEFAULTS,
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
        ArgumentError: ``labels`` is not a uint8 map, or ``confidence`` is of another size or holds
            a value that is not finite.
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
    if confidence is not None and not is_finite(confidence):
        raise ArgumentError(
            "confidence holds a value that is not finite",
            remedy="pass the confidence of every pixel, 0..1",
        )
    if view is not None and options.mask_outside_view:
        labels = clear_outside_view(labels, frame_size, view)
    label_map = _label_map(labels, confidence, frame_size, options, view)
    groups = instrument_groups(table, options)
    limits = RegionLimits(min_pixels=label_map.min_pixels, max_regions=options.max_regions)
    pieces = [
        Piece(group, part, border)
        for group, region in find_regions(label_map.labels, groups, limits, label_map.scale)
        for part, border in _parts(label_map, group, region, _border_mask(label_map, region))
    ]
    if options.max_gap:
        pieces = join_fragments(pieces, options, united)
    chosen = select(pieces, confidence, frame_size, options, view=view)
    located = [_measure(label_map, one) for one in chosen]
    return tuple(one.instrument for one in sorted(located, key=_result_order))


def locate_instances(
    instances: NDArray[np.uint8],
    classes: Sequence[int],
    scores: Sequence[float],
    table: ClassTable,
    frame_size: tuple[int, int],
    options: LocationOptions = DEFAULTS,
    *,
    view: FieldOfView | None = None,
) -> tuple[Instrument, ...]:
    """Finds the instruments of a map of instances: one instance, one instrument.

    Args:
        instances: ``[h, w]`` uint8 numbers of the instances, 0 for none.
        classes: Class id of each instance, from number 1 on.
        scores: Its score, 0..1.
        table: What the ids mean; only rows with ``instrument`` are located.
        frame_size: ``(height, width)`` of the frame; results are in its pixels.
        options: Thresholds. Regions of an instance below the smallest size are left out; the
            others are fragments of one instrument, of which the `MAX_FRAGMENTS` largest count.
        view: The endoscope's field of view; ``None`` for the full frame.

    Returns:
        Instruments ordered by class id, area descending, then first pixel (row, column).
    """
    if view is not None and options.mask_outside_view:
        instances = clear_outside_view(instances, frame_size, view)
    label_map = _label_map(instances, None, frame_size, options, view)
    group_of = {i: group for group in instrument_groups(table, options) for i in group.ids}
    groups = [
        Group(number, group_of[row].name, (number,), (), (), ())
        for number, row in enumerate(classes, start=1)
        if row in group_of
    ]
    limits = RegionLimits(min_pixels=label_map.min_pixels, max_regions=options.max_regions)
    fragments: dict[int, list[Piece]] = {}
    for group, region in find_regions(instances, groups, limits, label_map.scale):
        piece = Piece(group, region, _border_mask(label_map, region))
        fragments.setdefault(group.class_id, []).append(piece)
    scored = []
    most = options.strip_depth * min(frame_size)
    for number, found in fragments.items():
        found = sorted(found, key=size_order)[:MAX_FRAGMENTS]
        piece = found[0] if len(found) == 1 else united(found)
        if most == 0 or not is_strip(piece.region, most, frame_size, view):
            scored.append(Scored(piece, float(scores[number - 1])))
    located = []
    for one in best_of(scored, options):
        number = one.piece.group.class_id
        measured, group = _measure(label_map, one), group_of[classes[number - 1]]
        instrument = replace(measured.instrument, class_id=group.class_id, instance=number)
        located.append(replace(measured, instrument=instrument))
    return tuple(one.instrument for one in sorted(located, key=_result_order))


def _label_map(
    labels: NDArray[np.uint8],
    confidence: NDArray[Any] | None,
    frame_size: tuple[int, int],
    options: LocationOptions,
    view: FieldOfView | None,
) -> _LabelMap:
    h, w = labels.shape
    return _LabelMap(
        labels=labels,
        confidence=confidence,
        scale=(frame_size[1] / w, frame_size[0] / h),
        centre=(frame_size[1] / 2, frame_size[0] / 2) if view is None else (view.x, view.y),
        min_pixels=max(options.min_pixels, int(h * w * options.min_area)),
        options=options,
        view=view,
        frame_size=frame_size,
    )


def _result_order(one: _Located) -> tuple[int, int, int, int]:
    """By class id, pixels descending, first pixel."""
    return one.instrument.class_id, -one.pixels, one.first_row, one.first_column


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
        shaft = mask_of(region.crop(label_map.labels), group.shaft_ids) & region.mask
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


def _measure(label_map: _LabelMap, one: Scored[Piece]) -> _Located:
    """Measures one instrument (sections 4 to 7)."""
    group, region = one.piece.group, one.piece.region
    sx, sy = region.scale
    moments = region.moments
    n = moments.n
    height, width = region.mask.shape
    x0, y0 = region.left, region.top
    sum_x, sum_y = moments.x + n * x0, moments.y + n * y0
    axis, variance_ratio = principal_axis(region)
    entry = find_entry(region, one.piece.border_mask)
    start = None if entry is None else entry.point
    if start is None and variance_ratio <= MAX_VARIANCE_RATIO:
        start = outer_end(region, axis, label_map.centre)
    tips: tuple[Point, ...] = ()
    if start is not None:
        candidates = _tip_candidates(label_map, one.piece, entry)
        candidates = _of_farthest_fragment(one.piece, candidates, start)
        tips = find_tips(region, candidates, start, area=n * sx * sy)
        axis = towards_tips(axis, start, tips)
    instrument = Instrument(
        class_id=group.class_id,
        class_name=group.name,
        score=one.score,
        box=(x0 * sx, y0 * sy, (x0 + width) * sx, (y0 + height) * sy),
        centroid=((sum_x / n + 0.5) * sx, (sum_y / n + 0.5) * sy),
        area=n * sx * sy,
        axis=axis,
        angle=math.degrees(math.atan2(axis[1], axis[0])),
        tips=tips,
        entry=None if entry is None else entry.point,
        touches_border=entry is not None,
        mask=Mask(region.mask, y0, x0, label_map.labels.shape[:2], label_map.frame_size),
    )
    first_row, first_column = one.piece.first
    return _Located(instrument, n, first_row=first_row, first_column=first_column)


def _tip_candidates(label_map: _LabelMap, piece: Piece, entry: Entry | None) -> NDArray[np.bool_]:
    """Pixels of tip parts if there are enough, else all but those of the entry (section 6)."""
    region = piece.region
    for ids in (piece.group.tip_ids, piece.group.else_tip_ids):
        if ids:
            tips: NDArray[np.bool_] = mask_of(region.crop(label_map.labels), ids) & region.mask
            if cv2.countNonZero(tips.view(np.uint8)) >= MIN_TIP_PIXELS:
                return tips
    if entry is None:
        return region.mask
    candidates: NDArray[np.bool_] = region.mask.copy()
    candidates[entry.rows, entry.columns] &= ~entry.cluster
    return candidates


def _of_farthest_fragment(
    piece: Piece, candidates: NDArray[np.bool_], start: Point
) -> NDArray[np.bool_]:
    """Those candidates that are in the fragment of the first farthest one (section 6)."""
    if piece.fragment_of is None or not candidates.any():
        return candidates
    dx = piece.region.column_centres() - start[0]
    dy = piece.region.row_centres() - start[1]
    square = (dx * dx)[None, :] + (dy * dy)[:, None]
    farthest = int(np.where(candidates, square, -1.0).argmax())
    same: NDArray[np.bool_] = piece.fragment_of == piece.fragment_of.ravel()[farthest]
    return same & candidates
