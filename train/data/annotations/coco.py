"""COCO instance annotations, as polygons, run lengths or boxes.

    text = coco_from_images(images, names, rle=True); annotations = images_from_coco(path)

Polygons run along the edges of pixels and are filled by the rule of COCO, as ``pycocotools`` fills
them. Polygons that Trocar 0.1 wrote run through pixel centres and include their outline;
``info.description`` marks such a file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_bytes
from trocar.contract.text.outside_json import load_json, whole
from trocar.train.data.annotations.model import (
    AnnotatedImage,
    Annotations,
    Draw,
    DrawnMasks,
    listed,
    numbers_of,
)
from trocar.train.data.annotations.regions import (
    check_coordinates,
    check_runs,
    decode_runs,
    edge_polygons_of,
    encode_runs,
    fill_polygons,
    fill_polygons_coco,
    runs_from_text,
    text_from_runs,
)
from trocar.train.data.sample import Fault

CONTRIBUTOR = "Trocar"
_CENTRES = "polygons run through pixel centres"


def coco_from_images(
    annotated_images: Iterable[AnnotatedImage], names: Sequence[str], *, rle: bool = False
) -> str:
    """Writes COCO JSON text; ``info.instances`` says whether each annotation is one instance.

    Args:
        annotated_images: The images to write.
        names: Class names in order; category ids count from 1.
        rle: Write compressed run lengths instead of polygons.
    """
    categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    ids = {name: i for i, name in enumerate(names, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    instances = False
    for number, annotated in enumerate(annotated_images, 1):
        height, width = annotated.size
        instances = annotated.numbers is not None
        images.append(
            {"id": number, "file_name": annotated.file_name, "height": height, "width": width}
        )
        for label, mask in zip(annotated.labels, annotated.masks, strict=True):
            ys, xs = np.nonzero(mask)
            x0, y0 = int(xs.min()), int(ys.min())
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": ids[label],
                    "iscrowd": 0,
                    "area": int(mask.sum()),
                    "bbox": [x0, y0, int(xs.max()) - x0 + 1, int(ys.max()) - y0 + 1],
                    "segmentation": _rle(mask) if rle else _polygons(mask),
                }
            )
    info = {
        "contributor": CONTRIBUTOR,
        "description": "polygons run along the edges of pixels",
        "instances": instances,
    }
    return json.dumps(
        {"info": info, "images": images, "annotations": annotations, "categories": categories}
    )


def images_from_coco(path: Path) -> Annotations:
    """Reads COCO JSON: polygons, boxes, and run lengths as text or as numbers.

    An annotation with a box and no region is filled as its box; a note counts these.

    Returns:
        The images in the order of the file, the category names in order of their ids, and all
        faults, each with the id of its annotation.

    Raises:
        DataError: It is not a COCO file.
    """
    try:
        data = load_json(read_bytes(path))
        names = {whole(c["id"], "a category id"): str(c["name"]) for c in data["categories"]}
        images = {whole(image["id"], "an image id"): image for image in data["images"]}
        sizes = {
            key: (whole(i["height"], "a height"), whole(i["width"], "a width"))
            for key, i in images.items()
        }
        files = {key: str(image["file_name"]) for key, image in images.items()}
        rows = [
            (whole(a["image_id"], "an image_id"), whole(a["category_id"], "a category_id"), a)
            for a in data["annotations"]
        ]
        info = data.get("info")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is not a COCO annotation: {text}", remedy="export the annotation again"
        ) from error
    info = info if isinstance(info, dict) else {}
    apart = info.get("contributor") != CONTRIBUTOR or info.get("instances") is True
    found = _Found(path=path, centres=info.get("description") == _CENTRES)
    for what, ids in (("images", data["images"]), ("categories", data["categories"])):
        for key, count in Counter(whole(one["id"], "an id") for one in ids).items():
            if count > 1:
                found.fault(f"has {count} {what} with the id {key}")
    labels: dict[int, list[str]] = {key: [] for key in images}
    draws: dict[int, list[Draw]] = {key: [] for key in images}
    extents: dict[int, _Extent] = {key: _Extent() for key in images}
    keys: dict[int, list[int | None]] = {key: [] for key in images}
    for number, (image, category, annotation) in enumerate(rows):
        name = f"annotation {annotation.get('id', f'number {number + 1}')}"
        if image not in images:
            found.fault(f"{name} belongs to image {image}, which the file does not list")
            continue
        where = f"{name} of {files[image]} (image {image})"
        if category not in names:
            known = listed([f"{key} {label}" for key, label in sorted(names.items())])
            found.fault(f"{where} has category {category}; categories are {known}")
            continue
        draw = found.draw(annotation, where, name, sizes[image], extents[image])
        if draw is not None:
            keys[image].append(None if annotation.get("iscrowd") == 1 else number)
            labels[image].append(names[category])
            draws[image].append(draw)
    return Annotations(
        images=tuple(
            AnnotatedImage(
                file_name=files[key],
                size=sizes[key],
                labels=tuple(labels[key]),
                masks=DrawnMasks(sizes[key], tuple(draws[key])),
                key=f"image {key}",
                extent=extents[key].bounds,
                numbers=numbers_of(keys[key]) if apart else None,
            )
            for key in images
        ),
        names=tuple(names[key] for key in sorted(names)),
        faults=tuple(found.faults),
        notes=found.notes(),
    )


def _rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    # COCO counts down the columns.
    return {"size": list(mask.shape), "counts": text_from_runs(encode_runs(mask.ravel(order="F")))}


def _polygons(mask: NDArray[np.bool_]) -> list[list[int]]:
    return [[int(v) for v in polygon.ravel()] for polygon in edge_polygons_of(mask)]


@dataclass
class _Extent:
    """The bounds of the polygons of an image."""

    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    fixed: bool = False

    def add(self, points: NDArray[np.float64]) -> None:
        low, high = points.min(0), points.max(0)
        self.low = low if self.low is None else np.minimum(self.low, low)
        self.high = high if self.high is None else np.maximum(self.high, high)

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        if self.fixed or self.low is None or self.high is None:
            return None
        return (*map(float, self.low), *map(float, self.high))  # type: ignore[return-value]


@dataclass
class _Found:
    """The faults and remarks of one file, while its annotations are read."""

    path: Path
    centres: bool
    faults: list[Fault] = field(default_factory=list)
    boxes: list[str] = field(default_factory=list)
    thin: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        self.faults.append(Fault(file=self.path, text=text))

    def draw(
        self,
        annotation: Mapping[str, Any],
        where: str,
        name: str,
        size: tuple[int, int],
        extent: _Extent,
    ) -> Draw | None:
        """The function that draws a region, or ``None`` and a fault."""
        try:
            segmentation = annotation.get("segmentation")
            if isinstance(segmentation, dict):
                extent.fixed = True
                return _runs(segmentation, size)
            polygons = [_points(flat) for flat in segmentation or []]
            if any(len(polygon) < 3 for polygon in polygons):
                self.thin.append(name.removeprefix("annotation "))
            polygons = [polygon for polygon in polygons if len(polygon) >= 3]
            if not segmentation:
                polygons = [_box(annotation.get("bbox"))]
                self.boxes.append(name.removeprefix("annotation "))
            for polygon in polygons:
                extent.add(polygon)
            fill = fill_polygons if self.centres and segmentation else fill_polygons_coco
            return lambda size: fill(polygons, size)
        except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            self.fault(f"{where}: {text}")
            return None

    def notes(self) -> tuple[str, ...]:
        notes = []
        if self.boxes:
            notes.append(
                f"{len(self.boxes)} annotations have a box and no region; the boxes are filled: "
                f"{listed(self.boxes)}"
            )
        if self.thin:
            notes.append(
                f"{len(self.thin)} annotations have polygons of one or two points, which have no "
                f"area and are left out: {listed(self.thin)}"
            )
        return tuple(notes)


def _points(flat: Any) -> NDArray[np.float64]:
    points = np.asarray(flat, np.float64)
    if points.ndim != 1 or len(points) % 2:
        raise ValueError(f"a polygon has {points.size} numbers, expected x and y in turn")
    check_coordinates(points)
    return points.reshape(-1, 2)


def _box(box: Any) -> NDArray[np.float64]:
    if not box:
        raise ValueError("has neither a segmentation nor a bbox")
    x, y, width, height = (float(value) for value in box)
    if not (width > 0 and height > 0):
        raise ValueError(f"has no segmentation, and a bbox of {width:g}x{height:g}")
    check_coordinates(np.array([x, y, width, height]))
    return np.array([(x, y), (x, y + height), (x + width, y + height), (x + width, y)])


def _runs(segmentation: Mapping[str, Any], size: tuple[int, int]) -> Draw:
    written = tuple(whole(value, "a size") for value in segmentation["size"])
    if written != size:
        raise ValueError(f"run lengths are for {list(written)}, the image is {list(size)}")
    counts = segmentation["counts"]
    runs = (
        runs_from_text(counts) if isinstance(counts, str) else [whole(v, "a run") for v in counts]
    )
    check_runs(runs, size[0] * size[1])
    packed = np.asarray(runs, np.int32)

    def draw(size: tuple[int, int]) -> NDArray[np.bool_]:
        return decode_runs(packed, size[0] * size[1]).reshape(size, order="F")

    return draw
