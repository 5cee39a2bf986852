"""Converts masks to regions, polygons and run lengths and back, without loss.

for region in regions_of(mask): polygons = polygons_of(region.mask)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX

Polygon = NDArray[np.int32]
"""``[N, 2]`` x and y of pixel centres, N at least 3."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A connected region of one class.

    Attributes:
        class_id: Its class.
        mask: ``[H, W]`` bool.
        box: Left, top, width, height in pixels.
        area: Number of pixels.
    """

    class_id: int
    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    area: int


def regions_of(mask: NDArray[np.uint8]) -> list[Region]:
    """The 8-connected regions of all classes except background, by class, then top to bottom."""
    found = []
    for class_id in np.unique(mask):
        if class_id in (0, IGNORE_INDEX):
            continue
        count, regions, stats, _ = cv2.connectedComponentsWithStats(
            (mask == class_id).view(np.uint8)
        )
        for i in range(1, count):
            x, y, w, h, area = (int(v) for v in stats[i])
            found.append(
                Region(class_id=int(class_id), mask=regions == i, box=(x, y, w, h), area=area)
            )
    return found


def polygons_of(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Polygons whose filled union, outlines included, is exactly the mask.

    A region with a hole is cut in two through the hole: most formats cannot represent holes.
    """
    contours, tree = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    polygons: list[Polygon] = []
    for index, contour in enumerate(contours):
        _, _, child, parent = (int(v) for v in tree[0][index])
        if parent >= 0:
            continue
        if child < 0:
            polygons.append(_at_least_three(np.asarray(contour.reshape(-1, 2), np.int32)))
            continue
        x, _, w, _ = cv2.boundingRect(contours[child])
        outer = np.zeros(mask.shape, np.uint8)
        cv2.drawContours(outer, [contour], -1, 1, cv2.FILLED)
        region = (outer > 0) & mask
        cut = x + w // 2
        left, right = region.copy(), region.copy()
        left[:, cut:] = False
        right[:, :cut] = False
        polygons += polygons_of(left) + polygons_of(right)
    return polygons


def fill_polygons(
    polygons: Sequence[NDArray[np.float64] | Polygon], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """The union ``[H, W]`` of polygons, outlines included."""
    mask = np.zeros(size, np.uint8)
    for polygon in polygons:
        corners = np.round(np.asarray(polygon, np.float64)).astype(np.int32)
        cv2.fillPoly(mask, [corners.reshape(-1, 1, 2)], 1)
    return mask.astype(bool)


def encode_runs(flat: NDArray[np.bool_]) -> list[int]:
    """Run lengths of a flat mask; the first run is outside the mask."""
    edges = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0))
    bounds = np.concatenate(([0], edges, [flat.size])).astype(np.int64)
    return [int(v) for v in np.diff(bounds)]


def check_runs(runs: Sequence[int] | NDArray[np.integer], count: int) -> None:
    """Refuses run lengths that do not cover an image.

    Raises:
        ValueError: Their sum is not ``count``, or one is negative.
    """
    total = int(sum(runs))
    if total != count or any(run < 0 for run in runs):
        raise ValueError(f"run lengths cover {total} of {count} pixels")


def decode_runs(runs: Sequence[int] | NDArray[np.integer], count: int) -> NDArray[np.bool_]:
    """The flat mask of run lengths.

    Raises:
        ValueError: Their sum is not ``count``, or one is negative.
    """
    check_runs(runs, count)
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs)


def _at_least_three(points: NDArray[np.int32]) -> Polygon:
    while len(points) < 3:  # a point or a line: the formats need three corners
        points = np.concatenate((points, points[-1:]))
    return points
