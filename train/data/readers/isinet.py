"""EndoVis 2018 with instrument types, as ISINet and SurgicalSAM arrange it.

    train/images/seq1_frame000.png                                          ISINet
    train/binary_annotations/seq1_frame000_class1_inst0.png
    train/0/images/seq_1/00000.png                                          SurgicalSAM
    train/0/binary_annotations/seq_1/00000_class1.png

    frames = open_frames("endovis2018_types/").subset("val")

Each file of ``binary_annotations`` shows one instance, or one class, of a frame; the number of the
class is in its name. A frame without such a file shows no instrument. Class names come from
``labels*.json`` beside the splits, where it is there: ISINet writes two numberings. Otherwise they
are those of SurgicalSAM. Of SurgicalSAM's augmented copies (``train/1`` …) the first is read.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import list_images, read_bytes, read_image
from trocar.contract.text.outside_json import load_json, whole
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.io.masks import check_size, opaque
from trocar.train.data.readers.common import BINARY_TABLE, missing_paths
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "EndoVis 2018 types"
TASKS: tuple[str, ...] = ("type", "binary")
TYPES = (
    "bipolar forceps", "prograsp forceps", "large needle driver", "monopolar curved scissors",
    "ultrasound probe", "suction instrument", "clip applier",
)  # fmt: skip
_MASK = re.compile(r"(?P<frame>.+?)_class(?P<number>\d+)(_.*)?")
_SPLITS = ("train", "val")
_NUMBERS = range(1, 256)


def recognise(root: Path) -> Recognition:
    """``binary_annotations`` below ``train`` and ``val``."""
    found = [split for split in _SPLITS if (_place(root, split) / "binary_annotations").is_dir()]
    if found:
        return Recognition(fits=True, why=f"there is binary_annotations in {', '.join(found)}")
    return Recognition(fits=False, why="there is no train/binary_annotations/")


def scan(root: Path, *, task: str = "type", table: ClassTable | None = None) -> Scan:
    """Lists the frames of both splits; the group is the sequence."""
    faults: list[Fault] = []
    notes: list[str] = []
    names = _names(root, faults, notes)
    items: list[Item] = []
    splits: dict[str, tuple[str, ...]] = {}
    empty = 0
    for split in _SPLITS:
        place = _place(root, split)
        if not place.is_dir():
            continue
        found = _items(place, split, names, faults)
        items += found
        splits[split] = tuple(item.name for item in found)
        empty += sum(not item.extra["masks"] for item in found)
    if empty:
        notes.append(f"{empty} frames have no binary annotation: they show no instrument")
    ids = {number: 1 if task == "binary" else i for i, number in enumerate(names, 1)}
    chosen = (
        BINARY_TABLE if task == "binary" else ClassTable.from_names(["background", *names.values()])
    )
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table or chosen,
        items=tuple(items),
        splits=splits if len(splits) > 1 else {},
        read=functools.partial(read, ids=ids),
        notes=tuple(notes),
        task=task,
        instances=read_instances,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item, *, ids: dict[int, int]) -> Sample:
    """Reads a frame and joins its binary masks, later ones over earlier ones.

    Raises:
        DataError: A file cannot be read, or has another size.
    """
    image = read_image(item.image)
    mask = np.zeros(image.shape[:2], np.uint8)
    for number, path in item.extra["masks"]:
        shown = _shown(path)
        check_size(image, shown, image_path=item.image, mask_path=path)
        mask[shown > 0] = ids[number]
    return Sample(name=item.name, image=image, mask=mask)


def read_instances(item: Item) -> NDArray[np.uint8]:
    """Instance numbers ``[H, W]``: one for each binary mask.

    Raises:
        DataError: A file cannot be read.
    """
    made: NDArray[np.uint8] | None = None
    for number, (_, path) in enumerate(item.extra["masks"], 1):
        shown = _shown(path)
        made = np.zeros(shown.shape, np.uint8) if made is None else made
        if shown.shape == made.shape:
            made[shown > 0] = number
    return np.zeros(read_image(item.image).shape[:2], np.uint8) if made is None else made


def _shown(path: Path) -> NDArray[np.uint8]:
    values = opaque(read_raw_mask(path).values, path=path)
    return np.asarray(values if values.ndim == 2 else values.max(2), np.uint8)


def _place(root: Path, split: str) -> Path:
    first = root / split / "0"
    return first if first.is_dir() else root / split


def _names(root: Path, faults: list[Fault], notes: list[str]) -> dict[int, str]:
    """Class names by number, in order of the numbers."""
    files = sorted(root.glob("labels*.json"))
    if not files:
        notes.append("there is no labels*.json: classes 1 to 7 are named as SurgicalSAM names them")
        return dict(enumerate(TYPES, 1))
    try:
        rows = load_json(read_bytes(files[0]))
        named = {whole(row["classid"], "a classid"): str(row["name"]) for row in rows}
        ClassTable.from_names(["background", *named.values()])
        return {number: named[number] for number in sorted(named) if number in _NUMBERS}
    except (ValueError, KeyError, TypeError, DataError) as error:
        text = f"is no list of classes with classid and name: {error}"
        faults.append(Fault(file=files[0], text=text))
        return dict(enumerate(TYPES, 1))


def _items(place: Path, split: str, names: dict[int, str], faults: list[Fault]) -> list[Item]:
    images, masks = place / "images", place / "binary_annotations"
    faults += missing_paths(images, masks)
    of_frame: dict[str, list[tuple[int, Path]]] = {}
    for file in list_images(masks):
        match = _MASK.fullmatch(file.relative_to(masks).with_suffix("").as_posix())
        number = int(match["number"]) if match else 0
        if match is None:
            faults.append(Fault(file=file, text="has no _classN in its name"))
        elif number not in names:
            known = ", ".join(f"{key} {name}" for key, name in names.items())
            faults.append(Fault(file=file, text=f"is of class {number}; classes are {known}"))
        else:
            of_frame.setdefault(match["frame"], []).append((number, file))
    items = []
    for image in list_images(images):
        stem = image.relative_to(images).with_suffix("").as_posix()
        sequence = re.search(r"seq_?(\d+)", stem)
        items.append(
            Item(
                name=f"{split}/{stem}",
                image=image,
                mask=next((path for _, path in of_frame.get(stem, ())), None),
                group=f"seq_{sequence[1]}" if sequence else "",
                extra={"annotated": True, "masks": tuple(of_frame.pop(stem, ()))},
            )
        )
    faults += [
        Fault(file=found[0][1], text="is the mask of no picture in images/")
        for found in (of_frame.values() if images.is_dir() else ())
    ]
    return items
