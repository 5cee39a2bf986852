"""Recognises the layout of a set of photographs, and opens it.

photos = open_photos("surgical_tools/"); print(photos.table.names, photos.counts)

Layouts: class folders (``split/class/*.jpg`` or ``class/*.jpg``), YOLO boxes (``data.yaml``,
``train/images``, ``train/labels``), instances of segmented frames (anything that `open_frames`
reads), Omniglot's zip archives.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import IMAGE_SUFFIXES, is_hidden, list_images
from trocar.train.data.annotations.labelme import read_annotation
from trocar.train.data.annotations.model import SPECIAL_LABELS
from trocar.train.data.classification.sample import Box, Photo, PhotoSet, photo_table
from trocar.train.data.io.archives import member_names
from trocar.train.data.sample import Fault, FrameSet, Item, raise_faults

SPLIT_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def open_photos(path: str | Path) -> PhotoSet:
    """Opens a set of photographs by its layout.

    Raises:
        DataError: No layout fits, there are fewer than two classes, or a label file is at fault.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"there is no {root}", remedy="check the path")
    if root.suffix == ".zip" or any(root.glob("images_background*.zip")):
        return _filled(read_omniglot(root))
    if not root.is_dir():
        raise DataError(f"{root} is a file, expected a folder", remedy="unpack it first")
    if (root / "data.yaml").is_file():
        return _filled(read_yolo(root))
    if any((root / name).is_dir() for name in ("images", "img_dir")) or _frames_below(root):
        return _filled(read_instances(root))
    return _filled(read_folders(root))


def read_folders(root: Path) -> PhotoSet:
    """Class folders, in split folders or without them.

    Raises:
        DataError: There are no class folders, fewer than two, or a split has an unknown name.
    """
    splits = {
        SPLIT_FOLDERS[folder.name.lower()]: folder
        for folder in _folders(root)
        if folder.name.lower() in SPLIT_FOLDERS
    }
    raise_faults(root, _misnamed(root, list(splits.values())))
    tops = list(splits.items()) or [("", root)]
    names = sorted({folder.name for _, top in tops for folder in _folders(top)})
    table = photo_table(names, source=root)
    items: list[Photo] = []
    listed: dict[str, list[str]] = {}
    passed = 0
    for split, top in tops:
        for folder in _folders(top):
            files = list_images(folder)
            passed += sum(
                file.is_file() and not is_hidden(file.relative_to(folder))
                for file in folder.rglob("*")
            ) - len(files)
            for file in files:
                name = str(file.relative_to(root))
                items.append(Photo(name=name, file=file, label=table[folder.name].id))
                if split:
                    listed.setdefault(split, []).append(name)
    notes = (f"{passed} files are not images and were skipped",) if passed else ()
    return _set("class folders", root, table.names, items, listed, notes)


def _misnamed(root: Path, splits: list[Path]) -> list[Fault]:
    """Faults for folders beside the splits that hold the same classes under another name."""
    classes = {inside.name for folder in splits for inside in _folders(folder)}
    text = f"holds class folders, but is not named {', '.join(SPLIT_FOLDERS)}"
    return [
        Fault(file=folder, text=text)
        for folder in _folders(root)
        if folder not in splits and any(inside.name in classes for inside in _folders(folder))
    ]


def read_yolo(root: Path) -> PhotoSet:
    """Crops of YOLO boxes; each box is one photograph.

    Raises:
        DataError: ``data.yaml`` or a label file is malformed, or a split has an unknown name; all
            faults at once.
    """
    names = _yaml_names(root / "data.yaml")
    table = photo_table(names, source=root / "data.yaml")
    faults: list[Fault] = []
    items: list[Photo] = []
    listed: dict[str, list[str]] = {}
    for folder in _folders(root):
        split = SPLIT_FOLDERS.get(folder.name.lower())
        if split is None and (folder / "labels").is_dir():
            text = f"holds images and labels, but is not named {', '.join(SPLIT_FOLDERS)}"
            faults.append(Fault(file=folder, text=text))
        if split is None or not (folder / "images").is_dir():
            continue
        for file in list_images(folder / "images"):
            labels = folder / "labels" / f"{file.stem}.txt"
            for number, (label, box) in enumerate(_yolo_rows(labels, len(names), faults)):
                name = f"{folder.name}/{file.stem}" + (f"#{number}" if number else "")
                items.append(Photo(name=name, file=file, label=label, box=box))
                listed.setdefault(split, []).append(name)
    raise_faults(root, faults)
    return _set("YOLO boxes", root, table.names, items, listed)


def _yolo_rows(path: Path, classes: int, faults: list[Fault]) -> list[tuple[int, Box]]:
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            label = int(words[0])
            cx, cy, w, h = (float(word) for word in words[1:5])
            good = 0 <= label < classes and len(words) == 5 and w > 0 and h > 0
            good = good and 0 <= cx <= 1 and 0 <= cy <= 1 and w <= 1.01 and h <= 1.01
        except ValueError:
            good = False
        if good:
            x0, y0, x1, y1 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
            rows.append((label, (max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0))))
        else:
            faults.append(
                Fault(
                    file=path,
                    text=f"line {number} is {line[:60]!r}, expected a class below {classes} and "
                    "four fractions of the image's width and height",
                )
            )
    return rows


