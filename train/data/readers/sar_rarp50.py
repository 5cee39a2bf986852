"""SAR-RARP50: ``video_N/rgb/*.png`` and ``video_N/segmentation/*.png``, in ``train*`` and ``test``.

    frames = open_frames("sar-rarp50/").subset("train")

Mask values are the class ids. The release has films; its toolkit writes ``rgb/`` from them.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

from trocar.contract.classes import ClassTable
from trocar.contract.media.pictures import read_image
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.io.masks import check_size, ids_from_table
from trocar.train.data.readers.common import folders, pairs_by_stem, table_of
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "SAR-RARP50"
TASKS: tuple[str, ...] = ("scene",)
NAMES = (
    "tool clasper", "tool wrist", "tool shaft", "suturing needle", "thread", "suction tool",
    "needle holder", "clamps", "catheter",
)  # fmt: skip
TABLE = table_of(
    ["background", *NAMES],
    instruments=[n for n in NAMES if n != "thread"],
    parts={"tool clasper": "clasper", "tool wrist": "wrist", "tool shaft": "shaft"},
)


def recognise(root: Path) -> Recognition:
    """``video_N`` with ``rgb`` or ``segmentation``, here or below ``train*`` and ``test*``."""
    parts = ("rgb", "segmentation")
    found = [v for _, v in _videos(root) if any((v / part).is_dir() for part in parts)]
    if found:
        return Recognition(fits=True, why=f"{len(found)} folders video_N with rgb/, segmentation/")
    return Recognition(fits=False, why="there is no folder video_N with rgb/ and segmentation/")


def scan(root: Path, *, task: str = "scene", table: ClassTable | None = None) -> Scan:
    """Lists the frames that have a mask; the group is the video."""
    faults: list[Fault] = []
    items: list[Item] = []
    splits: dict[str, list[str]] = {}
    for split, video in _videos(root):
        name = video.relative_to(root).as_posix() if video != root else video.name
        if not (video / "rgb").is_dir() and (video / "video_left.avi").is_file():
            text = "has no rgb/; extract the frames with the toolkit of the release"
            faults.append(Fault(file=video, text=text))
            continue
        for item in pairs_by_stem(video / "rgb", video / "segmentation", faults, prefix=f"{name}/"):
            items.append(replace(item, group=video.name))
            if split:
                splits.setdefault(split, []).append(item.name)
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table or TABLE,
        items=tuple(items),
        splits={split: tuple(names) for split, names in splits.items()},
        read=functools.partial(read, table=table or TABLE),
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item, *, table: ClassTable) -> Sample:
    """Reads one frame and its mask.

    Raises:
        DataError: A file cannot be read, or the mask holds a value that is no class.
    """
    image = read_image(item.image)
    assert item.mask is not None  # Frames without a mask are faults.
    mask = ids_from_table(read_raw_mask(item.mask), table, path=item.mask)
    check_size(image, mask, image_path=item.image, mask_path=item.mask)
    return Sample(name=item.name, image=image, mask=mask)


def _videos(root: Path) -> list[tuple[str, Path]]:
    pattern = r"video_\d+"
    found = [("", video) for video in folders(root, pattern)]
    for folder in folders(root, r"(?i)(train|test).*"):
        split = "test" if folder.name.lower().startswith("test") else "train"
        found += [(split, video) for video in folders(folder, pattern)]
    return found
