"""EndoVis 2017: ``instrument_dataset_1..8``, with left frames and a mask folder per instrument.

    frames = open_frames("endovis2017/train/", task="parts").fold(0)

Frames of 1920x1080 are cropped to the view of the endoscope, rows 28..1051 and columns 320..1599.
The masks of a frame are joined. Mask values are the parts: 10 shaft, 20 wrist, 30 claspers. The
name of the mask folder gives the type. Some masks are RGB. The four folds are the official ones.
Also read: the cropped arrangement of TernausNet, ``images``, ``binary_masks`` (255),
``parts_masks`` (times 85) and ``instruments_masks`` (times 32).
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_image
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.io.masks import check_size, ids_from_values, opaque
from trocar.train.data.readers.common import (
    BINARY_TABLE,
    folders,
    images_by_stem,
    misnamed_folders,
    missing_paths,
    pairs_by_stem,
    table_of,
)
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "EndoVis 2017"
TASKS: tuple[str, ...] = ("binary", "parts", "type")
TYPES = (
    "Bipolar_Forceps",
    "Prograsp_Forceps",
    "Large_Needle_Driver",
    "Vessel_Sealer",
    "Grasping_Retractor",
    "Monopolar_Curved_Scissors",
    "Other",
)
PARTS = ("shaft", "wrist", "claspers")
_TYPE_NAMES = tuple(name.replace("_", " ").lower() for name in TYPES)
TABLES = {
    "binary": BINARY_TABLE,
    "parts": table_of(["background", *PARTS], instruments=PARTS, parts={p: p for p in PARTS}),
    "type": table_of(["background", *_TYPE_NAMES], instruments=_TYPE_NAMES),
}
FOLDS = ((1, 3), (2, 5), (4, 8), (6, 7))
FULL, VIEW = (1080, 1920), (1024, 1280)
_CROP = np.s_[28:1052, 320:1600]
_PART_CODES = {0: 0, 10: 1, 20: 2, 30: 3}
# The arrangement that TernausNet's prepare_data.py leaves: mask folder and values of each task.
_CROPPED = {
    "binary": ("binary_masks", {0: 0, 255: 1}),
    "parts": ("parts_masks", {85 * i: i for i in range(4)}),
    "type": ("instruments_masks", {32 * i: i for i in range(len(TYPES) + 1)}),
}


def recognise(root: Path) -> Recognition:
    """Folders ``instrument_dataset_N``, here or in ``train/``."""
    found = _datasets(root)
    if found:
        return Recognition(fits=True, why=f"{len(found)} folders instrument_dataset_N")
    return Recognition(fits=False, why="there is no folder instrument_dataset_N")


def scan(root: Path, *, task: str = "binary", table: ClassTable | None = None) -> Scan:
    """Lists the left frames of all data sets that have ground truth."""
    faults: list[Fault] = []
    items: list[Item] = []
    notes = []
    cropped = False
    for dataset in _datasets(root):
        if (dataset / "binary_masks").is_dir():
            cropped = True
            items += _cropped_items(dataset, task, faults)
        elif (dataset / "ground_truth").is_dir():
            items += _items(dataset, faults)
        elif dataset.parent.name != "test":
            faults += missing_paths(dataset / "ground_truth")
        else:
            notes.append(f"{dataset.name} is left out: a test set without ground truth")
    places, named = {dataset.parent for dataset in _datasets(root)}, "instrument_dataset_N"
    faults += misnamed_folders(places, _datasets(root), "left_frames", named=named)
    groups = {item.group for item in items}
    folds = tuple(tuple(f"instrument_dataset_{n}" for n in fold) for fold in FOLDS)
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table or TABLES[task],
        items=tuple(items),
        splits={},
        read=functools.partial(read, task=task),
        notes=tuple(notes),
        task=task,
        folds=folds if {group for fold in folds for group in fold} <= groups else (),
        instances=None if cropped else functools.partial(read_instances, task=task),
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item, *, task: str) -> Sample:
    """Reads one frame, crops it to the view of the endoscope, and joins its masks.

    Raises:
        DataError: A file cannot be read, or a size or a value is wrong.
    """
    image = read_image(item.image)
    if item.mask is not None and "masks" not in item.extra:
        values = _values(item.mask)
        check_size(image, values, image_path=item.image, mask_path=item.mask)
        ids = ids_from_values(values, _CROPPED[task][1], path=item.mask)
        return Sample(name=item.name, image=image, mask=ids)
    labels: NDArray[np.uint8] = np.zeros(image.shape[:2], np.uint8)
    for type_id, path in item.extra["masks"]:
        values = _values(path)
        check_size(image, values, image_path=item.image, mask_path=path)
        ids = _ids(values, type_id, task, path)
        labels = np.where(ids > 0, ids, labels)
    if labels.shape == FULL:
        image, labels = np.ascontiguousarray(image[_CROP]), np.ascontiguousarray(labels[_CROP])
    elif labels.shape != VIEW:
        raise DataError(
            f"{item.image} is {labels.shape[1]}x{labels.shape[0]}, "
            "expected 1920x1080, or 1280x1024 if it is cropped already",
            remedy="download the frame again",
        )
    return Sample(name=item.name, image=image, mask=labels)


def read_instances(item: Item, *, task: str) -> NDArray[np.uint8]:
    """Instance numbers ``[H, W]`` uint8 of one frame, cropped; each mask folder is an instance."""
    numbers: NDArray[np.uint8] | None = None
    for number, (type_id, path) in enumerate(item.extra["masks"], 1):
        ids = _ids(_values(path), type_id, task, path)
        numbers = np.zeros_like(ids) if numbers is None else numbers
        numbers = np.where(ids > 0, np.uint8(number), numbers)
    assert numbers is not None  # frames without mask are faults
    return np.ascontiguousarray(numbers[_CROP]) if numbers.shape == FULL else numbers


def _values(path: Path) -> NDArray[np.uint8]:
    values = opaque(read_raw_mask(path).values, path=path)
    # Some coloured masks have the value in all channels, others in one.
    return values if values.ndim == 2 else np.asarray(values.max(axis=2), np.uint8)


def _ids(values: NDArray[np.uint8], type_id: int, task: str, path: Path) -> NDArray[np.uint8]:
    other = type_id == len(TYPES)
    if task == "parts":
        if not other:
            return ids_from_values(values, _PART_CODES, path=path)
        # "Other" instruments have other parts too: these are ignored.
        known = np.isin(values, list(_PART_CODES))
        ids = ids_from_values(np.where(known, values, np.uint8(0)), _PART_CODES, path=path)
        return np.where(known, ids, np.uint8(IGNORE_INDEX))
    if not other:
        ids_from_values(
            values, _PART_CODES, path=path
        )  # raises an error for values that are no part
    return np.asarray((values > 0) * np.uint8(1 if task == "binary" else type_id), np.uint8)


def _datasets(root: Path) -> list[Path]:
    pattern = r"instrument_dataset_\d+"
    return [
        *folders(root, pattern),
        *folders(root / "train", pattern),
        *folders(root / "test", pattern),
    ]


def _cropped_items(dataset: Path, task: str, faults: list[Fault]) -> list[Item]:
    masks = dataset / _CROPPED[task][0]
    prefix = f"{dataset.name}/"
    items = pairs_by_stem(dataset / "images", masks, faults, prefix=prefix)
    return [replace(item, group=dataset.name) for item in items]


def _items(dataset: Path, faults: list[Fault]) -> list[Item]:
    frames = images_by_stem(dataset / "left_frames")
    if not frames:
        faults.append(Fault(file=dataset / "left_frames", text="is missing or has no frame"))
    tools: list[tuple[int, dict[str, Path]]] = []
    for folder in folders(dataset / "ground_truth", r"[^.].*"):
        kinds = [i for i, name in enumerate(TYPES, 1) if name.lower() in folder.name.lower()]
        if not kinds:
            known = ", ".join(TYPES)
            faults.append(
                Fault(file=folder, text=f"has a name without an instrument; known are {known}")
            )
            continue
        tools.append((kinds[0], images_by_stem(folder)))
        for stem in frames.keys() - tools[-1][1].keys():
            faults.append(
                Fault(file=folder / f"{stem}.png", text="is missing: the mask of the frame")
            )
        for stem in tools[-1][1].keys() - frames.keys():
            faults.append(Fault(file=tools[-1][1][stem], text="is the mask of no frame"))
    if not tools:
        faults.append(Fault(file=dataset / "ground_truth", text="has no mask folder"))
    return [
        Item(
            name=f"{dataset.name}/{stem}",
            image=image,
            mask=next((masks[stem] for _, masks in tools if stem in masks), None),
            group=dataset.name,
            extra={"masks": tuple((kind, m[stem]) for kind, m in tools if stem in m)},
        )
        for stem, image in frames.items()
        if tools
    ]
