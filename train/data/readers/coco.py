"""COCO files beside their pictures, as Roboflow, CVAT and GraSP arrange them.

    train/_annotations.coco.json, train/*.jpg, valid/…                       Roboflow
    annotations/instances_train2017.json, train2017/*.jpg, …                 COCO
    annotations/instances_default.json, images/*.jpg                         CVAT
    annotations/grasp_short-term_train.json, frames/CASE001/*.jpg, …         GraSP

    frames = open_frames("GraSP_30fps/").subset("train")

A file without splits divides nothing. The first folder of a picture's name is its group.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

from trocar.contract.classes import ClassTable
from trocar.contract.media.pictures import list_images
from trocar.train.data.annotations.coco import images_from_coco
from trocar.train.data.annotations.model import AnnotatedImage
from trocar.train.data.readers import drawn
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import Fault, FrameSet, Item

NAME = "COCO"
TASKS: tuple[str, ...] = ("type",)
_ROBOFLOW = "_annotations.coco.json"
_SPLITS = {"train": "train", "valid": "val", "val": "val", "test": "test"}
_INSTANCES = re.compile(r"instances_(?P<name>(?P<split>train|val|test|default)\w*)\.json")
_GRASP = re.compile(r"grasp_short-term_(?P<split>train|test)\.json")
Place = tuple[str, Path, Path]
"""Split (empty: none), annotation file, and folder of its pictures."""


def recognise(root: Path) -> Recognition:
    """The annotation files of one of the arrangements."""
    places = _places(root)
    if places:
        files = ", ".join(file.relative_to(root).as_posix() for _, file, _ in places)
        return Recognition(fits=True, why=f"there is {files}")
    return Recognition(
        fits=False, why=f"there is no train/{_ROBOFLOW} and no annotations/instances_*.json"
    )


def scan(root: Path, *, task: str = "type", table: ClassTable | None = None) -> Scan:
    """Lists the pictures that the files name.

    Raises:
        DataError: A file is not a COCO file.
    """
    faults: list[Fault] = []
    notes: list[str] = []
    names: list[str] = []
    items: list[Item] = []
    splits: dict[str, tuple[str, ...]] = {}
    for split, file, folder in _places(root):
        found = images_from_coco(file)
        faults += found.faults
        notes += [f"{file.name}: {note}" for note in found.notes]
        if names and set(found.names) != set(names):
            text = f"has the categories {', '.join(found.names)}, another file {', '.join(names)}"
            faults.append(Fault(file=file, text=text))
        names = names or list(found.names)
        listed = [item for one in found.images if (item := _item(one, split, file, folder, faults))]
        faults += _repeated(listed, file)
        faults += _unnamed(folder, listed) if file.name == _ROBOFLOW else []
        items += listed
        if split:
            splits[split] = tuple(item.name for item in listed)
    first = next((file for _, file, _ in _places(root)), root)
    classes = table or drawn.table_of_labels(names, file=first)
    faults += [
        Fault(file=root, text=f"has the category {name!r}, which is no class of the table")
        for name in names
        if name not in drawn.class_ids(classes)
    ]
    frames = FrameSet(
        name=root.name,
        root=root,
        table=classes,
        items=tuple(items),
        splits=splits if len(splits) > 1 else {},
        read=functools.partial(drawn.read, table=classes),
        notes=tuple(notes),
        task=task,
        instances=functools.partial(drawn.instances, table=classes),
    )
    return Scan(frames=frames, faults=tuple(faults))


def _places(root: Path) -> list[Place]:
    found: list[Place] = []
    for name, split in _SPLITS.items():
        if (root / name / _ROBOFLOW).is_file():
            found.append((split, root / name / _ROBOFLOW, root / name))
    if found:
        return found
    annotations = root / "annotations"
    files = sorted(annotations.glob("*.json")) if annotations.is_dir() else []
    for file in files:
        if (match := _GRASP.fullmatch(file.name)) and (root / "frames").is_dir():
            found.append((match["split"], file, root / "frames"))
        elif match := _INSTANCES.fullmatch(file.name):
            folders = (root / match["name"], root / "images" / match["name"], root / "images")
            folder = next((place for place in folders if place.is_dir()), folders[0])
            split = "" if match["split"] == "default" else match["split"]
            found.append((split, file, folder))
    order = ["train", "val", "test", ""]
    return sorted(found, key=lambda place: (order.index(place[0]), place[1].name))


def _item(
    annotated: AnnotatedImage, split: str, file: Path, folder: Path, faults: list[Fault]
) -> Item | None:
    path = Path(annotated.file_name.replace("\\", "/"))
    image = folder / path
    if path.is_absolute() or ".." in path.parts or not path.name:
        faults.append(Fault(file=file, text=f"names {annotated.file_name!r}, no file below it"))
        return None
    if not _is_file(image):
        faults.append(Fault(file=image, text=f"is missing; {file.name} names it"))
        return None
    name = path.with_suffix("").as_posix()
    return Item(
        name=f"{split}/{name}" if split else name,
        image=image,
        group=path.parts[0] if len(path.parts) > 1 else "",
        extra={"source": file, "annotated": annotated},
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # A name that is too long for a file.
        return False


def _repeated(items: list[Item], file: Path) -> list[Fault]:
    known: set[str] = set()
    faults = []
    for item in items:
        if item.name in known:
            faults.append(Fault(file=file, text=f"has two images for {item.image.name}"))
        known.add(item.name)
    return faults


def _unnamed(folder: Path, items: list[Item]) -> list[Fault]:
    named = {item.image for item in items}
    return [
        Fault(file=file, text=f"is named in no {_ROBOFLOW}")
        for file in list_images(folder)
        if file not in named
    ]
