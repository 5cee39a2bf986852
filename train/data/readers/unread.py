"""Published arrangements that are known and not read, with a way to bring each in.

known = unread.find(Path("endoscapes/"))   # None where the folder is none of them
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from trocar.train.data.readers import dresden, endoscapes, yolo_polygons
from trocar.train.data.readers.common import images_by_stem


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A published arrangement that no reader takes.

    Attributes:
        name: What it is.
        remedy: How to bring it in.
    """

    name: str
    remedy: str


def find(root: Path) -> Unread | None:
    """The arrangement of a folder, by the names of its files and folders."""
    for part in ("train_seg", "val_seg", "test_seg", "train", "val", "test"):
        file = root / part / "annotation_coco.json"
        if file.is_file() and not endoscapes.recognise(root).fits:
            return Unread(
                name="Endoscapes without semseg/",
                remedy=f"trocar data import-labels {file} {file.parent} OUT, once per split",
            )
    stems = images_by_stem(root).keys()
    numbers = [m[1] for stem in stems if (m := re.fullmatch(r"image(\d+)", stem))]
    if numbers and all(f"mask{number}" in stems for number in numbers):
        return Unread(
            name="one operation of the Dresden Surgical Anatomy Dataset",
            remedy=f"name the folder of the organ, {root.parent}",
        )
    multilabel = root if root.name == "multilabel" else root / "multilabel"
    if dresden.has_frames(multilabel) and not dresden.recognise(root).fits:
        return Unread(
            name="the multilabel part of the Dresden Surgical Anatomy Dataset",
            remedy="join its masks to one mask of class ids for each picture, in masks/",
        )
    texts = (root / "labels").rglob("*.txt")
    boxes = (root / "images").is_dir() and not (root / "masks").is_dir() and any(texts)
    if boxes and not yolo_polygons.recognise(root).fits:
        return Unread(
            name="a set of YOLO boxes as Ultralytics arranges it",
            remedy="move images/train and labels/train to train/images and train/labels, and so "
            "for the other splits",
        )
    return None
