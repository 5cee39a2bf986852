"""Endoscapes2023: ``{train,val,test}_seg/VIDEO_FRAME.jpg`` and ``semseg/VIDEO_FRAME.png``.

    frames = open_frames("endoscapes/").subset("train")

Mask values are the class ids of ``seg_label_map.txt``; the three channels are equal. The frames
without segmentation (``train``, ``val``, ``test``) are not read.
"""

from __future__ import annotations

import functools
from pathlib import Path

from trocar.contract.classes import ClassTable
from trocar.train.data.readers.common import images_by_stem, missing_paths, read_coded, table_of
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.sample import SPLITS, Fault, FrameSet, Item

NAME = "Endoscapes"
TASKS: tuple[str, ...] = ("scene", "binary")
NAMES = (
    "cystic plate", "hepatocystic triangle", "cystic artery", "cystic duct", "gallbladder", "tool",
)  # fmt: skip
TABLES = {
    "scene": table_of(["background", *NAMES], instruments=["tool"]),
    "binary": table_of(["background", "tool"], instruments=["tool"]),
}


def recognise(root: Path) -> Recognition:
    """``semseg`` beside ``train_seg``, ``val_seg`` or ``test_seg``."""
    found = [f"{split}_seg" for split in SPLITS if (root / f"{split}_seg").is_dir()]
    if found and (root / "semseg").is_dir():
        return Recognition(fits=True, why=f"there are semseg and {', '.join(found)}")
    return Recognition(fits=False, why="there are no semseg/ and train_seg/")


def scan(root: Path, *, task: str = "scene", table: ClassTable | None = None) -> Scan:
    """Lists the frames of the segmentation splits; the group is the video."""
    faults: list[Fault] = missing_paths(root / "semseg")
    masks = images_by_stem(root / "semseg")
    items: list[Item] = []
    splits: dict[str, tuple[str, ...]] = {}
    for split in SPLITS:
        folder = root / f"{split}_seg"
        found = images_by_stem(folder)
        if folder.is_dir() and not found:
            faults.append(Fault(file=folder, text="holds no image"))
        faults += [
            Fault(file=image, text=f"has no mask semseg/{stem}.png")
            for stem, image in found.items()
            if stem not in masks
        ]
        listed = [
            Item(name=stem, image=image, mask=masks[stem], group=stem.partition("_")[0])
            for stem, image in found.items()
            if stem in masks
        ]
        items += listed
        if listed:
            splits[split] = tuple(item.name for item in listed)
    known = {item.name for item in items}
    faults += [
        Fault(file=mask, text="is the mask of no picture in train_seg, val_seg or test_seg")
        for stem, mask in masks.items()
        if stem not in known
    ]
    tool = len(NAMES)
    codes = {i: (i if task == "scene" else int(i == tool)) for i in range(tool + 1)}
    frames = FrameSet(
        name=NAME,
        root=root,
        table=table or TABLES[task],
        items=tuple(items),
        splits=splits,
        read=functools.partial(read_coded, codes=codes),
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults))
