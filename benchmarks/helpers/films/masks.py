"""The pixels of each located instrument, and of each true one.

groups = groups_of(session.classes, session.options)
masks = masks_of_found(result.labels, result.instruments, groups, frame_size=result.frame_size)

A result states boxes, areas and axes, not pixels. They are found again from the label map: a
connected region belongs to the instrument whose box contains it, the smallest such box first, until
the instrument's area is reached. A region that no box contains was split between instruments: its
pixels go to the instrument whose axis is nearest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.results import Instrument
from trocar.runtime.locate.instruments import instrument_groups

Mask = NDArray[np.bool_]
Groups = Mapping[int, frozenset[int]]
"""Class ids of an instrument by the class id that it is reported with."""


@dataclass
class _Open:
    """An instrument whose pixels are still looked for.

    Attributes:
        box: ``(x0, y0, x1, y1)`` in pixels of the label map, half open.
        missing: Pixels that are still missing.
    """

    instrument: Instrument
    box: tuple[int, int, int, int]
    ids: frozenset[int]
    missing: int
    mask: Mask


def groups_of(table: ClassTable, options: Any) -> Groups:
    """The class ids that form each kind of instrument; ``options`` are those of the session."""
    return {group.class_id: frozenset(group.ids) for group in instrument_groups(table, options)}


def masks_of_found(
    labels: NDArray[np.uint8],
    instruments: Sequence[Instrument],
    groups: Groups,
    *,
    frame_size: tuple[int, int],
) -> list[Mask]:
    """The mask ``[h, w]`` of each instrument, at the size of the label map."""
    height, width = labels.shape
    sx, sy = frame_size[1] / width, frame_size[0] / height
    wanted = [
        _Open(
            instrument=one,
            box=(
                round(one.box[0] / sx),
                round(one.box[1] / sy),
                round(one.box[2] / sx),
                round(one.box[3] / sy),
            ),
            ids=groups[one.class_id],
            missing=round(one.area / (sx * sy)),
            mask=np.zeros(labels.shape, bool),
        )
        for one in instruments
    ]
    for ids in {one.ids for one in wanted}:
        _share(labels, [one for one in wanted if one.ids == ids], ids, scale=(sx, sy))
    # The tracker may report another class than that of the pixels in this frame.
    renamed = [one for one in wanted if not one.mask.any()]
    if renamed:
        taken = np.logical_or.reduce([one.mask for one in wanted])
        free = np.where(taken, 0, labels).astype(np.uint8)
        every = frozenset(index for ids in groups.values() for index in ids)
        _share(free, renamed, every, scale=(sx, sy))
    return [one.mask for one in wanted]


def _share(
    labels: NDArray[np.uint8],
    wanted: list[_Open],
    ids: frozenset[int],
    *,
    scale: tuple[float, float],
) -> None:
    group = np.isin(labels, sorted(ids)).astype(np.uint8)
    count, regions, stats, _ = cv2.connectedComponentsWithStats(group, connectivity=8)
    for index in sorted(range(1, count), key=lambda i: -int(stats[i, cv2.CC_STAT_AREA])):
        x, y, w, h, area = (int(v) for v in stats[index])
        around = [one for one in wanted if _contains(one.box, (x, y, x + w, y + h))]
        fitting = [one for one in around if one.missing >= area]
        if fitting:
            # The box that fits most tightly; equal boxes: what is missing most exactly.
            chosen = min(fitting, key=lambda one: (_area(one.box), one.missing - area))
            chosen.mask |= regions == index
            chosen.missing -= area
        else:
            split = [o for o in wanted if o.missing > 0 and _overlap(o.box, (x, y, x + w, y + h))]
            _split(regions == index, split, scale)


def _split(region: Mask, wanted: list[_Open], scale: tuple[float, float]) -> None:
    """Gives each pixel to the nearest axis among the instruments whose box holds it."""
    if not wanted:
        return
    rows, columns = np.nonzero(region)
    distance = np.full((len(wanted), len(rows)), np.inf)
    for index, one in enumerate(wanted):
        x0, y0, x1, y1 = one.box
        inside = (columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)
        dx = (columns[inside] + 0.5) * scale[0] - one.instrument.centroid[0]
        dy = (rows[inside] + 0.5) * scale[1] - one.instrument.centroid[1]
        ax, ay = one.instrument.axis
        distance[index, inside] = np.abs(dx * ay - dy * ax)
    nearest = distance.argmin(0)
    for index, one in enumerate(wanted):
        own = (nearest == index) & np.isfinite(distance[index])
        if own.sum() > 2 * one.missing + 16:
            continue  # a region that the runtime dropped, beside or inside this instrument
        one.mask[rows[own], columns[own]] = True
        one.missing -= int(own.sum())


def _contains(outer: tuple[int, ...], inner: tuple[int, ...]) -> bool:
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and outer[2] >= inner[2]
        and outer[3] >= inner[3]
    )


def _overlap(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def _area(box: tuple[int, ...]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def overlaps(truth: Sequence[Mask], found: Sequence[Mask]) -> NDArray[np.float64]:
    """IoU of each true with each found mask, ``[true, found]``."""
    result = np.zeros((len(truth), len(found)))
    true_sizes, found_sizes = [int(m.sum()) for m in truth], [int(m.sum()) for m in found]
    for i, true in enumerate(truth):
        for j, other in enumerate(found):
            both = int((true & other).sum())
            result[i, j] = both / max(1, true_sizes[i] + found_sizes[j] - both)
    return result


def shrink_labels(ids: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Ids at ``(height, width)`` by the nearest pixel centre."""
    if ids.shape == size:
        return ids
    return np.asarray(cv2.resize(ids, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT))
