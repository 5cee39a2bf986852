"""Location on a device: tables of integers come back, and the rules of the CPU are applied to them.

    instruments = locate_on_device(kernels, labels, None, table, (1080, 1920))

The result equals that of `trocar.runtime.locate.instruments.locate` to the last bit; masks are not
kept. The kernels are those of ``trocar.cuda_kernels.location``, which this package does not import:
it takes what satisfies `LocationDevice`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trocar.contract.classes import ClassTable
from trocar.contract.location import LocationOptions
from trocar.contract.results import Instrument, Point
from trocar.runtime.device_memory.pieces import Border, DevicePiece, united
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.groups import DEFAULTS, Group, instrument_groups
from trocar.runtime.locate.instruments import MAX_VARIANCE_RATIO
from trocar.runtime.locate.measures import axis_of, towards_tips
from trocar.runtime.locate.rules.fragments import join_fragments
from trocar.runtime.locate.rules.selection import Scored, best_of, is_long

_REGIONS, _BORDERS, _SHAFTS = range(3)
_FLOAT_UNIT = 2.0**-24  # what one of a sum of float16 confidences is worth


@dataclass(frozen=True, kw_only=True)
class SplitRegion:
    """A region that several shafts enter: first pixel, box, pixels; root and key of each shaft."""

    root: int
    box: tuple[int, int, int, int]
    pixels: int
    shafts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class TipRequest:
    """An instrument whose tips are searched; the attributes are those of the kernels' protocol."""

    roots: tuple[int, ...]
    box: tuple[int, int, int, int]
    pixels: int
    entry: int
    group: Group
    start: Point | None
    axis: Point
    centre: Point
    area: float
    unit: float


class LocationDevice(Protocol):
    """Kernels of location: ``trocar.cuda_kernels.location.kernels.LocationKernels``."""

    def components(
        self,
        labels: Any,
        confidence: Any,
        *,
        groups: Sequence[Group],
        frame_size: tuple[int, int],
        border: int,
        min_pixels: int,
        view: FieldOfView | None,
        view_border: float,
        mask_outside: bool,
    ) -> Any:
        """Regions, borders and shafts; its ``table`` is here, the rest on the device."""
        ...

    def split(self, maps: Any, regions: Sequence[SplitRegion], *, min_pixels: int) -> Any:
        """The same with regions split among their shafts."""
        ...

    def tips(self, maps: Any, requests: Sequence[TipRequest]) -> Sequence[Any]:
        """``start`` and ``tips`` of each request."""
        ...


def locate_on_device(
    device: LocationDevice,
    labels: Any,
    confidence: Any,
    table: ClassTable,
    frame_size: tuple[int, int],
    options: LocationOptions = DEFAULTS,
    *,
    view: FieldOfView | None = None,
) -> tuple[Instrument, ...]:
    """Finds the instruments of a label map in device memory.

    Args:
        device: The kernels.
        labels: ``[h, w]`` uint8 class ids, as the kernels take them.
        confidence: ``[h, w]`` float16 or float32 0..1, or uint8 0..255, or ``None``.
        table: What the ids mean; only rows with ``instrument`` are located.
        frame_size: ``(height, width)`` of the frame; results are in its pixels.
        options: Thresholds.
        view: The endoscope's field of view; ``None`` for the full frame.

    Returns:
        Instruments ordered by class id, area descending, then first pixel (row, column).

    Raises:
        ArgumentError: The maps are of another type or size, or the confidence is not finite.
    """
    h, w = labels.shape
    scale = frame_size[1] / w, frame_size[0] / h
    min_pixels = max(options.min_pixels, int(h * w * options.min_area))
    groups = instrument_groups(table, options)
    rim = 0.0
    if view is not None:
        rim = max(options.border * max(scale), options.view_border * view.radius)
    maps = device.components(
        labels,
        confidence,
        groups=groups,
        frame_size=frame_size,
        border=options.border,
        min_pixels=min_pixels,
        view=view,
        view_border=rim,
        mask_outside=options.mask_outside_view,
    )
    records = maps.table
    regions = records[records["plane"] == _REGIONS]
    if options.max_regions and len(regions) > options.max_regions:
        largest_first = np.lexsort((regions["root"], -regions["pixels"]))
        regions = regions[largest_first[: options.max_regions]]
    kept = {int(region["root"]) for region in regions}
    group_of = dict(enumerate(groups, start=1))
    splits = _splits(regions, records[records["plane"] == _SHAFTS], len(groups), w)
    if splits:
        for region, split in splits:
            group_of.update({key: group_of[int(region["key"])] for _, key in split.shafts})
        maps = device.split(maps, [split for _, split in splits], min_pixels=min_pixels)
        records = maps.table
    borders: dict[int, list[Border]] = {}
    for one in records[records["plane"] == _BORDERS]:
        part = int(one["root"]), int(one["pixels"]), int(one["x"]), int(one["y"])
        borders.setdefault(int(one["region"]), []).append(part)
    pieces = [
        DevicePiece.of(
            one,
            group_of[int(one["key"])],
            borders.get(int(one["root"]), ()),
            scale=scale,
            width=w,
            deepest=_depth_of(int(one["deepest"])),
        )
        for one in records[records["plane"] == _REGIONS]
        if int(one["key"]) > len(groups) or int(one["root"]) in kept
    ]
    if options.max_gap:
        pieces = join_fragments(pieces, options, united)
    most = options.strip_depth * min(frame_size)
    scored = [
        Scored(piece, _score(piece, confidence)) for piece in pieces if not _is_strip(piece, most)
    ]
    centre = (frame_size[1] / 2, frame_size[0] / 2) if view is None else (view.x, view.y)
    return _measured(device, maps, best_of(scored, options), centre)


