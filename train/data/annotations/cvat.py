"""CVAT 1.1, for images and for video: one XML file of polygons, boxes, ellipses and masks.

text = cvat_from_images(images, names); annotations = images_from_cvat(path)
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import read_bytes
from trocar.train.data.annotations.cvat_shapes import (
    AREAS,
    LINES,
    POINTS,
    UNREAD,
    Shape,
    between,
    correspond,
    draw_shape,
    parse_shape,
)
from trocar.train.data.annotations.model import (
    AnnotatedImage,
    Annotations,
    Draw,
    DrawnMasks,
    listed,
    numbers_of,
)
from trocar.train.data.annotations.regions import edge_polygons_of, encode_runs
from trocar.train.data.sample import Fault

_INSTANCES = "instances"  # Of Trocar's own files: whether a group of shapes is one instance.


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
    task = ET.SubElement(ET.SubElement(root, "meta"), "task")
    labels = ET.SubElement(task, "labels")
    for name in names:
        ET.SubElement(ET.SubElement(labels, "label"), "name").text = name
    apart = False
    for number, annotated in enumerate(annotated_images):
        height, width = annotated.size
        apart = annotated.numbers is not None
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
            if apart:
                common["group_id"] = str(order + 1)
            if rle:
                ET.SubElement(image, "mask", {**common, **_run_lengths(mask)})
            else:
                for polygon in edge_polygons_of(mask):
                    points = ";".join(f"{x},{y}" for x, y in polygon)
                    ET.SubElement(image, "polygon", {**common, "points": points})
    ET.SubElement(task, _INSTANCES).text = str(apart)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode")


def images_from_cvat(path: Path, *, skip_lines: bool = False) -> Annotations:
    """Reads CVAT XML: images with shapes in their z-order, and tracks of a video.

    Shapes of a track are interpolated linearly between the frames that the file holds. A frame
    whose shape is ``outside`` does not show it.

    Args:
        path: The file.
        skip_lines: Whether polylines are left out; otherwise each is a fault.

    Returns:
        The images, the label names in order of the file, and all faults.

    Raises:
        DataError: It is not a CVAT file.
    """
    data = read_bytes(path)
    try:
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise ValueError("it defines entities, which annotations never do")
        root = ET.fromstring(data)
        if root.tag != "annotations":
            raise ValueError(f"its root is <{root.tag}>, expected <annotations>")
        apart = root.findtext(f"./meta/task/{_INSTANCES}") != "False"
        found = _Found(path=path, skip_lines=skip_lines, apart=apart)
        images = [found.image(image) for image in root.iter("image")]
        tracks = list(root.iter("track"))
        images += found.frames(root, tracks) if tracks else []
    except (ET.ParseError, ValueError, LookupError, TypeError, OverflowError) as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is not a CVAT annotation: {text}",
            remedy="export the task as 'CVAT for images 1.1' or 'CVAT for video 1.1' again",
        ) from error
    names = [e.text or "" for e in root.findall("./meta//labels/label/name")]
    used = dict.fromkeys(label for annotated in images for label in annotated.labels)
    return Annotations(
        images=tuple(images),
        names=tuple(dict.fromkeys([*names, *used])),
        faults=tuple(found.faults),
        notes=found.notes(),
        lines=found.lines,
    )


@dataclass
class _Found:
    """The faults and remarks of one file, while its shapes are read."""

    path: Path
    skip_lines: bool
    apart: bool
    lines: int = 0
    faults: list[Fault] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)

    def image(self, image: ET.Element) -> AnnotatedImage:
        size = (int(image.attrib["height"]), int(image.attrib["width"]))
        name, key = image.attrib["name"], f"image {image.get('id', '?')}"
        ordered = sorted(image, key=lambda shape: int(shape.get("z_order", "0")))
        found = [
            (shape, element.get("group_id", "0") or "0")
            for number, element in enumerate(ordered, 1)
            if (shape := self.shape(element, f"{name} ({key}), shape {number}"))
        ]
        shapes = [shape for shape, _ in found]
        groups = [
            (shape.label, group) if group != "0" else number
            for number, (shape, group) in enumerate(found)
        ]
        for shape in shapes:
            left, top, width, height = shape.numbers[:4]
            beyond = left < 0 or top < 0 or left + width > size[1] or top + height > size[0]
            if shape.tag == "mask" and beyond:
                text = f"{name} ({key}): a mask of {shape.label!r} extends beyond its image"
                self.faults.append(Fault(file=self.path, text=text))
        draws = tuple(partial(draw_shape, shape) for shape in shapes)
        return AnnotatedImage(
            file_name=name,
            size=size,
            labels=tuple(shape.label for shape in shapes),
            masks=DrawnMasks(size, draws),
            key=key,
            numbers=numbers_of(groups) if self.apart else None,
        )

    def shape(self, element: ET.Element, where: str, label: str | None = None) -> Shape | None:
        """One shape; ``None``, with a fault or a remark, where it has no area."""
        tag = element.tag
        try:
            if tag in (*AREAS, *LINES, *POINTS, *UNREAD):
                label = element.attrib["label"] if label is None else label
            if tag in AREAS:
                assert label is not None
                return parse_shape(element, label)
        except (ValueError, KeyError) as error:
            text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            self.faults.append(Fault(file=self.path, text=f"{where}, a {tag}: {text}"))
            return None
        self.lines += tag in LINES
        if tag in UNREAD or (tag in LINES and not self.skip_lines):
            text = f"{where}: a {tag} of {label!r} has no area that can be filled"
            self.faults.append(Fault(file=self.path, text=text))
        elif tag in LINES + POINTS:
            self.left_out.setdefault(tag, []).append(f"{label!r} in {where}")
        return None

    def frames(self, root: ET.Element, tracks: list[ET.Element]) -> list[AnnotatedImage]:
        """The frames of a video; those that the tracks do not show have no regions."""
        size = (
            _number(root, "original_size/height") or 0,
            _number(root, "original_size/width") or 0,
        )
        entries = [self.entries(track) for track in tracks]
        inside = _task_frames(root)
        numbers = sorted({*inside, *(frame for rows in entries for frame, _, _, _ in rows)})
        found: dict[int, list[tuple[int, str, Draw]]] = {number: [] for number in numbers}
        for track, rows in zip(tracks, entries, strict=True):
            ends = [row[0] for row in rows[1:]] + [(numbers[-1] + 1) if numbers else 0]
            for index, ((start, outside, z, shape), end) in enumerate(zip(rows, ends, strict=True)):
                if outside or shape is None:
                    continue
                later = rows[index + 1][3] if index + 1 < len(rows) else None
                if later and end - start > 1 and not correspond(shape, later):
                    self.held.append(f"track {track.get('id', '?')}, frames {start} to {end - 1}")
                for number in numbers[bisect_left(numbers, start) : bisect_left(numbers, end)]:
                    fraction = (number - start) / (end - start) if later else 0.0
                    now = between(shape, later, fraction) if later else shape
                    found[number].append((z, now.label, partial(draw_shape, now)))
        images = []
        for number, shapes in found.items():
            shapes.sort(key=lambda one: one[0])
            images.append(
                AnnotatedImage(
                    file_name=f"frame_{number:06d}",
                    size=size,
                    labels=tuple(label for _, label, _ in shapes),
                    masks=DrawnMasks(size, tuple(draw for _, _, draw in shapes)),
                    key=f"frame {number}",
                    frame=number,
                    numbers=tuple(range(1, len(shapes) + 1)),
                )
            )
        return images

    def entries(self, track: ET.Element) -> list[tuple[int, bool, int, Shape | None]]:
        """Frame, outside, z-order and shape of each entry of a track, by frame."""
        label, name = track.attrib["label"], f"track {track.get('id', '?')}"
        rows = []
        for element in track:
            if element.tag not in (*AREAS, *LINES, *POINTS, *UNREAD):
                continue
            frame = int(element.attrib["frame"])
            shape = self.shape(element, f"frame {frame} of {name}", label)
            outside = element.get("outside") == "1"
            rows.append((frame, outside, int(element.get("z_order", "0")), shape))
        return sorted(rows, key=lambda row: row[0])

    def notes(self) -> tuple[str, ...]:
        notes = [
            f"{len(where)} shapes are {tag}, have no area and are left out: {listed(where)}"
            for tag, where in self.left_out.items()
        ]
        if self.held:
            notes.append(
                f"{len(self.held)} gaps between keyframes hold masks or polygons of different "
                f"numbers of points; there the earlier one stays: {listed(self.held)}"
            )
        return tuple(notes)


def _task_frames(root: ET.Element) -> range:
    """The frames of the task, from its first to its last by its step."""
    first, last = _number(root, "start_frame"), _number(root, "stop_frame")
    step = re.search(r"step=(\d+)", root.findtext("./meta/*/frame_filter") or "")
    if first is None or last is None:
        first, last = 0, (_number(root, "size") or 0) - 1
    return range(first, last + 1, max(int(step[1]), 1) if step else 1)


def _number(root: ET.Element, name: str) -> int | None:
    text = root.findtext(f"./meta/*/{name}") or root.findtext(f"./meta/{name}")
    return int(text) if text and text.strip().isdigit() else None


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
