"""Finds the regions of a label map.

    regions = find_regions(labels, groups, limits, (3.0, 2.1))

Section 2 of ``docs/location.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import Point
from trocar.runtime.locate.groups import Group
from trocar.runtime.locate.region import Region, connected_components

MAX_COUNTED_SEPARATELY = 12
"""Components up to which each is counted in a pass of its own; above, one histogram is faster."""


@dataclass(frozen=True)
class _Found:
    """A region before its mask is made: its rectangle in an array of component numbers."""

    group: Group
    components: NDArray[Any]
    number: int
    offset: tuple[int, int]
    box: tuple[int, int, int, int]
    pixels: int

    def region(self, scale: Point) -> Region:
        x, y, w, h = self.box
        mask = self.components[y : y + h, x : x + w] == self.number
        return Region(mask, self.offset[0] + y, self.offset[1] + x, scale)

    def largest_first(self) -> tuple[int, int, int]:
        x, y, w, _ = self.box
        column = int((self.components[y, x : x + w] == self.number).argmax())
        return -self.pixels, self.offset[0] + y, self.offset[1] + x + column


@dataclass(frozen=True, kw_only=True)
class RegionLimits:
    """Which regions are looked at.

    Attributes:
        min_pixels: Pixels of the smallest region.
        max_regions: Number of regions of all groups, the largest ones; 0 for all.
    """

    min_pixels: int
    max_regions: int


def find_regions(
    labels: NDArray[np.uint8], groups: Sequence[Group], limits: RegionLimits, scale: Point
) -> Iterator[tuple[Group, Region]]:
    """The 8-connected regions of each group that are large enough.

    Args:
        labels: ``[h, w]`` class ids.
        groups: Kinds of instruments.
        limits: Which regions are looked at.
        scale: ``(sx, sy)`` frame pixels per label pixel.
    """
    found: list[_Found] = []
    # Most classes are absent: searching for one byte is the quickest way to see it.
    data = labels.tobytes()
    for group in groups:
        ids = [label for label in group.ids if bytes((label,)) in data]
        if ids:
            mask = mask_of(labels, ids)
            if cv2.countNonZero(mask.view(np.uint8)) >= limits.min_pixels:
                found += _found_in(mask, group, limits.min_pixels)
    if limits.max_regions and len(found) > limits.max_regions:
        found = sorted(found, key=_Found.largest_first)[: limits.max_regions]
    for one in found:
        yield one.group, one.region(scale)


def mask_of(labels: NDArray[np.uint8], ids: Sequence[int]) -> NDArray[np.bool_]:
    """Where the labels are one of these ids.

    >>> mask_of(np.array([[0, 1, 2]], np.uint8), (1, 2)).tolist()
    [[False, True, True]]
    """
    mask: NDArray[np.bool_] = labels == ids[0]
    for other in ids[1:]:
        mask |= labels == other
    return mask


def _found_in(mask: NDArray[np.bool_], group: Group, min_pixels: int) -> list[_Found]:
    """The regions of one group."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    count, components = connected_components(mask[y : y + h, x : x + w].copy())
    return [
        _Found(group, components, number, (y, x), box, pixels)
        for number, (box, pixels) in enumerate(_boxes(components, count), start=1)
        if pixels >= min_pixels
    ]


def _boxes(components: NDArray[Any], count: int) -> Iterator[tuple[tuple[int, int, int, int], int]]:
    """Rectangle ``(x, y, w, h)`` and number of pixels of each component from 1 on, in order.

    >>> list(_boxes(np.array([[1, 0, 2], [0, 0, 2]], np.uint16), 3))
    [((0, 0, 1, 1), 1), ((2, 0, 1, 2), 2)]
    """
    if count <= MAX_COUNTED_SEPARATELY:
        for number in range(1, count):
            mask = (components == number).view(np.uint8)
            x, y, w, h = cv2.boundingRect(mask)
            yield (x, y, w, h), cv2.countNonZero(mask)
        return
    # One pass for all; the cost of a pass for each would be their number times the map.
    h, w = components.shape
    rows, columns = np.nonzero(components)
    owner = components[rows, columns]
    sizes = np.bincount(owner, minlength=count)
    top, left = np.full(count, h), np.full(count, w)
    bottom, right = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.minimum.at(top, owner, rows)
    np.minimum.at(left, owner, columns)
    np.maximum.at(bottom, owner, rows)
    np.maximum.at(right, owner, columns)
    for i in range(1, count):
        box = left[i], top[i], right[i] - left[i] + 1, bottom[i] - top[i] + 1
        yield (int(box[0]), int(box[1]), int(box[2]), int(box[3])), int(sizes[i])
