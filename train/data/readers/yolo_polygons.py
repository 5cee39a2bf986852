"""YOLO polygons: text files of a class and fractions of width and height, one object a line.

    frames = open_frames("tools_yolo_seg/").subset("train")

Two layouts are read: ``images/{train,val}`` with ``labels/{train,val}`` (Ultralytics, CVAT), and
``{train,valid,test}/{images,labels}`` (Roboflow). ``data.yaml`` names the classes; the background
is put before them. Polygons are filled by the rule of COCO, later rows cover earlier ones. An image
without a text file, or with an empty one, shows no instrument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import list_images, read_image
from trocar.train.data.annotations.model import listed
from trocar.train.data.annotations.regions import fill_polygons_coco
from trocar.train.data.readers.common import missing_paths, table_from_names
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.readers.yolo import read_names
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "YOLO polygons"
TASKS: tuple[str, ...] = ("type",)
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_PEEKED = 200
_BEYOND = 0.01


@dataclass(frozen=True, kw_only=True)
class Place:
    """Images and their text files.

    Attributes:
        split: ``train``, ``val`` or ``test``; empty where the set has no splits.
        images: Folder of the images.
        labels: Folder of the text files.
        name: Put before the names of the frames.
    """

    split: str
    images: Path
    labels: Path
    name: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One polygon.

    Attributes:
        class_index: Row of the set's list of names.
        points: ``[N, 2]`` float64, x and y as fractions of width and height.
    """

    class_index: int
    points: NDArray[np.float64]


def places(root: Path) -> list[Place]:
    """The folders of images and text files of a YOLO set, by either layout."""
    found = []
    for folder in _folders(root):
        split = SPLITS.get(folder.name.lower())
        if split and (folder / "images").is_dir():
            images, labels = folder / "images", folder / "labels"
            found.append(Place(split=split, images=images, labels=labels, name=folder.name))
    if found or not (root / "labels").is_dir() or not (root / "images").is_dir():
        return found
    for folder in _folders(root / "images"):
        split = SPLITS.get(folder.name.lower())
        if split:
            labels = root / "labels" / folder.name
            found.append(Place(split=split, images=folder, labels=labels, name=folder.name))
    return found or [Place(split="", images=root / "images", labels=root / "labels", name="")]


def recognise(root: Path) -> Recognition:
    """Text files in ``labels`` with more than five values in a line."""
    texts = (text for place in places(root) for text in sorted(place.labels.rglob("*.txt")))
    for text in islice(texts, _PEEKED):
        if any(len(line.split()) > 5 for line in _lines(text)):
            return Recognition(fits=True, why="text files of polygons in labels/")
    return Recognition(fits=False, why="there are no text files of polygons in labels/")


def scan(root: Path, *, task: str = "type", table: ClassTable | None = None) -> Scan:
    """Lists the images of all splits and checks every line of their text files."""
    faults: list[Fault] = []
    yaml = _yaml(root)
    names: list[str] = []
    try:
        names = read_names(yaml) if yaml.is_file() else []
        faults += missing_paths(yaml)
    except DataError as error:
        faults.append(Fault(file=yaml, text=error.message.removeprefix(f"{yaml} ")))
    table = table or table_from_names(["background", *(names or ["object"])], file=yaml)
    items: list[Item] = []
    splits: dict[str, list[str]] = {}
    without: list[str] = []
    for place in places(root):
        for item in _items(place, len(table) - 1, without, faults):
            items.append(item)
            if place.split:
                splits.setdefault(place.split, []).append(item.name)
    notes: tuple[str, ...] = ()
    if without:
        text = f"{len(without)} images have no text file, so they show no instrument"
        notes = (f"{text}: {listed(without)}",)
    frames = FrameSet(
        name=root.name,
        root=root,
        table=table,
        items=tuple(items),
        splits={split: tuple(named) for split, named in splits.items()},
        read=read,
        notes=notes,
        task=task,
        instances=read_instances,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item) -> Sample:
    """Reads one image and fills its polygons.

    Raises:
        DataError: A file cannot be read, or a line is no polygon.
    """
    image = read_image(item.image)
    mask = np.zeros(image.shape[:2], np.uint8)
    for row in _rows_of(item):
        mask[_fill(row, mask.shape)] = row.class_index + 1
    return Sample(name=item.name, image=image, mask=mask)


