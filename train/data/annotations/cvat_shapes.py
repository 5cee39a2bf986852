"""The shapes of CVAT that have an area: polygons, boxes, ellipses and masks.

    shape = parse_shape(element, "grasper"); mask = draw_shape(shape, (480, 640))

Polygons are filled by the rule of COCO: CVAT exports its masks with ``pycocotools``.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trocar.train.data.annotations.regions import (
    check_coordinates,
    check_runs,
    decode_runs,
    fill_polygons_coco,
)

AREAS = ("polygon", "mask", "box", "ellipse")
LINES = ("polyline",)
POINTS = ("points", "skeleton")
UNREAD = ("cuboid",)
_KEYS = {"box": ("xtl", "ytl", "xbr", "ybr"), "ellipse": ("cx", "cy", "rx", "ry")}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One shape.

    Attributes:
        tag: ``polygon``, ``mask``, ``box`` or ``ellipse``.
        label: Its class name.
        numbers: Of a polygon x and y in turn; of a box left, top, right, bottom; of an ellipse
            centre and radii; of a mask left, top, width, height.
        rotation: Degrees, clockwise, about the centre of a box or an ellipse.
        runs: Run lengths of a mask, row by row; ``None`` for others.
    """

    tag: str
    label: str
    numbers: NDArray[np.float64]
    rotation: float = 0.0
    runs: NDArray[np.int64] | None = None


def parse_shape(element: ET.Element, label: str) -> Shape:
    """Reads one shape.

    Raises:
        ValueError: A number is missing or is no number.
    """
    try:
        rotation = float(element.get("rotation", "0"))
        if element.tag == "polygon":
            pairs = [pair.split(",") for pair in element.attrib["points"].split(";")]
            numbers = np.array(pairs, np.float64).ravel()
            if len(numbers) < 6:
                raise ValueError(f"has {len(numbers) // 2} points, needs 3")
        elif element.tag == "mask":
            keys = ("left", "top", "width", "height")
            numbers = np.array([int(element.attrib[key]) for key in keys], np.float64)
            runs = np.array([int(run) for run in element.attrib["rle"].split(",")], np.int64)
            check_runs(runs, int(numbers[2] * numbers[3]))
            return Shape(tag=element.tag, label=label, numbers=numbers, runs=runs)
        else:
            numbers = np.array([float(element.attrib[key]) for key in _KEYS[element.tag]])
    except KeyError as error:
        raise ValueError(f"{error} is missing") from error
    check_coordinates(np.append(numbers, rotation))
    return Shape(tag=element.tag, label=label, numbers=numbers, rotation=rotation)


def between(first: Shape, second: Shape, fraction: float) -> Shape:
    """The shape between two keyframes, linearly; the first where the two do not correspond.

    Args:
        first: Shape of the earlier keyframe.
        second: Shape of the later keyframe.
        fraction: 0 at the first, 1 at the second.
    """
    if not fraction or not correspond(first, second):
        return first
    turn = (second.rotation - first.rotation + 180) % 360 - 180
    return replace(
        first,
        numbers=(1 - fraction) * first.numbers + fraction * second.numbers,
        rotation=first.rotation + fraction * turn,
    )


def correspond(first: Shape, second: Shape) -> bool:
    """Whether two shapes of a track have the same kind and number of points, and are no masks."""
    same = first.tag == second.tag and len(first.numbers) == len(second.numbers)
    return same and first.tag != "mask"


def draw_shape(shape: Shape, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The region ``[H, W]`` of a shape; what lies outside the image is cut off."""
    if shape.tag == "polygon":
        return fill_polygons_coco([shape.numbers.reshape(-1, 2)], size)
    mask = np.zeros(size, bool)
    if shape.tag == "mask":
        left, top, width, height = (int(value) for value in shape.numbers)
        assert shape.runs is not None
        inside = decode_runs(shape.runs, width * height).reshape(height, width)
        y, x = max(top, 0), max(left, 0)
        view = mask[y : max(top + height, 0), x : max(left + width, 0)]
        view |= inside[y - top :, x - left :][: view.shape[0], : view.shape[1]]
        return mask
    if shape.tag == "box" and shape.rotation % 360 == 0:
        x0, y0, x1, y1 = (max(round(float(value)), 0) for value in shape.numbers)
        mask[y0:y1, x0:x1] = True
        return mask
    centre, radii = shape.numbers[:2], shape.numbers[2:]
    if shape.tag == "box":
        centre, radii = (centre + radii) / 2, (radii - centre) / 2
    along, across = _turned(size, centre, shape.rotation)
    if shape.tag == "box":
        return np.asarray((np.abs(along) < radii[0]) & (np.abs(across) < radii[1]))
    if not (radii > 0).all():
        return mask
    return np.asarray((along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1)


def _turned(
    size: tuple[int, int], centre: NDArray[np.float64], rotation: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates of the pixel centres along the two axes of a turned shape."""
    x = np.arange(size[1])[None] + 0.5 - centre[0]
    y = np.arange(size[0])[:, None] + 0.5 - centre[1]
    cosine, sine = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    return x * cosine + y * sine, y * cosine - x * sine
