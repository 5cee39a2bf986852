"""Supervisely projects: ``meta.json``, ``DATASET/img/*.png`` and ``DATASET/ann/*.png.json``.

    frames = open_frames("theatre_supervisely/")

Bitmaps, polygons and rectangles are read; what has no area is a fault. Polygons are filled as
Supervisely fills them: outline included, holes cut out with theirs. Each object is one instance.
Data sets named train, val and test are splits; several others are groups.
"""

from __future__ import annotations

import base64
import binascii
import functools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import decode_unchanged, list_images, read_bytes
from trocar.contract.text.outside_json import load_json, whole
from trocar.train.data.annotations.model import AnnotatedImage, Draw, DrawnMasks
from trocar.train.data.annotations.regions import check_coordinates
from trocar.train.data.readers import drawn
from trocar.train.data.readers.common import folders, missing_paths
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import SPLITS, Fault, FrameSet, Item

NAME = "Supervisely"
TASKS: tuple[str, ...] = ("type",)
_MOST_BYTES = 64 << 20
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError)


@dataclass(frozen=True)
class _Bitmap:
    corner: tuple[int, int]
    pixels: NDArray[np.bool_]

    def __call__(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        mask = np.zeros(size, bool)
        x, y = self.corner
        height, width = self.pixels.shape
        top, left = max(y, 0), max(x, 0)
        view = mask[top : max(y + height, 0), left : max(x + width, 0)]
        view |= self.pixels[top - y :, left - x :][: view.shape[0], : view.shape[1]]
        return mask


@dataclass(frozen=True)
class _Polygon:
    exterior: NDArray[np.int32]
    holes: tuple[NDArray[np.int32], ...] = ()

    def __call__(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        mask = np.zeros(size, np.uint8)
        cv2.fillPoly(mask, [self.exterior], 1)
        for hole in self.holes:
            cv2.fillPoly(mask, [hole], 0)
        return mask.astype(bool)


def recognise(root: Path) -> Recognition:
    """``meta.json`` beside folders with ``ann``."""
    found = _datasets(root)
    if found and (root / "meta.json").is_file():
        return Recognition(fits=True, why=f"there are meta.json and {len(found)} data sets")
    return Recognition(fits=False, why="there are no meta.json and DATASET/ann/")


def scan(root: Path, *, task: str = "type", table: ClassTable | None = None) -> Scan:
    """Lists the pictures of all data sets, and reads their annotations.

    Raises:
        DataError: ``meta.json`` cannot be read.
    """
    names = _class_names(root / "meta.json")
    classes = table or drawn.table_of_labels(names, file=root / "meta.json")
    faults: list[Fault] = []
    items: list[Item] = []
    splits: dict[str, tuple[str, ...]] = {}
    datasets = _datasets(root)
    # A project of one data set says nothing of videos or patients.
    grouped = len(datasets) > 1 and not {folder.name for folder in datasets} <= set(SPLITS)
    for folder in datasets:
        found = _items(folder, drawn.class_ids(classes), faults, grouped=grouped)
        items += found
        splits[folder.name] = tuple(item.name for item in found)
    frames = FrameSet(
        name=root.name,
        root=root,
        table=classes,
        items=tuple(items),
        splits=splits if len(splits) > 1 and set(splits) <= set(SPLITS) else {},
        read=functools.partial(drawn.read, table=classes),
        task=task,
        instances=functools.partial(drawn.instances, table=classes),
    )
    return Scan(frames=frames, faults=tuple(faults))


def _datasets(root: Path) -> list[Path]:
    found = folders(root, "[^.].*")
    return [place for place in found if (place / "ann").is_dir() or (place / "img").is_dir()]


def _class_names(path: Path) -> list[str]:
    try:
        return [str(one["title"]) for one in load_json(read_bytes(path))["classes"]]
    except _MALFORMED as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is not the meta.json of a Supervisely project: {text}",
            remedy="export the project again, with its meta.json",
        ) from error


def _items(
    folder: Path, ids: Mapping[str, int], faults: list[Fault], *, grouped: bool
) -> list[Item]:
    faults += missing_paths(folder / "img", folder / "ann")
    files = {f.name.removesuffix(".json"): f for f in sorted((folder / "ann").glob("*.json"))}
    items = []
    for image in list_images(folder / "img"):
        name = image.relative_to(folder / "img").as_posix()
        file = files.pop(name, None)
        if file is None:
            faults.append(Fault(file=image, text=f"has no ann/{name}.json"))
            continue
        annotated, found = parse_annotation(file, ids)
        faults += found
        if annotated is not None:
            items.append(
                Item(
                    name=f"{folder.name}/{image.stem}",
                    image=image,
                    group=folder.name if grouped else "",
                    extra={"source": file, "annotated": annotated},
                )
            )
    if (folder / "img").is_dir():
        faults += [
            Fault(file=file, text="is the annotation of no picture in img/")
            for file in files.values()
        ]
    return items


def parse_annotation(
    path: Path, ids: Mapping[str, int]
) -> tuple[AnnotatedImage | None, list[Fault]]:
    """Reads one annotation.

    Args:
        path: The JSON file.
        ids: Class id by label.

    Returns:
        The annotated image, ``None`` if the file is none, and all faults.
    """
    faults: list[Fault] = []
    try:
        data = load_json(read_bytes(path))
        size = (whole(data["size"]["height"], "height"), whole(data["size"]["width"], "width"))
        objects = list(data["objects"])
    except (*_MALFORMED, DataError) as error:
        return None, [Fault(file=path, text=f"is no Supervisely annotation: {_text(error)}")]
    labels: list[str] = []
    draws: list[Draw] = []
    for number, one in enumerate(objects, 1):
        try:
            label = one["classTitle"]
            if not isinstance(label, str) or label not in ids:
                raise ValueError(f"has the class {label!r}; classes are {', '.join(ids)}")
            draws.append(_draw(one))
            labels.append(label)
        except (*_MALFORMED, DataError) as error:
            faults.append(Fault(file=path, text=f"object {number}: {_text(error)}"))
    annotated = AnnotatedImage(
        file_name=path.name.removesuffix(".json"),
        size=size,
        labels=tuple(labels),
        masks=DrawnMasks(size, tuple(draws)),
        numbers=tuple(range(1, len(labels) + 1)),
    )
    return annotated, faults


def _draw(data: Mapping[str, Any]) -> Draw:
    kind = data["geometryType"]
    if kind == "bitmap":
        x, y = (whole(value, "an origin") for value in data["bitmap"]["origin"])
        check_coordinates(np.array([x, y], np.float64))
        return _Bitmap((x, y), _pixels(data["bitmap"]["data"]))
    if kind == "polygon":
        holes = tuple(_points(ring) for ring in data["points"].get("interior") or ())
        return _Polygon(_points(data["points"]["exterior"]), holes)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = _points(data["points"]["exterior"], least=2)
        return _Polygon(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.int32))
    raise ValueError(f"a {kind} has no area that can be filled")


def _points(rows: Any, *, least: int = 3) -> NDArray[np.int32]:
    points = np.asarray(rows, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < least:
        raise ValueError(f"has points of the shape {points.shape}, expected {least} or more x, y")
    check_coordinates(points)
    return np.round(points).astype(np.int32)


def _pixels(text: object) -> NDArray[np.bool_]:
    """The region of a bitmap: its alpha channel, or what is not 0 in a grey picture."""
    if not isinstance(text, str):
        raise ValueError("a bitmap has no data")
    try:
        unpacked = zlib.decompressobj().decompress(
            base64.b64decode(text, validate=True), _MOST_BYTES
        )
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"a bitmap is no compressed picture: {error}") from error
    values = decode_unchanged(unpacked, source="a bitmap")
    if values.ndim == 3 and values.shape[2] != 4:
        raise ValueError(f"a bitmap has {values.shape[2]} channels, expected 1 or 4")
    return np.asarray(np.not_equal(values if values.ndim == 2 else values[..., 3], 0), np.bool_)


def _text(error: Exception) -> str:
    if isinstance(error, DataError):
        return error.message
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
