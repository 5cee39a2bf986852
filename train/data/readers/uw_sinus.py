"""UW-Sinus: ``cadaver`` and ``live``, each of ``images`` and ``labels``, 0 or 1.

    frames = open_frames("uw-sinus-surgery-C-L/", task="binary").fold(0)

A file name is ``S`` or ``L``, the video and the frame. Each video is a group and one fold.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

from trocar.contract.classes import ClassTable
from trocar.contract.media.pictures import read_image
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.io.masks import check_size, grey, ids_from_values
from trocar.train.data.readers.common import (
    BINARY_TABLE,
    images_by_stem,
    misnamed_folders,
    missing_paths,
)
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "UW-Sinus"
TASKS: tuple[str, ...] = ("binary", "cadaver", "live")
_PARTS = ("cadaver", "live")


def recognise(root: Path) -> Recognition:
    """``cadaver`` or ``live`` with ``images`` or ``labels``."""
    found = [
        part
        for part in _PARTS
        if (root / part / "images").is_dir() or (root / part / "labels").is_dir()
    ]
    if found:
        return Recognition(fits=True, why=f"{' and '.join(found)} with images and labels")
    return Recognition(fits=False, why="there is no cadaver/ or live/ with images/ and labels/")


def scan(root: Path, *, task: str = "binary", table: ClassTable | None = None) -> Scan:
    """Lists the frames of both parts, or of the part that is the task."""
    wanted = [task] if task in _PARTS else [p for p in _PARTS if (root / p).is_dir()]
    faults: list[Fault] = []
    items: list[Item] = []
    for part in wanted:
        items += _items(root / part, faults)
    parts = [root / part for part in _PARTS]
    faults += misnamed_folders([root], parts, "labels", named="cadaver or live")
    groups = tuple(dict.fromkeys(item.group for item in items))
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table or BINARY_TABLE,
        items=tuple(items),
        splits={},
        read=functools.partial(read),
        task=task,
        folds=tuple((group,) for group in groups) if len(groups) > 1 else (),
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item) -> Sample:
    """Reads one frame and its label.

    Raises:
        DataError: A file cannot be read, or the label has other values than 0 and 1.
    """
    image = read_image(item.image)
    assert item.mask is not None  # frames without label are faults
    mask = ids_from_values(
        grey(read_raw_mask(item.mask), path=item.mask), {0: 0, 1: 1}, path=item.mask
    )
    check_size(image, mask, image_path=item.image, mask_path=item.mask)
    return Sample(name=item.name, image=image, mask=mask)


def _items(part: Path, faults: list[Fault]) -> list[Item]:
    faults += missing_paths(part / "images", part / "labels")
    images, labels = images_by_stem(part / "images"), images_by_stem(part / "labels")
    items = []
    for stem, image in images.items():
        match = re.fullmatch(r"([SL]\d+)_(\d+)", stem)
        if match is None:
            faults.append(
                Fault(file=image, text="has another name than S or L, video, _ and frame")
            )
        elif stem not in labels:
            faults.append(Fault(file=image, text=f"has no label labels/{stem}.png"))
        else:
            name = f"{part.name}/{stem}"
            group = f"{part.name}/{match.group(1)}"
            items.append(Item(name=name, image=image, mask=labels[stem], group=group))
    for stem in labels.keys() - images.keys():
        faults.append(Fault(file=labels[stem], text="is the label of no image in images/"))
    return items
