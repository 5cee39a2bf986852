"""Published arrangements that are known and not read, with a way to bring each in.

known = unread.find(Path("endoscapes/"))   # None where the folder is none of them
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from trocar.train.data.readers import yolo_polygons
from trocar.train.data.readers.common import folders, images_by_stem


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
        if file.is_file() and ((root / "semseg").is_dir() or part.endswith("_seg")):
            return Unread(
                name="Endoscapes",
                remedy=f"trocar data import-labels {file} {file.parent} OUT, once per split",
            )
    for place in (root, root / "train"):
        if (place / "binary_annotations").is_dir() and (place / "images").is_dir():
            return Unread(
                name="EndoVis 2018 with types, as ISINet and SurgicalSAM arrange it",
                remedy="convert it to images/, masks/, classes.toml, and map the mask values in "
                "dataset.toml; docs/data.md lists the types",
            )
    for place in (root, *folders(root, r"\d+")):
        stems = images_by_stem(place).keys()
        numbers = [m[1] for stem in stems if (m := re.fullmatch(r"image(\d+)", stem))]
        if numbers and all(f"mask{number}" in stems for number in numbers):
            return Unread(
                name="Dresden Surgical Anatomy Dataset",
                remedy="move each imageNN.png to images/NN.png and maskNN.png to masks/NN.png, "
                'write classes.toml, and map 255 in dataset.toml: [values] 255 = "colon"',
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
