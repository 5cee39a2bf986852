"""COCO instance annotations, as polygons or run lengths.

text = coco_from_images(images, names, rle=True); images = images_from_coco(path)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_bytes
from trocar.train.data.annotations.regions import (
    AnnotatedImage,
    decode_runs,
    encode_runs,
    fill_polygons,
    polygons_of,
)


def coco_from_images(
    annotated_images: Iterable[AnnotatedImage], names: Sequence[str], *, rle: bool = False
) -> str:
    """Writes COCO JSON text.

    Args:
        annotated_images: The images to write.
        names: Class names in order; category ids count from 1.
        rle: Write compressed run lengths, which are exact in every tool. Otherwise polygons through
            pixel centres, which some tools fill up to half a pixel smaller.
    """
    categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    ids = {name: i for i, name in enumerate(names, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, annotated in enumerate(annotated_images, 1):
        height, width = annotated.size
        images.append(
            {"id": number, "file_name": annotated.file_name, "height": height, "width": width}
        )
        for label, mask in zip(annotated.labels, annotated.masks, strict=True):
            ys, xs = np.nonzero(mask)
            x0, y0 = int(xs.min()), int(ys.min())
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": ids[label],
                    "iscrowd": 0,
                    "area": int(mask.sum()),
                    "bbox": [x0, y0, int(xs.max()) - x0 + 1, int(ys.max()) - y0 + 1],
                    "segmentation": _rle(mask) if rle else _polygons(mask),
                }
            )
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def images_from_coco(path: Path) -> tuple[list[AnnotatedImage], list[str]]:
    """Reads COCO JSON: polygons, and run lengths as text or as numbers.

    Returns:
        The images in order of their ids, and the category names.

    Raises:
        DataError: It is not a COCO file, or an annotation names an unknown image or category.
    """
    try:
        data = json.loads(read_bytes(path))
        names = {int(c["id"]): str(c["name"]) for c in data["categories"]}
        of_image: dict[int, list[dict[str, Any]]] = {int(i["id"]): [] for i in data["images"]}
        for annotation in data["annotations"]:
            of_image[int(annotation["image_id"])].append(annotation)
        annotated_images = []
        for image in data["images"]:
            size = (int(image["height"]), int(image["width"]))
            found = of_image[int(image["id"])]
            annotated_images.append(
                AnnotatedImage(
                    file_name=str(image["file_name"]),
                    size=size,
                    labels=tuple(names[int(a["category_id"])] for a in found),
                    masks=tuple(_mask(a["segmentation"], size) for a in found),
                )
            )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is not a COCO annotation: {text}", remedy="export the annotation again"
        ) from error
    return annotated_images, [names[i] for i in sorted(names)]


def text_from_runs(runs: Sequence[int]) -> str:
    """COCO's compressed text: differences to the run before last, 5 bits per character."""
    out = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            bits = value & 0x1F
            value >>= 5
            done = (value == -1) if bits & 0x10 else (value == 0)
            out.append(chr((bits if done else bits | 0x20) + 48))
            if done:
                break
    return "".join(out)


def runs_from_text(text: str) -> list[int]:
    """Run lengths of COCO's compressed text.

    Raises:
        ValueError: The text is truncated or has other characters.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"run lengths hold the character {character!r}")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("run lengths break off")
    return runs


def _rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    # COCO counts down the columns.
    return {"size": list(mask.shape), "counts": text_from_runs(encode_runs(mask.ravel(order="F")))}


def _polygons(mask: NDArray[np.bool_]) -> list[list[int]]:
    return [[int(v) for v in polygon.ravel()] for polygon in polygons_of(mask)]


def _mask(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    if isinstance(segmentation, dict):
        if tuple(segmentation["size"]) != size:
            raise ValueError(f"run lengths are for {segmentation['size']}, the image is {size}")
        counts = segmentation["counts"]
        runs = runs_from_text(counts) if isinstance(counts, str) else [int(v) for v in counts]
        return decode_runs(runs, size[0] * size[1]).reshape(size, order="F")
    polygons = [np.asarray(flat, np.float64).reshape(-1, 2) for flat in segmentation]
    return fill_polygons(polygons, size)
