"""CholecInstanceSeg: instance polygons in LabelMe files, folders ``img_dir`` and ``ann_dir``.

scan = labelme.scan(Path("cholec_instance_seg"), task="type", table=None)
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import list_images, read_bytes, read_image
from trocar.train.data.readers.scan import Recognition, Scan, splits_by_group
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "CholecInstanceSeg"
TASKS: tuple[str, ...] = ("type", "binary")
INSTRUMENTS = ("grasper", "hook", "irrigator", "clipper", "bipolar", "scissors", "snare")
TYPE_TABLE = ClassTable.from_names(["background", *INSTRUMENTS])
BINARY_TABLE = ClassTable.from_names(["background", "instrument"])
_SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One polygon.

    Attributes:
        label: Its class name.
        group: Shapes with equal label and group are parts of one instance; ``None``: not given.
        points: ``[N, 2]`` float64, x and y in pixels.
    """

    label: str
    group: int | None
    points: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A LabelMe file.

    Attributes:
        image: Name of the image as written in the file.
        size: Height and width in pixels.
        shapes: In the order of the file; later shapes cover earlier ones.
    """

    image: str
    size: tuple[int, int]
    shapes: tuple[Shape, ...]


def recognise(root: Path) -> Recognition:
    """``img_dir`` and ``ann_dir``, here, a folder deeper, or below split folders."""
    clips = _clips(root)
    if clips:
        return Recognition(fits=True, why=f"{len(clips)} folders of img_dir/ and ann_dir/")
    return Recognition(fits=False, why="there is no folder with img_dir/ and ann_dir/")


def scan(root: Path, *, task: str = "type", table: ClassTable | None = None) -> Scan:
    """Lists the frames of all clips; the group is the video in the file name."""
    faults: list[Fault] = []
    items: list[Item] = []
    splits: dict[str, list[str]] = {}
    for split, clip in _clips(root):
        for item in _clip_items(root, clip, faults):
            items.append(item)
            if split:
                splits.setdefault(split, []).append(item.name)
    if splits:  # clips outside the split folders are in no split
        named = ", ".join(_SPLIT_FOLDERS)
        odd = {clip if clip.parent == root else clip.parent for s, clip in _clips(root) if not s}
        faults += [
            Fault(file=folder, text=f"holds clips, but is in no folder named {named}")
            for folder in sorted(odd)
        ]
    chosen = table or (BINARY_TABLE if task == "binary" else TYPE_TABLE)
    made = {split: tuple(names) for split, names in splits.items()}
    if not made and len({item.group for item in items}) > 1:
        made = splits_by_group(items)
        made = {} if len(made) < 2 else made
    frames = FrameSet(
        name=NAME,
        root=root,
        table=chosen,
        items=tuple(items),
        splits=made,
        read=functools.partial(read, table=chosen, binary=task == "binary"),
        task=task,
        instances=read_instances,
    )
    return Scan(frames=frames, faults=tuple(faults))


def read(item: Item, *, table: ClassTable, binary: bool = False) -> Sample:
    """Reads one frame and fills its polygons.

    Raises:
        DataError: A file cannot be read, a label is not a class, or the sizes differ.
    """
    image = read_image(item.image)
    file = item.extra.get("annotation")
    if file is None:
        return Sample(name=item.name, image=image)
    annotation = read_annotation(file)
    if annotation.size != image.shape[:2]:
        raise DataError(
            f"{file} is for an image of {annotation.size[1]}x{annotation.size[0]}, "
            f"{item.image.name} is {image.shape[1]}x{image.shape[0]}",
            remedy="annotate the image again at its own size",
        )
    return Sample(
        name=item.name, image=image, mask=fill(annotation, table, path=file, binary=binary)
    )


def fill(
    annotation: Annotation, table: ClassTable, *, path: Path, binary: bool = False
) -> NDArray[np.uint8]:
    """Class ids ``[H, W]`` uint8 of an annotation's polygons; later shapes cover earlier ones.

    Raises:
        DataError: A label is not a class of the table.
    """
    mask = np.zeros(annotation.size, np.uint8)
    unknown: dict[str, int] = {}
    for shape in annotation.shapes:
        if binary:
            class_id = 1
        elif shape.label in table.names:
            class_id = table[shape.label].id
        else:
            unknown[shape.label] = unknown.get(shape.label, 0) + 1
            continue
        fill_polygon(mask, shape.points, class_id)
    if unknown:
        listed = ", ".join(f"{label!r} ({count} shapes)" for label, count in unknown.items())
        raise DataError(
            f"{path} has labels that are not classes: {listed}; "
            f"classes are {', '.join(table.names)}",
            remedy="correct the labels, or pass a class table that has them",
        )
    return mask


def instances(annotation: Annotation) -> list[tuple[str, NDArray[np.bool_]]]:
    """Label and ``[H, W]`` mask of each instance; shapes of one label and group are joined."""
    made: dict[tuple[str, int], tuple[str, NDArray[np.uint8]]] = {}
    for key, shape in _by_instance(annotation):
        _, mask = made.setdefault(key, (shape.label, np.zeros(annotation.size, np.uint8)))
        fill_polygon(mask, shape.points, 1)
    return [(label, mask.astype(bool)) for label, mask in made.values()]


def read_instances(item: Item) -> NDArray[np.uint16]:
    """Instance numbers ``[H, W]`` uint16 of one frame, 0 = none; later shapes cover earlier ones.

    Raises:
        DataError: The annotation cannot be read.
    """
    annotation = read_annotation(item.extra["annotation"])
    numbers: dict[tuple[str, int], int] = {}
    made = np.zeros(annotation.size, np.uint16)
    for key, shape in _by_instance(annotation):
        fill_polygon(made, shape.points, numbers.setdefault(key, len(numbers) + 1))
    return made


def _by_instance(annotation: Annotation) -> Iterator[tuple[tuple[str, int], Shape]]:
    """Shapes with the key of their instance: label and group, or a number of their own."""
    for index, shape in enumerate(annotation.shapes):
        yield (shape.label, -1 - index if shape.group is None else shape.group), shape


def fill_polygon(mask: NDArray[Any], points: NDArray[np.float64], value: int) -> None:
    """Fills one polygon with its outline, in place."""
    corners = np.round(points).astype(np.int32).reshape(-1, 1, 2)
    cv2.fillPoly(mask, [corners], value)


def read_annotation(path: Path) -> Annotation:
    """Reads a LabelMe file; rectangles become polygons, points and lines are an error.

    Raises:
        DataError: It is not a LabelMe file; the text says what is missing.
    """
    try:
        data = json.loads(read_bytes(path))
        height, width = int(data["imageHeight"]), int(data["imageWidth"])
        shapes = tuple(_shape(shape) for shape in data["shapes"])
        return Annotation(image=str(data.get("imagePath", "")), size=(height, width), shapes=shapes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is not a LabelMe annotation: {text}", remedy="export the annotation again"
        ) from error


def _shape(data: dict[str, Any]) -> Shape:
    points = np.asarray(data["points"], np.float64).reshape(-1, 2)
    kind = data.get("shape_type", "polygon")
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    elif kind != "polygon":
        raise ValueError(f"a shape is a {kind}, expected a polygon or rectangle")
    if len(points) < 3:
        raise ValueError(f"a polygon of {data['label']!r} has {len(points)} points, needs 3")
    group = data.get("group_id")
    return Shape(
        label=str(data["label"]), group=None if group is None else int(group), points=points
    )


def _clips(root: Path) -> list[tuple[str, Path]]:
    if _is_clip(root):
        return [("", root)]
    clips: list[tuple[str, Path]] = []
    for folder in _folders(root):
        if _is_clip(folder):
            clips.append(("", folder))
        else:
            split = _SPLIT_FOLDERS.get(folder.name.lower())
            clips += [(split or "", deep) for deep in _folders(folder) if _is_clip(deep)]
    return clips


def _is_clip(folder: Path) -> bool:
    return (folder / "img_dir").is_dir() or (folder / "ann_dir").is_dir()


def _folders(root: Path) -> Sequence[Path]:
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _clip_items(root: Path, clip: Path, faults: list[Fault]) -> list[Item]:
    gone = [folder for folder in ("img_dir", "ann_dir") if not (clip / folder).is_dir()]
    faults += [Fault(file=clip / folder, text="is missing") for folder in gone]
    if gone:
        return []
    prefix = "" if clip == root else clip.relative_to(root).as_posix() + "/"
    annotations = {f.stem: f for f in sorted((clip / "ann_dir").glob("*.json"))}
    items = []
    stems = set()
    for image in list_images(clip / "img_dir"):
        stems.add(image.stem)
        annotation = annotations.get(image.stem)
        if annotation is None:
            faults.append(Fault(file=image, text=f"has no ann_dir/{image.stem}.json"))
            continue
        items.append(
            Item(
                name=prefix + image.stem,
                image=image,
                group=_video(image.stem) or (clip.name if prefix else ""),
                extra={"annotation": annotation},
            )
        )
    faults += [
        Fault(file=file, text="is the annotation of no image in img_dir/")
        for stem, file in annotations.items()
        if stem not in stems
    ]
    if not stems:
        faults.append(Fault(file=clip / "img_dir", text="there is no image in it"))
    return items


def _video(stem: str) -> str:
    # Frames of one operation are in several clips; t80_VID03_000150 belongs to video VID03.
    match = re.search(r"VID\d+", stem)
    return match.group(0) if match else ""
