"""The part of a label map that a result reports: regions that are no instruments are left out.

    labels = reported_labels(result.labels, result.instruments, table, result.frame_size)

A surgeon who sees a coloured patch takes it for something that was found. Location and persistence
leave specks, strips and uncertain regions out of the result; an overlay of the whole map would
still colour them.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.results import Instrument

TOLERANCE = 1.0
"""Pixels of the label map by which a region may leave the box of its instrument."""

MIN_PIXELS = 16
"""Pixels of the smallest region that counts as a fragment of an instrument, as for location."""


def reported_labels(
    labels: NDArray[np.uint8],
    instruments: Sequence[Instrument],
    table: ClassTable,
    frame_size: tuple[int, int],
) -> NDArray[np.uint8]:
    """The labels without connected regions of instrument classes that belong to no instrument.

    A region belongs to an instrument if its box lies in the instrument's and it is no speck, or if
    the instrument's box lies in its own, as when several instruments touch. Other classes are left
    as they are.

    Args:
        labels: ``[h, w]`` uint8 class ids.
        instruments: What the result reports, in frame pixels.
        table: Says which classes are instruments.
        frame_size: ``(height, width)`` of the frame.
    """
    is_instrument = np.zeros(256, np.uint8)
    is_instrument[[row.id for row in table if row.instrument]] = 1
    mask = np.asarray(cv2.LUT(labels, is_instrument))
    # Instruments fill a part of the frame, and the search takes its time by the pixel.
    x, y, w, h = cv2.boundingRect(mask)
    if not w:
        return labels
    part = slice(y, y + h), slice(x, x + w)
    count, regions, stats, _ = cv2.connectedComponentsWithStats(mask[part], connectivity=8)
    kept = np.zeros(count, np.bool_)
    kept[0] = True
    if instruments:
        scale = np.array([labels.shape[1] / frame_size[1], labels.shape[0] / frame_size[0]] * 2)
        boxes = np.array([one.box for one in instruments]) * scale
        first, size = stats[1:, :2] + np.array((x, y)), stats[1:, 2:4]
        found = np.concatenate([first, first + size], axis=1).astype(np.float64)
        is_fragment = (stats[1:, cv2.CC_STAT_AREA] >= MIN_PIXELS)[:, None]
        kept[1:] = (_inside(found, boxes) & is_fragment | _inside(boxes, found).T).any(axis=1)
    if kept.all():
        return labels
    reported: NDArray[np.uint8] = labels.copy()
    reported[part][~kept[regions]] = 0
    return reported


def reported_instances(
    instances: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    instruments: Sequence[Instrument],
    *,
    all_of: bool,
) -> tuple[NDArray[np.uint8], dict[int, int]]:
    """The map of instances to draw, and the class of each number in it.

    Args:
        instances: ``[h, w]`` numbers of instances, 0 for none.
        labels: ``[h, w]`` class ids of the same pixels.
        instruments: What the result reports.
        all_of: Whether instances that are not reported stay in the map.
    """
    numbers, first = np.unique(instances, return_index=True)
    class_of = dict(zip(numbers.tolist(), labels.ravel()[first].tolist(), strict=True))
    class_of.pop(0, None)
    # Over time an instrument can have another class than in this frame.
    class_of |= {one.instance: one.class_id for one in instruments if one.instance in class_of}
    if not all_of:
        reported = {one.instance for one in instruments}
        class_of = {number: row for number, row in class_of.items() if number in reported}
        keeps = np.zeros(256, np.uint8)
        keeps[list(class_of)] = list(class_of)
        instances = np.asarray(cv2.LUT(instances, keeps))
    return instances, class_of


def _inside(inner: NDArray[np.float64], outer: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each box ``[N, 4]`` lies in each of ``[M, 4]``: ``[N, M]``."""
    low = (inner[:, None, :2] >= outer[None, :, :2] - TOLERANCE).all(axis=2)
    high = (inner[:, None, 2:] <= outer[None, :, 2:] + TOLERANCE).all(axis=2)
    return np.asarray(low & high)