def _splits(regions: Any, shafts: Any, keys: int, width: int) -> list[tuple[Any, SplitRegion]]:
    """Regions that two shafts or more enter (section 3); their parts get keys of their own."""
    entering: dict[int, list[int]] = {}
    for shaft in shafts[shafts["border_pixels"] > 0]:  # in order of their first pixels
        entering.setdefault(int(shaft["region"]), []).append(int(shaft["root"]))
    splits = []
    for region in regions:
        roots = entering.get(int(region["root"]), [])
        if len(roots) > 1:
            root = int(region["root"])
            split = SplitRegion(
                root=root,
                box=(
                    root // width,
                    int(region["left"]),
                    int(region["bottom"]) + 1,
                    int(region["right"]) + 1,
                ),
                pixels=int(region["pixels"]),
                shafts=tuple((shaft, keys + i) for i, shaft in enumerate(roots, start=1)),
            )
            splits.append((region, split))
            keys += len(roots)
    return splits


def _score(piece: DevicePiece, confidence: Any) -> float:
    """Mean confidence, 0..1 (section 4)."""
    n = piece.moments.n
    if confidence is None:
        return 1.0
    if str(confidence.dtype).rpartition(".")[2] == "uint8":
        return piece.confidence / (255 * n)
    return piece.confidence * _FLOAT_UNIT / n


def _is_strip(piece: DevicePiece, most: float) -> bool:
    """Whether it lies along the border (section 3b)."""
    if most == 0 or piece.deepest > most:
        return False
    return is_long(piece.moments, piece.scale, piece.deepest)


def _depth_of(bits: int) -> float:
    """The double that a record's integer of the same order stands for."""
    value = np.array(bits if bits >= 0 else bits ^ 0x7FFFFFFFFFFFFFFF, np.int64)
    return float(value.view(np.float64))


def _measured(
    device: LocationDevice, maps: Any, chosen: Sequence[Scored[DevicePiece]], centre: Point
) -> tuple[Instrument, ...]:
    """The instruments of pieces, in the order of the result (sections 4 to 7)."""
    requests: list[TipRequest] = []
    request_of: list[int | None] = []
    for one in chosen:
        request = _tip_request(one.piece, centre)
        request_of.append(None if request is None else len(requests))
        requests += [] if request is None else [request]
    answers = device.tips(maps, requests) if requests else ()
    located = [
        (_instrument(one, None if index is None else answers[index]), one.piece)
        for one, index in zip(chosen, request_of, strict=True)
    ]
    located.sort(key=_result_order)
    return tuple(instrument for instrument, _ in located)


def _result_order(one: tuple[Instrument, DevicePiece]) -> tuple[int, int, tuple[int, int]]:
    """By class id, pixels descending, first pixel."""
    instrument, piece = one
    return instrument.class_id, -piece.moments.n, piece.first


def _tip_request(piece: DevicePiece, centre: Point) -> TipRequest | None:
    """What the device is asked about a piece; ``None`` if it has no start (section 5)."""
    axis, entry = axis_of(piece.moments, piece.scale), piece.entry
    if entry is None and axis.variance_ratio > MAX_VARIANCE_RATIO:
        return None
    return TipRequest(
        roots=piece.roots,
        box=piece.box,
        pixels=piece.moments.n,
        entry=-1 if entry is None else entry[0],
        group=piece.group,
        start=None if entry is None else _border_mean(entry, piece.scale),
        axis=axis.direction,
        centre=centre,
        area=piece.moments.n * piece.scale[0] * piece.scale[1],
        unit=max(piece.scale),
    )


def _instrument(one: Scored[DevicePiece], answer: Any) -> Instrument:
    piece = one.piece
    (sx, sy), moments = piece.scale, piece.moments
    axis = axis_of(moments, piece.scale).direction
    entry = None if piece.entry is None else _border_mean(piece.entry, piece.scale)
    tips: tuple[Point, ...] = ()
    if answer is not None:
        points = [_mean_point(n, x, y, piece.scale) for n, x, y in answer.tips]
        tips = tuple(sorted(points, key=_by_row))
        axis = towards_tips(axis, answer.start, tips)
    top, left, bottom, right = piece.box
    return Instrument(
        class_id=piece.group.class_id,
        class_name=piece.group.name,
        score=one.score,
        box=(left * sx, top * sy, right * sx, bottom * sy),
        centroid=_mean_point(moments.n, moments.x, moments.y, piece.scale),
        area=moments.n * sx * sy,
        axis=axis,
        angle=math.degrees(math.atan2(axis[1], axis[0])),
        tips=tips,
        entry=entry,
        touches_border=entry is not None,
    )


def _border_mean(border: Border, scale: Point) -> Point:
    _, n, x, y = border
    return _mean_point(n, x, y, scale)


def _mean_point(n: int, x: int, y: int, scale: Point) -> Point:
    return (x / n + 0.5) * scale[0], (y / n + 0.5) * scale[1]


def _by_row(point: Point) -> Point:
    return point[1], point[0]
