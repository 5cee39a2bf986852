"""Converts masks to regions, polygons and run lengths and back, without loss.

for region in regions_of(mask): polygons = polygons_of(region.mask)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX

Polygon = NDArray[np.int32]
"""``[N, 2]`` x and y in pixels, N at least 3."""

_FARTHEST = 1e6


@dataclass(frozen=True, kw_only=True)
class Region:
    """A connected region of one class, or one instance.

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


def regions_of(
    mask: NDArray[np.uint8], instances: NDArray[np.unsignedinteger[Any]] | None = None
) -> list[Region]:
    """The regions of all classes except background, by class, then top to bottom.

    Args:
        mask: ``[H, W]`` class ids.
        instances: ``[H, W]`` instance numbers: the pixels of one class and number are one region.
            Without it, and where the number is 0, regions are 8-connected.
    """
    found = []
    for class_id in np.unique(mask):
        if class_id in (0, IGNORE_INDEX):
            continue
        here = mask == class_id
        for number in np.unique(instances[here]) if instances is not None else ():
            if number:
                found.append(_region(int(class_id), here & (instances == number)))
        free = here if instances is None else here & (instances == 0)
        count, regions, _, _ = cv2.connectedComponentsWithStats(free.view(np.uint8))
        found += [_region(int(class_id), regions == i) for i in range(1, count)]
    return found


def _region(class_id: int, mask: NDArray[np.bool_]) -> Region:
    x, y, width, height = (int(v) for v in cv2.boundingRect(mask.view(np.uint8)))
    return Region(
        class_id=class_id, mask=mask, box=(x, y, width, height), area=int(np.count_nonzero(mask))
    )


def polygons_of(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Polygons through pixel centres whose filled union, outlines included, is exactly the mask.

    LabelMe fills so. A region with a hole is cut in two through the hole: most formats cannot
    represent holes.
    """
    return [_at_least_three(_contour(part) + corner) for corner, part in _solid_parts(mask)]


def edge_polygons_of(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Polygons along the edges of pixels whose filled union is exactly the mask.

    COCO and CVAT fill so: (0, 0) is the corner of the first pixel. Holes are cut as in
    `polygons_of`.
    """
    polygons = []
    for corner, part in _solid_parts(mask):
        # Of a picture of twice the size, the contour runs beside the edges: 2x and 2x + 1 are pixel
        # x, and its left and right edges are x and x + 1.
        edges = (_contour(np.repeat(np.repeat(part, 2, 0), 2, 1)) + 1) // 2
        changed = (edges != np.roll(edges, 1, 0)).any(1)
        polygons.append(np.asarray(edges[changed] + corner, np.int32))
    return polygons


def _contour(part: NDArray[np.bool_]) -> Polygon:
    contours, _ = cv2.findContours(part.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.asarray(contours[0].reshape(-1, 2), np.int32)


def _solid_parts(
    mask: NDArray[np.bool_],
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.bool_]]]:
    """8-connected parts without holes, each in its box, with the x and y of the box."""
    contours, tree = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    for index, contour in enumerate(contours):
        _, _, child, parent = (int(v) for v in tree[0][index])
        if parent >= 0:
            continue
        x, y, width, height = cv2.boundingRect(contour)
        part = np.zeros((height, width), np.uint8)
        cv2.drawContours(part, [contour], -1, 1, cv2.FILLED, offset=(-x, -y))
        corner = np.array([x, y], np.int32)
        solid = part.view(np.bool_)
        if child < 0:
            yield corner, solid
            continue
        solid &= mask[y : y + height, x : x + width]
        hole, _, across, _ = cv2.boundingRect(contours[child])
        cut = hole + across // 2 - x
        for start, stop in ((0, cut), (cut, width)):
            half = np.zeros_like(solid)
            half[:, start:stop] = solid[:, start:stop]
            for deeper, found in _solid_parts(half):
                yield deeper + corner, found


def fill_polygons(
    polygons: Sequence[NDArray[np.float64] | Polygon], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """The union ``[H, W]`` of polygons, outlines included."""
    mask = np.zeros(size, np.uint8)
    for polygon in polygons:
        corners = np.round(np.asarray(polygon, np.float64)).astype(np.int32)
        cv2.fillPoly(mask, [corners.reshape(-1, 1, 2)], 1)
    return mask.astype(bool)


def fill_polygons_coco(
    polygons: Sequence[NDArray[np.float64]], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """The union ``[H, W]`` of polygons by the rule of COCO and YOLO, as ``pycocotools`` fills them.

    Args:
        polygons: ``[N, 2]`` x and y, N at least 3; (0, 0) is the corner of the first pixel.
        size: Height and width in pixels.
    """
    from pycocotools import mask as coco

    if not polygons:
        return np.zeros(size, bool)
    flat = [np.asarray(polygon, np.float64).ravel().tolist() for polygon in polygons]
    merged = coco.merge(coco.frPyObjects(flat, *size))
    runs = runs_from_text(merged["counts"].decode("ascii"))
    return decode_runs(runs, size[0] * size[1]).reshape(size, order="F")


def check_coordinates(numbers: NDArray[np.float64]) -> None:
    """Refuses coordinates that are no pixels; filling such a polygon would need all memory.

    Raises:
        ValueError: A number is not finite, or larger than any picture.
    """
    odd = numbers[~(np.abs(numbers) < _FARTHEST)]
    if odd.size:
        raise ValueError(f"has the coordinate {odd[0]:g}, expected pixels of the image")


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


def text_from_runs(runs: Sequence[int]) -> str:
    """COCO's compressed text: differences to the run before last, 5 bits per character."""
    out = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            bits = value & 0x1F
            value >>= 5
            done = (value == -1) if bits & 0x10 else (value == 0)
            out.append(chr((bits if done else bits | 0x20) + 48))
            if done:
                break
    return "".join(out)


def runs_from_text(text: str) -> list[int]:
    """Run lengths of COCO's compressed text.

    Raises:
        ValueError: The text is truncated or has other characters.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"run lengths hold the character {character!r}")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("run lengths break off")
    return runs


def _at_least_three(points: NDArray[np.int32]) -> Polygon:
    while len(points) < 3:  # a point or a line: the formats need three corners
        points = np.concatenate((points, points[-1:]))
    return points
