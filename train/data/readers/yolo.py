"""YOLO boxes: ``{train,valid,test}/{images,labels}`` and ``data.yaml``.

    frames = open_frames("surgical_tools/"); frames.items[0].extra["boxes"]

A set without masks. Its boxes can be cropped to photographs (`trocar.train.data.classification`) or
segmented for compositing (`trocar.train.data.compositing.matting`).
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

from trocar.contract.classes import ClassRow, ClassTable, default_colour
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_bytes, read_image
from trocar.train.data.compositing.matting import read_boxes
from trocar.train.data.readers.common import images_by_stem, misnamed_folders, missing_paths
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "YOLO boxes"
TASKS: tuple[str, ...] = ("presence",)
_SPLITS = {"train": "train", "valid": "val", "val": "val", "test": "test"}


def recognise(root: Path) -> Recognition:
    """``data.yaml``, or split folders with ``labels`` of text files."""
    found = [s for s in _SPLITS if (root / s / "labels").is_dir()]
    if (root / "data.yaml").is_file() and any((root / s).is_dir() for s in _SPLITS):
        return Recognition(fits=True, why=f"data.yaml and {', '.join(found) or 'no labels'}")
    if any(next((root / s / "labels").glob("*.txt"), None) for s in found):
        return Recognition(fits=True, why=f"text files in labels/ of {', '.join(found)}")
    return Recognition(fits=False, why="there is no data.yaml beside train/, valid/, test/")


def scan(root: Path, *, task: str = "presence", table: ClassTable | None = None) -> Scan:
    """Lists the images of all splits and reads their boxes."""
    faults = missing_paths(root / "data.yaml")
    if table is None:
        try:
            table = classification_table(read_names(root / "data.yaml"))
        except DataError as error:
            if not faults:
                faults.append(Fault(file=root / "data.yaml", text=error.message))
            table = classification_table(["object"])
    items: list[Item] = []
    splits: dict[str, list[str]] = {}
    for folder, split in _SPLITS.items():
        if (root / folder).is_dir():
            for item in _items(root / folder, table, faults):
                items.append(item)
                splits.setdefault(split, []).append(item.name)
    named = ", ".join(_SPLITS)
    faults += misnamed_folders([root], [root / split for split in _SPLITS], "labels", named=named)
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table,
        items=tuple(items),
        splits={split: tuple(names) for split, names in splits.items()},
        read=functools.partial(read),
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item) -> Sample:
    """Reads one image; there is no mask.

    Raises:
        DataError: It cannot be read.
    """
    return Sample(name=item.name, image=read_image(item.image))


def read_names(path: Path) -> list[str]:
    """Class names of a ``data.yaml``, as a list in one line or as a block.

    Raises:
        DataError: It has no readable names.
    """
    text = read_bytes(path).decode("utf-8", "replace")
    inline = re.search(r"^names:\s*([\[{].*?[\]}])\s*$", text, re.MULTILINE | re.DOTALL)
    try:
        if inline:
            value = ast.literal_eval(inline.group(1))
            return [str(n) for n in (value.values() if isinstance(value, dict) else value)]
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise DataError(
            f"{path}: names is not a list: {error}", remedy="write names: ['a', 'b']"
        ) from error
    block = re.search(r"^names:\s*\n((?:\s+\S.*\n?|\s*-.*\n?)+)", text, re.MULTILINE)
    lines = block.group(1).splitlines() if block else []
    names = [re.sub(r"^\s*(-|\d+:)\s*", "", line).strip().strip("'\"") for line in lines]
    if not names:
        raise DataError(f"{path} holds no names", remedy="write names: ['a', 'b']")
    return names


def classification_table(names: list[str]) -> ClassTable:
    """A class table without background: id 0 is the first name."""
    return ClassTable(
        tuple(
            ClassRow(id=i, name=name, colour=default_colour(i + 1), instrument=True)
            for i, name in enumerate(names)
        )
    )


def _items(folder: Path, table: ClassTable, faults: list[Fault]) -> list[Item]:
    gone = missing_paths(folder / "images", folder / "labels")
    faults += gone
    images = images_by_stem(folder / "images")
    texts = {p.stem: p for p in sorted((folder / "labels").glob("*.txt"))}
    items = []
    for stem, image in images.items():
        if stem not in texts:
            if not gone:
                faults.append(Fault(file=image, text=f"has no boxes labels/{stem}.txt"))
            continue
        try:
            boxes = read_boxes(texts[stem])
        except DataError as error:
            text = error.message.removeprefix(f"{texts[stem]} ")
            faults.append(Fault(file=texts[stem], text=text))
            continue
        odd = sorted({b.class_index for b in boxes if b.class_index >= len(table)})
        if odd:
            text = f"has boxes of class {odd[0]}, data.yaml names 0 to {len(table) - 1}"
            faults.append(Fault(file=texts[stem], text=text))
            continue
        there = {b.class_index for b in boxes}
        presence = tuple(int(i in there) for i in range(len(table)))
        extra = {"boxes": tuple(boxes), "presence": presence}
        items.append(Item(name=f"{folder.name}/{stem}", image=image, extra=extra))
    for stem in texts.keys() - images.keys():
        faults.append(Fault(file=texts[stem], text="are the boxes of no image in images/"))
    return items
