"""EndoVis 2015 robotic: ``Dataset1..4``, each a video and one or two videos of masks.

    frames = open_frames("Segmentation_Robotic_Training/", task="binary")

Two mask videos show two tools; their union is taken. Video compression changes the mask values, so
each is rounded to the nearest of 0 (background), 70 (manipulator) and 160 (shaft). Each data set is
a group and one fold.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.train.data.io.masks import check_size
from trocar.train.data.io.video import read_frame, video_info
from trocar.train.data.readers.common import folders, misnamed_folders, missing_paths
from trocar.train.data.readers.endovis2015 import BINARY_TABLE, PARTS_TABLE
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "EndoVis 2015 robotic"
TASKS: tuple[str, ...] = ("parts", "binary")
_ONE = ("Segmentation.avi",)
_TWO = ("Left_Instrument_Segmentation.avi", "Right_Instrument_Segmentation.avi")
# The midpoints between 0, 70 and 160, and the ids of background, manipulator and shaft.
_LIMITS, _IDS = np.array((35, 115)), np.array((0, 2, 1), np.uint8)


def recognise(root: Path) -> Recognition:
    """Folders ``DatasetN`` with ``Video.avi`` or a mask video, here or up to two deeper."""
    found = _datasets(root)
    if found:
        return Recognition(fits=True, why=f"{len(found)} folders DatasetN with videos of masks")
    return Recognition(fits=False, why="there is no folder DatasetN with Video.avi")


def scan(root: Path, *, task: str = "parts", table: ClassTable | None = None) -> Scan:
    """Lists all frames of all videos; opens each video's header."""
    faults: list[Fault] = []
    items: list[Item] = []
    datasets = _datasets(root)
    for dataset in datasets:
        items += _items(dataset, faults)
    faults += misnamed_folders(
        {d.parent for d in datasets}, datasets, "Video.avi", named="DatasetN"
    )
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table or (BINARY_TABLE if task == "binary" else PARTS_TABLE),
        items=tuple(items),
        splits={},
        read=functools.partial(read, binary=task == "binary"),
        task=task,
        folds=tuple((d.name,) for d in datasets) if len(datasets) > 1 else (),
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item, *, binary: bool = False) -> Sample:
    """Decodes one frame and joins its masks.

    Raises:
        DataError: A video cannot be read, or sizes differ.
    """
    number = item.extra["frame"]
    image = read_frame(item.image, number)
    mask: NDArray[np.uint8] = np.zeros(image.shape[:2], np.uint8)
    for path in item.extra["masks"]:
        ids = snap(read_frame(path, number).max(axis=2))
        check_size(image, ids, image_path=item.image, mask_path=path)
        mask = np.where(ids > 0, ids, mask)
    if binary:
        mask = (mask > 0).astype(np.uint8)
    return Sample(name=item.name, image=image, mask=mask)


def snap(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class ids of compressed grey values, by the nearest of 0, 70 and 160."""
    return _IDS[np.digitize(values, _LIMITS)]


def _datasets(root: Path) -> list[Path]:
    for place in (root, root / "Training", root / "Segmentation_Robotic_Training" / "Training"):
        found = [d for d in folders(place, r"Dataset\d+") if any(d.glob("*.avi"))]
        if found:
            return found
    return []


def _items(dataset: Path, faults: list[Fault]) -> list[Item]:
    video = dataset / "Video.avi"
    there = [dataset / name for name in (*_ONE, *_TWO) if (dataset / name).is_file()]
    if {p.name for p in there} & set(_TWO):
        there = [dataset / name for name in _TWO]
    needed = [video, *(there or [dataset / _ONE[0]])]
    gone = missing_paths(*needed)
    faults += gone
    if gone:
        return []
    try:
        counts = {path: video_info(path).frames for path in needed}
    except DataError as error:
        faults.append(Fault(file=dataset, text=error.message))
        return []
    for path in there:
        if counts[path] != counts[video]:
            faults.append(
                Fault(file=path, text=f"has {counts[path]} frames, Video.avi has {counts[video]}")
            )
    return [
        Item(
            name=f"{dataset.name}/{number:06d}",
            image=video,
            mask=there[0],
            group=dataset.name,
            extra={"frame": number, "masks": tuple(there)},
        )
        for number in range(min(counts.values()))
    ]