def _yaml_names(path: Path) -> list[str]:
    """The ``names`` of a YOLO ``data.yaml``, as a list or as a mapping from number to name."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = document["names"]
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names)]
        return [str(name) for name in names]
    except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} has no list of class names: {type(error).__name__}",
            remedy="write names: [first, second] into it",
        ) from error


def read_instances(root: Path, *, min_pixels: int = 64) -> PhotoSet:
    """Crops of the instruments in segmented frames; each region or instance is one photograph.

    Args:
        root: A set that `trocar.train.data.readers.open_frames` reads.
        min_pixels: Smallest instance in pixels.

    Raises:
        DataError: The set has faults, or shows fewer than two types of instruments.
    """
    from trocar.train.data.readers import open_frames

    frames = open_frames(root).labelled()
    found: list[tuple[str, Photo]] = []
    for item in frames:
        for number, (name, box) in enumerate(_boxes(frames, item, min_pixels)):
            photo = Photo(
                name=f"{item.name}#{number}", file=item.image, label=0, box=box, group=item.group
            )
            found.append((name, photo))
    shown = {name for name, _ in found}
    names = [name for name in frames.table.names if name in shown]
    table = photo_table(names, source=root)
    items = [replace(photo, label=table[name].id) for name, photo in found]
    listed = {
        split: [p.name for p in items if p.name.rpartition("#")[0] in set(members)]
        for split, members in frames.splits.items()
    }
    return _set(f"instances of {frames.name}", root, table.names, items, listed)


def _boxes(frames: FrameSet, item: Item, min_pixels: int) -> list[tuple[str, Box]]:
    if "annotation" in item.extra:
        return _polygon_boxes(item.extra["annotation"], min_pixels)
    mask = frames.read(item).mask
    assert mask is not None
    height, width = mask.shape
    boxes: list[tuple[str, Box]] = []
    for index in frames.table.instrument_ids:
        count, _, stats, _ = cv2.connectedComponentsWithStats(
            (mask == index).astype(np.uint8), connectivity=8
        )
        for x, y, w, h, area in stats[1:count].tolist():
            if area >= min_pixels:
                box = (x / width, y / height, (x + w) / width, (y + h) / height)
                boxes.append((frames.table[index].name, box))
    return boxes


def _polygon_boxes(path: Path, min_pixels: int) -> list[tuple[str, Box]]:
    """One box per instance: polygons of one label and group are joined."""
    annotation = read_annotation(path)
    height, width = annotation.size
    parts: dict[tuple[str, object], list[NDArray[np.float64]]] = {}
    for number, shape in enumerate(annotation.shapes):
        if shape.label in SPECIAL_LABELS:
            continue
        key = (shape.label, shape.group if shape.group is not None else f"#{number}")
        parts.setdefault(key, []).append(shape.points)
    boxes: list[tuple[str, Box]] = []
    for (label, _), points in parts.items():
        low, high = np.concatenate(points).min(0), np.concatenate(points).max(0)
        if float(np.prod(high - low)) >= min_pixels:
            box = (low[0] / width, low[1] / height, high[0] / width, high[1] / height)
            boxes.append((label, (float(box[0]), float(box[1]), float(box[2]), float(box[3]))))
    return boxes


def read_omniglot(root: Path) -> PhotoSet:
    """Omniglot, read from its archives; a class is one character, the group is the alphabet.

    A character that is in several archives counts once.

    Raises:
        DataError: An archive cannot be read or has no characters.
    """
    files = [root] if root.suffix == ".zip" else sorted(root.glob("images_background*.zip"))
    found: dict[str, tuple[str, str, Path, str]] = {}
    for file in files:
        for member in sorted(member_names(file)):
            match = re.fullmatch(r"[^/]+/([^/]+)/([^/]+)/([^/]+)\.png", member)
            if match and "__MACOSX" not in member:
                alphabet, character, stem = match.groups()
                name = f"{alphabet}/{character}/{stem}"
                found.setdefault(name, (alphabet, f"{alphabet}/{character}", file, member))
    names = sorted({character for _, character, _, _ in found.values()})
    ids = {name: i for i, name in enumerate(names)}
    table = photo_table(names, source=root)
    items = [
        Photo(name=name, file=file, label=ids[character], member=member, group=alphabet)
        for name, (alphabet, character, file, member) in sorted(found.items())
    ]
    return _set("Omniglot", root, table.names, items, {})


def _set(
    name: str,
    root: Path,
    classes: tuple[str, ...],
    items: list[Photo],
    splits: dict[str, list[str]],
    notes: tuple[str, ...] = (),
) -> PhotoSet:
    return PhotoSet(
        name=name,
        root=root,
        table=photo_table(classes, source=root),
        items=tuple(items),
        splits={split: tuple(names) for split, names in splits.items()},
        notes=notes,
    )


def _filled(photos: PhotoSet) -> PhotoSet:
    """Raises an error if the set or one of its classes is empty."""
    if not len(photos):
        raise DataError(
            f"{photos.root} was read as {photos.name} and has no photographs",
            remedy=f"add images ({', '.join(IMAGE_SUFFIXES)}), one folder per class",
        )
    empty = [photos.table[int(i)].name for i in np.flatnonzero(photos.counts == 0)]
    if empty:
        raise DataError(
            f"{photos.root} has no photograph of {', '.join(map(repr, empty[:8]))}",
            remedy="add photographs, or remove the class",
        )
    return photos


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not is_hidden(p.relative_to(root)))


def _frames_below(root: Path) -> bool:
    """Whether there are CholecInstanceSeg clips, here or in split folders."""
    return any(root.glob("*/img_dir")) or any(root.glob("*/*/img_dir"))
