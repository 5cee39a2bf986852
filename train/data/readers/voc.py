"""Pascal VOC segmentation: ``JPEGImages``, ``SegmentationClass``, ``labelmap.txt``, ``ImageSets``.

    frames = open_frames("task_1_segmentation_mask/")

CVAT's "Segmentation mask 1.1" is written so. ``labelmap.txt`` names the classes by their colours;
without it the set is the Pascal VOC challenge's own, whose masks hold class ids in a palette.
``SegmentationObject`` tells instances apart by colour.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_image
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.io.masks import check_size, ids_from_table
from trocar.train.data.readers.common import missing_paths, pairs_by_stem, read_text
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "Pascal VOC masks"
TASKS: tuple[str, ...] = ("type",)
_SPLIT_FILES = {"train": "train", "val": "val", "test": "test"}
_LINE = re.compile(
    r"^(?P<name>[^:#]+):(?P<colour>\d+,\d+,\d+):(?P<parts>[^:]*):(?P<actions>[^:]*)$"
)


def recognise(root: Path) -> Recognition:
    """Two of ``JPEGImages``, ``SegmentationClass`` and ``labelmap.txt``."""
    found = [n for n in ("JPEGImages", "SegmentationClass", "labelmap.txt") if (root / n).exists()]
    if len(found) >= 2:
        return Recognition(fits=True, why=f"there are {', '.join(found)}")
    return Recognition(fits=False, why="there are no JPEGImages/ and SegmentationClass/")


def scan(root: Path, *, task: str = "type", table: ClassTable | None = None) -> Scan:
    """Lists the pictures that have a mask; a picture without one is a fault."""
    faults = missing_paths(root / "JPEGImages", root / "SegmentationClass")
    if table is None:
        faults += missing_paths(root / "labelmap.txt")
        try:
            table = read_label_map(root / "labelmap.txt")
        except DataError as error:
            faults.append(Fault(file=root / "labelmap.txt", text=error.message))
            table = ClassTable.from_names(["background"])
    items = pairs_by_stem(root / "JPEGImages", root / "SegmentationClass", faults)
    objects = root / "SegmentationObject"
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table,
        items=tuple(items),
        splits=_splits(root / "ImageSets" / "Segmentation"),
        read=functools.partial(read, table=table),
        task=task,
        instances=functools.partial(read_instances, folder=objects) if objects.is_dir() else None,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item, *, table: ClassTable) -> Sample:
    """Reads one frame and its mask.

    Raises:
        DataError: A file cannot be read, or a colour is not in ``labelmap.txt``.
    """
    image = read_image(item.image)
    assert item.mask is not None  # Pictures without a mask are faults.
    mask = ids_from_table(read_raw_mask(item.mask), table, path=item.mask)
    check_size(image, mask, image_path=item.image, mask_path=item.mask)
    return Sample(name=item.name, image=image, mask=mask)


def read_instances(item: Item, *, folder: Path) -> NDArray[np.unsignedinteger]:
    """Instance numbers ``[H, W]``, 0 for none, one for each colour but black.

    Raises:
        DataError: The picture of the instances cannot be read.
    """
    raw = read_raw_mask(folder / f"{item.name}.png")
    if raw.values.ndim == 2:
        return raw.values
    wide = raw.values[..., :3].astype(np.uint32)
    packed = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    colours, numbers = np.unique(packed, return_inverse=True)
    shift = 0 if colours[0] == 0 else 1
    return np.asarray(numbers.reshape(packed.shape) + shift, np.uint16)


def read_label_map(path: Path) -> ClassTable:
    """The classes of a ``labelmap.txt``, ``name:r,g,b:parts:actions`` a line, background first.

    Raises:
        DataError: A line cannot be read, or there is none.
    """
    rows: list[tuple[str, tuple[int, int, int]]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.match(line.strip())
        colour = tuple(int(c) for c in match["colour"].split(",")) if match else ()
        if match is None or max(colour) > 255:
            raise DataError(
                f"line {number} is {line!r}, expected name:red,green,blue:parts:actions",
                remedy="export the task again as Segmentation mask 1.1",
            )
        rows.append((match["name"], (colour[0], colour[1], colour[2])))
    rows.sort(key=lambda row: row[0] != "background")
    if not rows or rows[0][0] != "background":
        raise DataError(
            "names no class 'background'", remedy="export the task with its background label"
        )
    return ClassTable(
        tuple(
            ClassRow(id=i, name=name, colour=colour, instrument=i > 0, type=name if i else "")
            for i, (name, colour) in enumerate(rows)
        )
    )


def _splits(folder: Path) -> dict[str, tuple[str, ...]]:
    """``train.txt``, ``val.txt`` and ``test.txt``; CVAT's ``default.txt`` divides nothing."""
    return {
        split: tuple(line.strip() for line in read_text(file).splitlines() if line.strip())
        for split, stem in _SPLIT_FILES.items()
        if (file := folder / f"{stem}.txt").is_file()
    }
