"""Kvasir-Instrument: ``images/*.jpg``, ``masks/*.png``, ``bboxes.json``, two lists of a split.

    frames = open_frames("kvasir-instrument/").subset("train")

The instrument is the value 255 of channel 0. The official lists have 472 frames for training and
118 for testing; which frames show the same patient is not known.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_image
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.io.masks import check_size, opaque
from trocar.train.data.readers.common import (
    BINARY_TABLE,
    images_by_stem,
    missing_paths,
    read_text,
)
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "Kvasir-Instrument"
TASKS: tuple[str, ...] = ("binary",)


def recognise(root: Path) -> Recognition:
    """``bboxes.json`` or both lists, beside ``images`` or ``masks``; here or a folder deeper."""
    place = _place(root)
    if place is not None and (place / "classes.toml").is_file():
        return Recognition(fits=False, why="its classes.toml names other classes than Kvasir's")
    if place is None:
        return Recognition(fits=False, why="there is no bboxes.json or train.txt and test.txt")
    return Recognition(fits=True, why="images, masks, bboxes.json, train.txt and test.txt")


def scan(root: Path, *, task: str = "binary", table: ClassTable | None = None) -> Scan:
    """Lists the frames and the official split."""
    place = _place(root) or root
    lists = {"train": place / "train.txt", "test": place / "test.txt"}
    faults = missing_paths(place / "images", place / "masks", *lists.values())
    images, masks = images_by_stem(place / "images"), images_by_stem(place / "masks")
    items = []
    for stem, image in images.items():
        if stem in masks:
            items.append(Item(name=stem, image=image, mask=masks[stem]))
        elif (place / "masks").is_dir():
            faults.append(Fault(file=image, text=f"has no mask masks/{stem}.png"))
    for stem in masks.keys() - images.keys():
        faults.append(Fault(file=masks[stem], text="is the mask of no image in images/"))
    splits = {split: _names(file) for split, file in lists.items() if file.is_file()}
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table or BINARY_TABLE,
        items=tuple(items),
        splits=splits,
        read=read,
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item) -> Sample:
    """Reads one frame and channel 0 of its mask.

    Raises:
        DataError: A file cannot be read, the sizes differ, or the mask holds other values.
    """
    image = read_image(item.image)
    assert item.mask is not None  # frames without mask are faults
    values = opaque(read_raw_mask(item.mask).values, path=item.mask)
    first = values if values.ndim == 2 else values[..., 0]
    odd = (first != 0) & (first != 255)
    if odd.any():
        shown = ", ".join(str(v) for v in np.unique(first[odd])[:6])
        raise DataError(
            f"{item.mask} has {int(odd.sum())} pixels with other values than 0 and 255: {shown}",
            remedy="download the mask again",
        )
    mask = (first > 0).astype(np.uint8)
    check_size(image, mask, image_path=item.image, mask_path=item.mask)
    return Sample(name=item.name, image=image, mask=mask)


def _place(root: Path) -> Path | None:
    for place in (root, root / "kvasir-instrument"):
        listed = (place / "train.txt").is_file() and (place / "test.txt").is_file()
        if ((place / "bboxes.json").is_file() or listed) and (
            (place / "images").is_dir() or (place / "masks").is_dir()
        ):
            return place
    return None


def _names(file: Path) -> tuple[str, ...]:
    lines = read_text(file).splitlines()
    return tuple(Path(line.strip()).stem for line in lines if line.strip())
