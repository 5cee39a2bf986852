"""Robust-MIS 2019: folders of ``raw.png``, ``instrument_instances.png`` and ``10s_video.zip``.

    frames = open_frames("robust-mis/Training/")

In the instance mask, 0 is background and each other value is one instrument. The last two folders
above a frame are its operation, which is the group.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.media.pictures import is_hidden, read_image
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.io.masks import check_size, grey
from trocar.train.data.readers.common import BINARY_TABLE, numeric_key
from trocar.train.data.readers.scan import Recognition, Scan, splits_by_group
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "Robust-MIS 2019"
TASKS: tuple[str, ...] = ("binary",)
_RAW, _INSTANCES = "raw.png", "instrument_instances.png"


def recognise(root: Path) -> Recognition:
    """A folder at any depth with ``instrument_instances.png``, or ``raw.png`` and the video."""
    for path in _frame_folders(root):
        return Recognition(fits=True, why=f"{path.name}/ holds {_RAW} or {_INSTANCES}")
    return Recognition(fits=False, why=f"there is no folder with {_RAW} and {_INSTANCES}")


def scan(root: Path, *, task: str = "binary", table: ClassTable | None = None) -> Scan:
    """Lists the frames of all operations; the folders Training and Testing are the splits."""
    faults: list[Fault] = []
    items = []
    for folder in sorted(_frame_folders(root), key=lambda p: (p.parent, numeric_key(p))):
        gone = [name for name in (_RAW, _INSTANCES) if not (folder / name).is_file()]
        faults += [Fault(file=folder / name, text="is missing") for name in gone]
        if gone:
            continue
        relative = folder.relative_to(root)
        items.append(
            Item(
                name=relative.as_posix(),
                image=folder / _RAW,
                mask=folder / _INSTANCES,
                group=relative.parent.as_posix().strip("."),
                extra={"instances": folder / _INSTANCES},
            )
        )
    tests = {item.group for item in items if item.group.lower().startswith("test")}
    splits = splits_by_group(items, test=tests) if tests else {}
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table or BINARY_TABLE,
        items=tuple(items),
        splits=splits if len(splits) > 1 else {},
        read=read,
        instances=read_instances,
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item) -> Sample:
    """Reads one frame; every instance belongs to the class instrument.

    Raises:
        DataError: A file cannot be read, or the sizes differ.
    """
    image = read_image(item.image)
    mask = (read_instances(item) > 0).astype(np.uint8)
    assert item.mask is not None
    check_size(image, mask, image_path=item.image, mask_path=item.mask)
    return Sample(name=item.name, image=image, mask=mask)


def read_instances(item: Item) -> NDArray[np.uint8]:
    """Instance numbers ``[H, W]`` uint8 of one frame, 0 = background; raises `DataError`."""
    assert item.mask is not None  # frames without mask are faults
    return grey(read_raw_mask(item.mask), path=item.mask)


def _frame_folders(root: Path) -> Iterator[Path]:
    seen = set()
    for name in (_INSTANCES, _RAW):
        for path in root.rglob(name):
            folder = path.parent
            video = (folder / "10s_video.zip").is_file()
            known = name == _INSTANCES or video
            if known and folder not in seen and not is_hidden(path.relative_to(root)):
                seen.add(folder)
                yield folder
