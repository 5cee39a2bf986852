"""Writes small sets as annotation tools, and sets of later years, arrange them."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from data_helpers import TABLE, boxes, picture
from numpy.typing import NDArray
from PIL import Image

from trocar.contract.media.pictures import write_picture

Frame = NDArray[np.uint8]


def cityscapes(root: Path) -> Path:
    for number, split in enumerate(("train", "val")):
        for i in range(2):
            stem = f"{split}/case{number}/case{number}_{i:06d}"
            image = picture(10 * number + i, 24, 36)
            write_picture(root / "leftImg8bit" / f"{stem}_leftImg8bit.png", image)
            ids = boxes((0, 1, 2, 255), 24, 36)
            write_picture(root / "gtFine" / f"{stem}_gtFine_labelIds.png", ids)
            write_picture(root / "gtFine" / f"{stem}_gtFine_instanceIds.png", ids)
            write_picture(root / "gtFine" / f"{stem}_gtFine_color.png", np.dstack([ids] * 3))
    write_picture(root / "leftImg8bit" / "test" / "c" / "c_leftImg8bit.png", picture(30, 24, 36))
    TABLE.write(root / "classes.toml")
    return root


def supervisely_bitmap(pixels: Frame, *, alpha: bool) -> str:
    """The text of a bitmap: grey, or white with the region in the alpha channel."""
    grey = Image.fromarray(pixels * np.uint8(255))
    shown = Image.merge("RGBA", [Image.new("L", grey.size, 255)] * 3 + [grey]) if alpha else grey
    packed = io.BytesIO()
    shown.save(packed, "PNG")
    return base64.b64encode(zlib.compress(packed.getvalue())).decode()


def supervisely(root: Path) -> Path:
    for number, split in enumerate(("train", "val")):
        for i in range(2):
            name = f"a{i}.png"
            write_picture(root / split / "img" / name, picture(10 * number + i, 24, 36))
            ring = np.ones((6, 8), np.uint8)
            ring[2:4, 3:5] = 0
            outer = [[20, 2], [32, 2], [32, 20], [20, 20]]
            hole = [[24, 8], [28, 8], [28, 12], [24, 12]]
            objects = [
                {
                    "classTitle": "hook",
                    "geometryType": "bitmap",
                    "bitmap": {"origin": [4, 5], "data": supervisely_bitmap(ring, alpha=i == 1)},
                },
                {
                    "classTitle": "grasper",
                    "geometryType": "polygon",
                    "points": {"exterior": outer, "interior": [hole]},
                },
                {
                    "classTitle": "hook",
                    "geometryType": "rectangle",
                    "points": {"exterior": [[0, 20], [3, 23]], "interior": []},
                },
            ]
            data = {"description": "", "size": {"height": 24, "width": 36}, "objects": objects}
            (root / split / "ann").mkdir(parents=True, exist_ok=True)
            (root / split / "ann" / f"{name}.json").write_text(json.dumps(data))
    classes = [{"title": "grasper", "shape": "any"}, {"title": "hook", "shape": "any"}]
    (root / "meta.json").write_text(json.dumps({"classes": classes, "tags": []}))
    return root


def coco_document(names: Sequence[str], size: tuple[int, int] = (24, 36)) -> dict[str, Any]:
    """A COCO file of pictures with a hook at the left and a grasper at the right."""
    left = {"category_id": 4, "segmentation": [[2, 2, 12, 2, 12, 20, 2, 20]]}
    right = {"category_id": 2, "segmentation": [[20, 4, 30, 4, 30, 20, 20, 20]]}
    images = [
        {"id": i, "file_name": name, "height": size[0], "width": size[1]}
        for i, name in enumerate(names)
    ]
    annotations = [
        {"id": 2 * i + j, "image_id": i, "iscrowd": 0, **one}
        for i in range(len(names))
        for j, one in enumerate((left, right))
    ]
    categories = [{"id": 2, "name": "grasper"}, {"id": 4, "name": "hook"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def coco(root: Path) -> Path:
    for number, split in enumerate(("train", "valid")):
        for i in range(2):
            (root / split).mkdir(parents=True, exist_ok=True)
            write_picture(root / split / f"a{i}.jpg", picture(10 * number + i, 24, 36))
        document = json.dumps(coco_document(["a0.jpg", "a1.jpg"]))
        (root / split / "_annotations.coco.json").write_text(document)
    return root


def endoscapes(root: Path) -> Path:
    for split, videos in (("train", (4, 5)), ("val", (126,)), ("test", (165,))):
        for video_number in videos:
            for frame in (21725, 22475):
                stem = f"{video_number}_{frame}"
                (root / f"{split}_seg").mkdir(parents=True, exist_ok=True)
                image = picture(video_number + frame, 24, 42)
                write_picture(root / f"{split}_seg" / f"{stem}.jpg", image)
                ids = boxes((0, 1, 2, 3, 4, 5, 6), 24, 42)
                write_picture(root / "semseg" / f"{stem}.png", np.dstack([ids] * 3))
        (root / f"{split}_seg" / "annotation_coco.json").write_text("{}")
    return root


def autolaparo(root: Path) -> Path:
    for i in range(4):
        (root / "imgs").mkdir(parents=True, exist_ok=True)
        write_picture(root / "imgs" / f"{i:05d}.jpg", picture(i, 24, 40))
        values = boxes(range(0, 200, 20), 24, 40)
        write_picture(root / "masks" / f"{i:05d}.png", np.dstack([values] * 3))
    return root


def isinet(root: Path) -> Path:
    for number, (split, sequence) in enumerate((("train", 1), ("val", 2))):
        for i in range(2):
            stem = f"seq{sequence}_frame{i:03d}"
            image = picture(10 * number + i, 24, 36)
            write_picture(root / split / "images" / f"{stem}.png", image)
            annotations = root / split / "binary_annotations"
            for class_id, instance, columns in (
                (1, 0, (2, 10)),
                (1, 1, (12, 18)),
                (6, 0, (20, 30)),
            ):
                mask = np.zeros((24, 36), np.uint8)
                mask[4:20, slice(*columns)] = 255
                name = f"{stem}_class{class_id}_inst{instance}.png"
                write_picture(annotations / name, mask)
    return root


def dresden(root: Path) -> Path:
    for number, operation in enumerate(("01", "03", "32")):
        for i in range(2):
            folder = root / "colon" / operation
            write_picture(folder / f"image{i:02d}.png", picture(10 * number + i, 24, 36))
            write_picture(folder / f"mask{i:02d}.png", boxes((0, 255), 24, 36))
    return root