def read_instances(item: Item) -> NDArray[np.uint16]:
    """Instance numbers ``[H, W]`` uint16 of one image, 0 for none; each line is an instance.

    Raises:
        DataError: A file cannot be read, or a line is no polygon.
    """
    numbers = np.zeros(read_image(item.image).shape[:2], np.uint16)
    for number, row in enumerate(_rows_of(item), 1):
        numbers[_fill(row, numbers.shape)] = number
    return numbers


def parse_row(line: str, classes: int) -> Row:
    """One line of a text file.

    Args:
        line: Class and x and y in turn, as fractions of width and height.
        classes: Number of classes.

    Raises:
        ValueError: It is no polygon of a class; the text says what it is.
    """
    words = line.split()
    if len(words) == 5:
        raise ValueError("is a box, other lines are polygons; a set holds either of them")
    if len(words) < 7 or not len(words) % 2:
        raise ValueError(f"has {len(words) - 1} coordinates, expected x and y of 3 points or more")
    index = int(words[0])
    if not 0 <= index < classes:
        raise ValueError(f"has the class {index}, data.yaml names 0 to {classes - 1}")
    points = np.array(words[1:], np.float64).reshape(-1, 2)
    if not ((points >= -_BEYOND) & (points <= 1 + _BEYOND)).all():
        raise ValueError("has a coordinate outside 0 to 1, expected fractions of width and height")
    return Row(class_index=index, points=points)


def _fill(row: Row, size: tuple[int, ...]) -> NDArray[np.bool_]:
    return fill_polygons_coco([row.points * (size[1], size[0])], (size[0], size[1]))


def _rows_of(item: Item) -> Iterator[Row]:
    path = item.mask
    if path is None or not path.is_file():
        return
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            try:
                yield parse_row(line, item.extra["classes"])
            except ValueError as error:
                raise DataError(
                    f"{path} line {number} {error}", remedy="export the annotation again"
                ) from error


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read: {error}", remedy="save it as a UTF-8 text file"
        ) from error


def _items(place: Place, classes: int, without: list[str], faults: list[Fault]) -> list[Item]:
    texts = {
        path.relative_to(place.labels).with_suffix("").as_posix(): path
        for path in sorted(place.labels.rglob("*.txt"))
        if path.name != "classes.txt"
    }
    items: dict[str, Item] = {}
    for image in list_images(place.images):
        stem = image.relative_to(place.images).with_suffix("").as_posix()
        if stem in items:
            text = f"has the same name as {items[stem].image.name}"
            faults.append(Fault(file=image, text=text))
            continue
        text_file = texts.get(stem)
        if text_file is None:
            without.append(image.name)
        else:
            faults += _row_faults(text_file, classes)
        group, slash, _ = stem.partition("/")
        items[stem] = Item(
            name=f"{place.name}/{stem}" if place.name else stem,
            image=image,
            mask=text_file or place.labels / f"{stem}.txt",
            group=group if slash else "",
            extra={"classes": classes},
        )
    faults += [
        Fault(file=texts[stem], text="are the polygons of no image")
        for stem in sorted(texts.keys() - items.keys())
    ]
    return list(items.values())


def _row_faults(path: Path, classes: int) -> list[Fault]:
    faults = []
    try:
        lines = _lines(path)
    except DataError as error:
        return [Fault(file=path, text=error.message.removeprefix(f"{path} "))]
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                parse_row(line, classes)
        except ValueError as error:
            faults.append(Fault(file=path, text=f"line {number} {error}"))
    return faults


def _yaml(root: Path) -> Path:
    others = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    return root / "data.yaml" if (root / "data.yaml").is_file() or not others else others[0]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
