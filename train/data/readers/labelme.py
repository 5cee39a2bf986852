"""CholecInstanceSeg: instance polygons in LabelMe files, folders ``img_dir`` and ``ann_dir``.

scan = labelme.scan(Path("cholec_instance_seg"), task="type", table=None)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.pictures import list_images, read_image
from trocar.train.data.annotations.labelme import (
    Annotation,
    by_instance,
    draw_shape,
    read_annotation,
)
from trocar.train.data.annotations.model import SPECIAL_LABELS
from trocar.train.data.readers.scan import Recognition, Scan, splits_by_group
from trocar.train.data.sample import Fault, FrameSet, Item, Sample

NAME = "CholecInstanceSeg"
TASKS: tuple[str, ...] = ("type", "binary")
INSTRUMENTS = ("grasper", "hook", "irrigator", "clipper", "bipolar", "scissors", "snare")
TYPE_TABLE = ClassTable.from_names(["background", *INSTRUMENTS])
BINARY_TABLE = ClassTable.from_names(["background", "instrument"])
_SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "test": "test"}


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
    """Class ids ``[H, W]`` uint8 of an annotation's shapes; later shapes cover earlier ones.

    LabelMe's ``__ignore__`` is 255, and ``_background_`` is 0.

    Raises:
        DataError: A label is not a class of the table.
    """
    mask = np.zeros(annotation.size, np.uint8)
    unknown: dict[str, int] = {}
    for shape in annotation.shapes:
        if shape.label in SPECIAL_LABELS:
            class_id = SPECIAL_LABELS[shape.label]
        elif binary:
            class_id = 1
        elif shape.label in table.names:
            class_id = table[shape.label].id
        else:
            unknown[shape.label] = unknown.get(shape.label, 0) + 1
            continue
        draw_shape(mask, shape, class_id)
    if unknown:
        listed = ", ".join(f"{label!r} ({count} shapes)" for label, count in unknown.items())
        raise DataError(
            f"{path} has labels that are not classes: {listed}; "
            f"classes are {', '.join(table.names)}",
            remedy="correct the labels, or pass a class table that has them",
        )
    return mask


def read_instances(item: Item) -> NDArray[np.uint16]:
    """Instance numbers ``[H, W]`` uint16 of one frame, 0 = none; later shapes cover earlier ones.

    Raises:
        DataError: The annotation cannot be read.
    """
    annotation = read_annotation(item.extra["annotation"])
    numbers: dict[tuple[str, int], int] = {}
    made = np.zeros(annotation.size, np.uint16)
    for key, shape in by_instance(annotation):
        if shape.label in SPECIAL_LABELS:
            draw_shape(made, shape, 0)
            continue
        draw_shape(made, shape, numbers.setdefault(key, len(numbers) + 1))
    return made


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
