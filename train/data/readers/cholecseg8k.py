"""CholecSeg8k: clips ``videoNN/videoNN_XXXXX`` of frames with four masks each.

    frames = open_frames("cholecseg8k/", task="scene")

The watershed masks are read. Copies of the set write their codes in decimal or in hexadecimal, and
50 and 33 mean different classes in the two. So the codes that only one of them has decide for the
whole set. Codes 0 and 255 are ignored. The video is the group; there is no official split.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_image
from trocar.train.data.io.images import read_raw_mask
from trocar.train.data.io.masks import check_size, grey, ids_from_values
from trocar.train.data.readers.common import BINARY_TABLE, folders, misnamed_folders, table_of
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "CholecSeg8k"
TASKS: tuple[str, ...] = ("scene", "type", "binary")
CLASSES = (
    "background",
    "abdominal wall",
    "liver",
    "GI tract",
    "fat",
    "grasper",
    "connective tissue",
    "blood",
    "cystic duct",
    "L-hook electrocautery",
    "gallbladder",
    "hepatic vein",
    "liver ligament",
)
INSTRUMENTS = ("grasper", "L-hook electrocautery")
TABLES = {
    "scene": table_of(CLASSES, instruments=INSTRUMENTS),
    "type": table_of(["background", *INSTRUMENTS], instruments=INSTRUMENTS),
    "binary": BINARY_TABLE,
}
DECIMAL = (50, 11, 21, 13, 12, 31, 23, 24, 25, 32, 22, 33, 5)
HEXADECIMAL = (80, 17, 33, 19, 18, 49, 35, 36, 37, 50, 34, 51, 5)
READINGS = {"decimal": DECIMAL, "hexadecimal": HEXADECIMAL}
SIZE = (480, 854)
_IMAGE, _WATERSHED = "_endo.png", "_endo_watershed_mask.png"


def recognise(root: Path) -> Recognition:
    """Folders ``videoNN`` of folders ``videoNN_XXXXX``, or watershed masks two folders deep."""
    clips = _clips(root)
    if not clips and next(root.glob(f"*/*/frame_*{_WATERSHED}"), None):
        return Recognition(fits=True, why=f"frame_N{_WATERSHED} two folders deep")
    if clips:
        return Recognition(fits=True, why=f"{len(clips)} clips videoNN/videoNN_XXXXX")
    return Recognition(fits=False, why="there is no folder videoNN/videoNN_XXXXX")


def scan(root: Path, *, task: str = "scene", table: ClassTable | None = None) -> Scan:
    """Lists the frames of all clips, and decides whether the codes are decimal or hexadecimal."""
    faults: list[Fault] = []
    items: list[Item] = []
    for clip in _clips(root):
        items += _items(clip, faults)
    named = "videoNN/videoNN_XXXXX"
    faults += misnamed_folders(folders(root, r".*"), _clips(root), f"frame_*{_IMAGE}", named=named)
    reading, note = reading_of(items)
    if reading is None and items:
        faults.append(Fault(file=root, text=note))
    codes = _codes(READINGS[reading or "decimal"], task)
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table or TABLES[task],
        items=tuple(items),
        splits={},
        read=functools.partial(read, codes=codes),
        notes=(note,) if reading else (),
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults))


def reading_of(items: Sequence[Item], *, max_masks: int = 32) -> tuple[str | None, str]:
    """Whether the watershed codes of a set are ``decimal`` or ``hexadecimal``, and the evidence.

    Reads masks spread over the set until it finds codes that only one of the two has.

    Returns:
        The reading and the evidence in words; ``None`` without evidence or with evidence for both.
    """
    step = max(1, len(items) // max_masks)
    only = {
        "decimal": set(DECIMAL) - set(HEXADECIMAL),
        "hexadecimal": set(HEXADECIMAL) - set(DECIMAL),
    }
    seen: dict[str, set[int]] = {name: set() for name in only}
    order = [*items[::step], *items]  # then all masks, if those say nothing
    for count, item in enumerate(order):
        if count >= max_masks and any(seen.values()):
            break
        assert item.mask is not None
        try:
            values = np.unique(grey(read_raw_mask(item.mask), path=item.mask))
        except DataError:
            continue  # the error for this mask is raised when it is read
        for name, codes in only.items():
            seen[name] |= codes & set(values.tolist())
    found = [name for name, codes in seen.items() if codes]
    words = "; ".join(f"{name} codes {sorted(seen[name])}" for name in found)
    if len(found) == 1:
        return found[0], f"watershed codes are read as {found[0]}: found {words}"
    if found:
        return None, f"watershed codes of both readings occur in one set: {words}"
    return None, "no watershed code says whether codes are decimal or hexadecimal"


def read(item: Item, *, codes: Mapping[int, int]) -> Sample:
    """Reads one frame and its watershed mask.

    Raises:
        DataError: A file cannot be read, or a code belongs to no class.
    """
    image = read_image(item.image)
    assert item.mask is not None  # frames without mask are faults
    values = grey(read_raw_mask(item.mask), path=item.mask)
    mask = ids_from_values(values, codes, path=item.mask)
    check_size(image, mask, image_path=item.image, mask_path=item.mask)
    return Sample(name=item.name, image=image, mask=mask)


def _codes(reading: Sequence[int], task: str) -> dict[int, int]:
    codes = {0: IGNORE_INDEX, 255: IGNORE_INDEX}
    for class_id, code in enumerate(reading):
        name = CLASSES[class_id]
        if task == "scene":
            codes[code] = class_id
        elif task == "binary":
            codes[code] = int(name in INSTRUMENTS)
        else:
            codes[code] = 1 + INSTRUMENTS.index(name) if name in INSTRUMENTS else 0
    return codes


def _clips(root: Path) -> list[Path]:
    return [
        clip
        for video in folders(root, r"video\d+")
        for clip in folders(video, rf"{video.name}_\d+")
    ]


def _items(clip: Path, faults: list[Fault]) -> list[Item]:
    images = sorted(clip.glob("frame_*_endo.png"), key=lambda p: int(p.name.split("_")[1]))
    if not images:
        faults.append(Fault(file=clip, text="holds no frame_N_endo.png"))
    items = []
    known = set()
    for image in images:
        stem = image.name.removesuffix(_IMAGE)
        known.add(stem)
        mask = clip / f"{stem}{_WATERSHED}"
        if not mask.is_file():
            faults.append(Fault(file=image, text=f"has no mask {mask.name}"))
            continue
        items.append(
            Item(
                name=f"{clip.name}/{stem}",
                image=image,
                mask=mask,
                group=clip.parent.name,
            )
        )
    faults += [
        Fault(file=mask, text="is the mask of no frame")
        for mask in sorted(clip.glob(f"frame_*{_WATERSHED}"))
        if mask.name.removesuffix(_WATERSHED) not in known
    ]
    return items
