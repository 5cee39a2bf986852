"""The names of Cityscapes: ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` and ``gtFine/…``.

    frames = open_frames("theatre_cityscapes/")

Masks are ``*_gtFine_labelIds.png``, or ``*_gtFine_labelTrainIds.png`` where a split has no others;
``_color``, ``_instanceIds`` and ``_polygons`` are not read. The format names no classes, so a
``classes.toml`` has to lie beside the two folders. The folder of a city is the group.
"""

from __future__ import annotations

import functools
from pathlib import Path

from trocar.contract.classes import ClassTable
from trocar.contract.media.pictures import list_images
from trocar.train.data.io.masks import identity
from trocar.train.data.readers.common import (
    class_table_beside,
    folders,
    missing_paths,
    read_coded,
)
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import SPLITS, Fault, FrameSet, Item

NAME = "Cityscapes names"
TASKS: tuple[str, ...] = ("type",)
_IMAGE = "_leftImg8bit"
_MASKS = ("_gtFine_labelIds", "_gtFine_labelTrainIds")


def recognise(root: Path) -> Recognition:
    """``leftImg8bit`` or ``gtFine``."""
    found = [name for name in ("leftImg8bit", "gtFine") if (root / name).is_dir()]
    if found:
        return Recognition(fits=True, why=f"there is {' and '.join(found)}")
    return Recognition(fits=False, why="there are no leftImg8bit/ and gtFine/")


def scan(root: Path, *, task: str = "type", table: ClassTable | None = None) -> Scan:
    """Lists the pictures of all splits; a test split without masks is left out."""
    images, masks = root / "leftImg8bit", root / "gtFine"
    faults: list[Fault] = missing_paths(images, masks)
    classes = class_table_beside(root, table, faults)
    items: list[Item] = []
    splits: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    for split in SPLITS:
        if split == "test" and (images / split).is_dir() and not (masks / split).is_dir():
            notes.append("the split test has no masks and is left out")
            continue
        found = _items(images / split, masks / split, split, faults)
        items += found
        if found:
            splits[split] = tuple(item.name for item in found)
    faults += [
        Fault(file=folder, text=f"is no split; folders are named {', '.join(SPLITS)}")
        for place in (images, masks)
        for folder in folders(place, ".*")
        if folder.name not in SPLITS
    ]
    frames = FrameSet(
        name=root.name,
        root=root,
        table=classes,
        items=tuple(items),
        splits=splits,
        read=functools.partial(read_coded, codes=identity(classes)),
        notes=tuple(notes),
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults))


def _items(images: Path, masks: Path, split: str, faults: list[Fault]) -> list[Item]:
    of_kind = {kind: _by_name(masks, kind) for kind in _MASKS}
    kind = next((kind for kind in _MASKS if of_kind[kind]), _MASKS[0])
    mask_of, items = of_kind[kind], []
    image_of = _by_name(images, _IMAGE)
    for name, image in image_of.items():
        if name in mask_of:
            city, slash, _ = name.rpartition("/")
            group = f"{split}/{city}" if slash else ""
            items.append(Item(name=f"{split}/{name}", image=image, mask=mask_of[name], group=group))
        else:
            faults.append(Fault(file=image, text=f"has no mask gtFine/{split}/{name}{kind}.png"))
    faults += [
        Fault(file=mask, text="is the mask of no picture in leftImg8bit/")
        for name, mask in mask_of.items()
        if name not in image_of
    ]
    faults += [
        Fault(file=file, text=f"is not named *{_IMAGE}")
        for file in list_images(images)
        if not file.stem.endswith(_IMAGE)
    ]
    return items


def _by_name(folder: Path, ending: str) -> dict[str, Path]:
    return {
        file.relative_to(folder).with_suffix("").as_posix().removesuffix(ending): file
        for file in list_images(folder)
        if file.stem.endswith(ending)
    }
