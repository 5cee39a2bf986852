"""EndoVis 2015 robotic: ``Dataset1..6``, each a video and one or two videos of masks.

    frames = open_frames("Segmentation_Robotic_Training/", task="binary")

Both published arrangements are read: the masks beside the film (training), or in ``GT/DatasetN`` of
the folder that holds the films or of the folder above it (testing).

A mask video shows one instrument. Those of ``Left_…`` and ``Right_Instrument_Segmentation.avi``
are the instances 1 and 2, and are joined; that of ``Segmentation.avi`` is instance 1. Video
compression changes the mask values, so each is rounded to the nearest of 0 (background), 70
(manipulator) and 160 (shaft). Each data set is a group and one fold.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.train.data.io.masks import check_size
from trocar.train.data.io.video import read_frame, video_info
from trocar.train.data.readers.common import folders, misnamed_folders
from trocar.train.data.readers.endovis2015 import BINARY_TABLE, PARTS_TABLE
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "EndoVis 2015 robotic"
TASKS: tuple[str, ...] = ("parts", "binary")
_ONE = "Segmentation.avi"
_TWO = ("Left_Instrument_Segmentation.avi", "Right_Instrument_Segmentation.avi")
# The midpoints between 0, 70 and 160, and the ids of background, manipulator and shaft.
_LIMITS, _IDS = np.array((35, 115)), np.array((0, 2, 1), np.uint8)


_PLACES = tuple(
    Path(text)
    for text in (
        "",
        "Training",
        "Testing",
        "Segmentation_Robotic_Training/Training",
        "Segmentation_Robotic_Testing/Testing",
        "Segmentation_Robotic_Training",
        "Segmentation_Robotic_Testing",
    )
)


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
        instances=read_instances,
        lasting_instances=True,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item, *, binary: bool = False) -> Sample:
    """Decodes one frame and joins its masks.

    Raises:
        DataError: A video cannot be read, or sizes differ.
    """
    image = read_frame(item.image, item.extra["frame"])
    mask: NDArray[np.uint8] = np.zeros(image.shape[:2], np.uint8)
    for path, ids in _masks(item):
        check_size(image, ids, image_path=item.image, mask_path=path)
        mask = np.where(ids > 0, ids, mask)
    if binary:
        mask = (mask > 0).astype(np.uint8)
    return Sample(name=item.name, image=image, mask=mask)


def read_instances(item: Item) -> NDArray[np.uint8]:
    """Instance numbers ``[H, W]`` uint8 of one frame, the right one above; raises `DataError`."""
    numbers: NDArray[np.uint8] | None = None
    for number, (path, ids) in enumerate(_masks(item), 1):
        if numbers is None:
            numbers = np.zeros(ids.shape, np.uint8)
        check_size(numbers, ids, image_path=item.mask or path, mask_path=path)
        numbers[ids > 0] = number
    assert numbers is not None
    return numbers


def _masks(item: Item) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
    """Each mask video with its class ids of one frame."""
    for path in item.extra["masks"]:
        yield path, snap(read_frame(path, item.extra["frame"]).max(axis=2))


def snap(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class ids of compressed grey values, by the nearest of 0, 70 and 160."""
    return _IDS[np.digitize(values, _LIMITS)]


def _datasets(root: Path) -> list[Path]:
    for place in _PLACES:
        found = [d for d in folders(root / place, r"Dataset\d+") if any(d.glob("*.avi"))]
        if found:
            return found
    return []


def _mask_videos(dataset: Path) -> tuple[list[Path], Path | None]:
    """The mask videos of a film, and the first that is missing."""
    places = (dataset, *(p / "GT" / dataset.name for p in (dataset.parent, dataset.parent.parent)))
    for place in places:
        two = [place / name for name in _TWO]
        if any(path.is_file() for path in two):
            return two, next((path for path in two if not path.is_file()), None)
        if (place / _ONE).is_file():
            return [place / _ONE], None
    return [], dataset / _ONE


def _items(dataset: Path, faults: list[Fault]) -> list[Item]:
    video = dataset / "Video.avi"
    there, missing = _mask_videos(dataset)
    gone = [] if video.is_file() else [Fault(file=video, text="is missing")]
    if missing is not None:
        other = "" if there else f", and GT/{dataset.name} holds no mask video either"
        gone.append(Fault(file=missing, text=f"is missing{other}"))
    faults += gone
    if gone:
        return []
    needed = [video, *there]
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
