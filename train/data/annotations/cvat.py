"""CVAT for images 1.1: one XML file of polygons, masks and boxes.

text = cvat_from_images(images, names); images = images_from_cvat(path)
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from pathlib import Path

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


def cvat_from_images(
    annotated_images: Iterable[AnnotatedImage], names: Sequence[str], *, rle: bool = False
) -> str:
    """Writes CVAT XML text.

    Args:
        annotated_images: The images to write.
        names: Class names, for the list of labels.
        rle: Write masks (run lengths within their box) instead of polygons.
    """
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
    for name in names:
        ET.SubElement(ET.SubElement(labels, "label"), "name").text = name
    for number, annotated in enumerate(annotated_images):
        height, width = annotated.size
        image = ET.SubElement(
            root,
            "image",
            id=str(number),
            name=annotated.file_name,
            width=str(width),
            height=str(height),
        )
        for order, (label, mask) in enumerate(zip(annotated.labels, annotated.masks, strict=True)):
            common = {"label": label, "occluded": "0", "source": "auto", "z_order": str(order)}
            if rle:
                ET.SubElement(image, "mask", {**common, **_run_lengths(mask)})
            else:
                for polygon in polygons_of(mask):
                    points = ";".join(f"{x},{y}" for x, y in polygon)
                    ET.SubElement(image, "polygon", {**common, "points": points})
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode")


def images_from_cvat(path: Path) -> tuple[list[AnnotatedImage], list[str]]:
    """Reads CVAT XML: polygons, masks and boxes, in their z-order.

    Returns:
        The images, and the label names in order of the file.

    Raises:
        DataError: It is not a CVAT file, or a shape is malformed.
    """
    data = read_bytes(path)
    try:
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise ValueError("it defines entities, which annotations never do")
        root = ET.fromstring(data)
        if root.tag != "annotations":
            raise ValueError(f"its root is <{root.tag}>, expected <annotations>")
        annotated_images = [_annotated_image(image) for image in root.iter("image")]
        names = [e.text or "" for e in root.findall("./meta//labels/label/name")]
    except (ET.ParseError, ValueError, KeyError, TypeError) as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is not a CVAT annotation for images: {text}",
            remedy="export the task as 'CVAT for images 1.1' again",
        ) from error
    used = dict.fromkeys(label for annotated in annotated_images for label in annotated.labels)
    return annotated_images, list(dict.fromkeys([*names, *used]))


def _annotated_image(image: ET.Element) -> AnnotatedImage:
    size = (int(image.attrib["height"]), int(image.attrib["width"]))
    shapes = [shape for shape in image if shape.tag in ("polygon", "mask", "box")]
    shapes.sort(key=lambda shape: int(shape.get("z_order", "0")))
    return AnnotatedImage(
        file_name=image.attrib["name"],
        size=size,
        labels=tuple(shape.attrib["label"] for shape in shapes),
        masks=tuple(_mask(shape, size) for shape in shapes),
    )


def _mask(shape: ET.Element, size: tuple[int, int]) -> NDArray[np.bool_]:
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in shape.attrib["points"].split(";")]
        return fill_polygons([np.array(pairs, np.float64)], size)
    mask = np.zeros(size, bool)
    if shape.tag == "box":
        x0, y0, x1, y1 = (round(float(shape.attrib[key])) for key in ("xtl", "ytl", "xbr", "ybr"))
        mask[y0:y1, x0:x1] = True
        return mask
    left, top = int(shape.attrib["left"]), int(shape.attrib["top"])
    width, height = int(shape.attrib["width"]), int(shape.attrib["height"])
    runs = [int(v) for v in shape.attrib["rle"].split(",")]
    inside = decode_runs(runs, width * height).reshape(height, width)
    if top < 0 or left < 0 or top + height > size[0] or left + width > size[1]:
        raise ValueError("a mask extends beyond its image")
    mask[top : top + height, left : left + width] = inside
    return mask


def _run_lengths(mask: NDArray[np.bool_]) -> dict[str, str]:
    ys, xs = np.nonzero(mask)
    top, left = int(ys.min()), int(xs.min())
    inside = mask[top : int(ys.max()) + 1, left : int(xs.max()) + 1]
    return {
        "rle": ", ".join(str(run) for run in encode_runs(inside.ravel())),
        "left": str(left),
        "top": str(top),
        "width": str(inside.shape[1]),
        "height": str(inside.shape[0]),
    }
