"""LabelMe: one JSON file per image, with polygons, rectangles, circles and masks.

annotation = read_annotation(Path("0001.json")); annotations = images_from_labelme(files, root)
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import decode_unchanged, read_bytes
from trocar.contract.text.outside_json import load_json, whole
from trocar.train.data.annotations.model import (
    AnnotatedImage,
    Annotations,
    Draw,
    DrawnMasks,
    listed,
)
from trocar.train.data.annotations.regions import check_coordinates, polygons_of
from trocar.train.data.sample import Fault

LINES = ("line", "linestrip")
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError)
_INSTANCES = "instances"  # Of Trocar's own files: whether a group of shapes is one instance.
_POINTS = ("point", "points")
# X-AnyLabeling writes turned rectangles as "rotation", LabelMe as "oriented_rectangle".
_POLYGONS = ("polygon", "rotation", "oriented_rectangle", "rectangle")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One shape that has an area.

    Attributes:
        label: Its class name.
        group: Shapes with equal label and group are parts of one instance; ``None``: not given.
        points: ``[N, 2]`` float64, x and y in pixels; for a circle or a mask, the corners of its
            box.
        kind: ``polygon``, ``circle`` or ``mask``.
        pixels: ``[h, w]`` bool of a mask, whose first pixel is the first of ``points``.
    """

    label: str
    group: int | None
    points: NDArray[np.float64]
    kind: str = "polygon"
    pixels: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A LabelMe file.

    Attributes:
        image: Name of the image as written in the file.
        size: Height and width in pixels.
        shapes: In the order of the file; later shapes cover earlier ones.
        faults: Shapes that cannot be read, and why.
        lines: Labels of lines, which have no area.
        points: Labels of points, which have no area.
        apart: Whether the shapes of one label and group, or a shape without group, are one
            instance.
    """

    image: str
    size: tuple[int, int]
    shapes: tuple[Shape, ...]
    faults: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    apart: bool = True


def read_annotation(path: Path) -> Annotation:
    """Reads a LabelMe file in which every shape has an area.

    Raises:
        DataError: It is not a LabelMe file, or shapes are malformed or have no area; the text
            lists all of them.
    """
    annotation = parse_annotation(path)
    without = [
        f"a {kind} of {label!r} has no area"
        for kind, labels in (("line", annotation.lines), ("point", annotation.points))
        for label in labels
    ]
    faults = (*annotation.faults, *without)
    if faults:
        raise DataError(
            f"{path} is not a LabelMe annotation of areas: {'; '.join(faults)}",
            remedy="draw them as polygons in the annotation tool, or remove them",
        )
    return annotation


def parse_annotation(path: Path) -> Annotation:
    """Reads a LabelMe file and collects what has no area or cannot be read.

    Raises:
        DataError: It is not a LabelMe file.
    """
    try:
        data = load_json(read_bytes(path))
        height = whole(data["imageHeight"], "imageHeight")
        width = whole(data["imageWidth"], "imageWidth")
        rows = list(data["shapes"])
        image = str(data.get("imagePath", ""))
    except _MALFORMED as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is not a LabelMe annotation: {text}", remedy="export the annotation again"
        ) from error
    shapes: list[Shape] = []
    faults: list[str] = []
    lines: list[str] = []
    points: list[str] = []
    for number, row in enumerate(rows, 1):
        try:
            kind = row.get("shape_type") or "polygon"
            if kind in LINES:
                lines.append(str(row["label"]))
            elif kind in _POINTS:
                points.append(str(row["label"]))
            else:
                shapes.append(_shape(row, kind))
        except (*_MALFORMED, DataError) as error:
            text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            faults.append(f"shape {number}: {text}")
    return Annotation(
        image=image,
        size=(height, width),
        shapes=tuple(shapes),
        faults=tuple(faults),
        lines=tuple(lines),
        points=tuple(points),
        apart=data.get(_INSTANCES) is not False,
    )


def draw_shape(mask: NDArray[Any], shape: Shape, value: int) -> None:
    """Fills one shape as LabelMe does, in place; what lies outside the image is cut off.

    LabelMe draws with Pillow: coordinates are cut to whole numbers, which are the centres of
    pixels, and the outline is part of the shape.
    """
    if shape.pixels is None:
        _draw_with_pillow(mask, shape, value)
        return
    x, y = (int(v) for v in np.round(shape.points[0]))
    height, width = shape.pixels.shape
    top, left = max(y, 0), max(x, 0)
    view = mask[top : max(y + height, 0), left : max(x + width, 0)]
    part = shape.pixels[top - y :, left - x :][: view.shape[0], : view.shape[1]]
    view[part] = value


def by_instance(annotation: Annotation) -> Iterator[tuple[tuple[str, int], Shape]]:
    """Shapes with the key of their instance: label and group, or a number of their own."""
    for index, shape in enumerate(annotation.shapes):
        yield (shape.label, -1 - index if shape.group is None else shape.group), shape


def images_from_labelme(
    files: Sequence[Path], root: Path, *, skip_lines: bool = False
) -> Annotations:
    """Reads LabelMe files; shapes of one label and group are one region.

    Args:
        files: The files.
        root: Folder to which the names of their images are relative.
        skip_lines: Whether lines are left out; otherwise each is a fault.

    Returns:
        The images, the labels in order of appearance, and all faults.

    Raises:
        DataError: A file is not a LabelMe file.
    """
    images = []
    names: dict[str, None] = {}
    faults: list[Fault] = []
    left_out: dict[str, list[str]] = {}
    for file in files:
        annotation = parse_annotation(file)
        faults += [Fault(file=file, text=text) for text in annotation.faults]
        if annotation.lines and not skip_lines:
            text = f"{len(annotation.lines)} lines have no area: {listed(annotation.lines)}"
            faults.append(Fault(file=file, text=text))
        for kind, labels in (("points", annotation.points), ("lines", annotation.lines)):
            left_out.setdefault(kind, []).extend(f"{label!r} in {file.name}" for label in labels)
        parts: dict[tuple[str, int], list[Shape]] = {}
        for key, shape in by_instance(annotation):
            parts.setdefault(key, []).append(shape)
        labels = tuple(label for label, _ in parts)
        names.update(dict.fromkeys(labels))
        # LabelMe's path is relative to its own file; here the image is found by its name.
        suffix = Path(annotation.image.replace("\\", "/")).suffix or ".png"
        images.append(
            AnnotatedImage(
                file_name=file.relative_to(root).with_suffix(suffix).as_posix(),
                size=annotation.size,
                labels=labels,
                masks=DrawnMasks(annotation.size, tuple(_draw(found) for found in parts.values())),
                extent=_extent(annotation.shapes),
                numbers=tuple(range(1, len(labels) + 1)) if annotation.apart else None,
            )
        )
    notes = tuple(
        f"{len(where)} {kind} have no area and are left out: {listed(where)}"
        for kind, where in left_out.items()
        if where
    )
    return Annotations(
        images=tuple(images),
        names=tuple(names),
        faults=tuple(faults),
        notes=notes,
        lines=len(left_out.get("lines", ())),
    )


def labelme_from_image(annotated: AnnotatedImage) -> str:
    """LabelMe JSON text; the polygons of one region have the same ``group_id``."""
    shapes = [
        {
            "label": label,
            "points": [[float(x), float(y)] for x, y in polygon],
            "group_id": number,
            "shape_type": "polygon",
            "flags": {},
        }
        for number, (label, mask) in enumerate(zip(annotated.labels, annotated.masks, strict=True))
        for polygon in polygons_of(mask)
    ]
    data: dict[str, Any] = {
        "version": "5.0.0",
        _INSTANCES: annotated.numbers is not None,
        "flags": {},
        "shapes": shapes,
        "imagePath": annotated.file_name,
        "imageData": None,
        "imageHeight": annotated.size[0],
        "imageWidth": annotated.size[1],
    }
    return json.dumps(data)


def _draw(shapes: Sequence[Shape]) -> Draw:
    def draw(size: tuple[int, int]) -> NDArray[np.bool_]:
        mask = np.zeros(size, np.uint8)
        for shape in shapes:
            draw_shape(mask, shape, 1)
        return mask.astype(bool)

    return draw


def _extent(shapes: Sequence[Shape]) -> tuple[float, float, float, float] | None:
    if not shapes:
        return None
    points = np.concatenate([shape.points for shape in shapes])
    low, high = points.min(0), points.max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _draw_with_pillow(mask: NDArray[Any], shape: Shape, value: int) -> None:
    from PIL import Image, ImageDraw

    whole = shape.kind != "circle"  # Pillow keeps the fractions of a circle's box.
    points = np.trunc(shape.points) if whole else shape.points
    # Only the box of the shape is drawn, which is much smaller than the picture.
    size = np.array(mask.shape[1::-1])
    low = np.clip(np.floor(points.min(0)) - 1, 0, size).astype(int)
    high = np.clip(np.ceil(points.max(0)) + 2, low, size).astype(int)
    if not (high > low).all():
        return
    picture = Image.new("L", (int(high[0] - low[0]), int(high[1] - low[1])), 0)
    draw = ImageDraw.Draw(picture)
    corners = [(float(x), float(y)) for x, y in points - low]
    if whole:
        draw.polygon(corners, fill=1, outline=1)
    else:
        draw.ellipse([corners[0], corners[2]], fill=1, outline=1)
    mask[low[1] : high[1], low[0] : high[0]][np.asarray(picture) > 0] = value


def _shape(data: dict[str, Any], kind: str) -> Shape:
    label = str(data["label"])
    points = np.asarray(data["points"], np.float64).reshape(-1, 2)
    try:
        check_coordinates(points)
    except ValueError as error:
        raise ValueError(f"a {kind} of {label!r} {error}") from None
    pixels = None
    if kind in ("rectangle", "mask", "circle") and len(points) == 2:
        if kind == "circle":
            radius = float(np.hypot(*(points[1] - points[0])))
            points = np.array([points[0] - radius, points[0] + radius])
        elif kind == "mask":
            pixels = _pixels(data.get("mask"), label)
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    elif kind not in _POLYGONS:
        raise ValueError(
            f"is a {kind} of {len(points)} points; known are polygon, rectangle, circle and mask"
        )
    if len(points) < 3:
        raise ValueError(f"a {kind} of {label!r} has {len(points)} points, needs 3")
    group = data.get("group_id")
    return Shape(
        label=label,
        group=None if group is None else whole(group, "group_id"),
        points=points,
        kind=kind if kind in ("circle", "mask") else "polygon",
        pixels=pixels,
    )


def _pixels(text: object, label: str) -> NDArray[np.bool_]:
    if not isinstance(text, str):
        raise ValueError(f"a mask of {label!r} has no picture")
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a mask of {label!r} is no base64 text: {error}") from error
    values = decode_unchanged(data, source=f"the mask of {label!r}")
    first = np.asarray(values if values.ndim == 2 else values[..., 0])
    return np.asarray(np.not_equal(first, 0), np.bool_)
