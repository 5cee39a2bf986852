"""AutoLaparo, task 3: ``imgs/*.jpg`` and ``masks/*.png``, also below train, val and test.

    frames = open_frames("AutoLaparo_Task3/", task="parts")

Mask values are 20 and 40 for manipulator and shaft of the first instrument, 60 and 80 of the second
and so on; 180 is the uterus.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import list_images
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.readers.common import BINARY_TABLE, pairs_by_stem, read_coded, table_of
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import SPLITS, Fault, FrameSet, Item

NAME = "AutoLaparo"
TASKS: tuple[str, ...] = ("type", "parts", "binary")
TYPES = ("grasping forceps", "LigaSure", "dissecting and grasping forceps", "electric hook")
PARTS = ("manipulator", "shaft")
TABLES = {
    "type": table_of(["background", *TYPES, "uterus"], instruments=TYPES),
    "parts": table_of(["background", *PARTS], instruments=PARTS, parts={p: p for p in PARTS}),
    "binary": BINARY_TABLE,
}
_UTERUS = 180
VALUES = range(0, _UTERUS + 1, 20)


def recognise(root: Path) -> Recognition:
    """``imgs`` and ``masks`` whose first masks hold multiples of 20, without a class table."""
    if not (root / "imgs").is_dir() or not (root / "masks").is_dir():
        return Recognition(fits=False, why="there are no imgs/ and masks/")
    if (root / "classes.toml").is_file():
        return Recognition(fits=False, why="there is a classes.toml beside imgs/ and masks/")
    if "autolaparo" in root.name.lower() or _has_its_values(root / "masks"):
        return Recognition(fits=True, why="there are imgs and masks with the values 20, 40, …, 180")
    return Recognition(fits=False, why="masks/ holds other values than 20, 40, …, 180")


def _has_its_values(masks: Path) -> bool:
    found: set[int] = set()
    try:
        for file in islice(list_images(masks), 3):
            found |= set(np.unique(read_raw_mask(file).values[..., :3]).tolist())
    except DataError:
        return False
    return found <= set(VALUES) and len(found) > 1


def scan(root: Path, *, task: str = "type", table: ClassTable | None = None) -> Scan:
    """Lists the frames; the groups are not known."""
    faults: list[Fault] = []
    items = pairs_by_stem(root / "imgs", root / "masks", faults)
    of_split = {
        split: tuple(i.name for i in items if i.name.startswith(f"{split}/")) for split in SPLITS
    }
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table or TABLES[task],
        items=tuple(_without_split(item) for item in items),
        splits={split: names for split, names in of_split.items() if names},
        read=functools.partial(read_coded, codes={v: class_of(v, task) for v in VALUES}),
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults))


def class_of(value: int, task: str) -> int:
    """The class id of a mask value."""
    if value == 0:
        return 0
    number, part = divmod(value // 20 - 1, 2)
    if value == _UTERUS:
        return len(TYPES) + 1 if task == "type" else 0
    return {"type": number + 1, "parts": part + 1, "binary": 1}[task]


def _without_split(item: Item) -> Item:
    return replace(item, group="") if item.group in SPLITS else item
