"""Class folders: ``split/class_name/*.jpg`` or ``class_name/*.jpg``, for classification.

frames = open_frames("tools_by_class/"); frames.items[0].extra["class"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trocar.contract.classes import ClassTable
from trocar.train.data.readers.common import folders, images_by_stem
from trocar.train.data.readers.scan import Recognition, Scan
from trocar.train.data.readers.yolo import classification_table, read
from trocar.train.data.sample import Fault, FrameSet, Item

NAME = "class folders"
TASKS: tuple[str, ...] = ("class",)
_SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_NOT_CLASSES = {"images", "masks", "labels", "annotations", "left_frames", "ground_truth"}


def recognise(root: Path) -> Recognition:
    """Split folders whose sub-folders hold images, or class folders that all hold images.

    Folders that are named like a layout's parts are no classes.
    """
    for split in _split_folders(root):
        classes = _classes(split)
        if len(classes) > 1 and any(images_by_stem(c) for c in classes[:3]):
            return Recognition(fits=True, why=f"{split.name}/ of {len(classes)} folders of images")
    classes = folders(root, r"[^.].*")
    alone = len(classes) > 1 and classes == _classes(root) and not _split_folders(root)
    if alone and all(images_by_stem(c) for c in classes) and not images_by_stem(root):
        return Recognition(fits=True, why=f"{len(classes)} folders of images, no splits")
    return Recognition(fits=False, why="there are no class folders of images")


def scan(root: Path, *, task: str = "class", table: ClassTable | None = None) -> Scan:
    """Lists the images of all splits; classes are the folders of any split, sorted by name."""
    faults: list[Fault] = []
    by_split = {folder.name: _classes(folder) for folder in _split_folders(root)}
    faults += _renamed(root, by_split) if by_split else []
    by_split = by_split or {"": _classes(root)}
    names = sorted({folder.name for classes in by_split.values() for folder in classes})
    table = table or classification_table(names)
    items: list[Item] = []
    splits: dict[str, list[str]] = {}
    for split, classes in by_split.items():
        for folder in classes:
            found = images_by_stem(folder)
            if not found:
                faults.append(Fault(file=folder, text="holds no image"))
            if folder.name not in table.names:
                faults.append(Fault(file=folder, text="is not a class of the table"))
                continue
            class_id = table[folder.name].id
            presence = tuple(int(i == class_id) for i in range(len(table)))
            for stem, image in found.items():
                name = f"{split}/{folder.name}/{stem}".lstrip("/")
                extra = {"class": class_id, "presence": presence}
                items.append(Item(name=name, image=image, extra=extra))
                if split:
                    splits.setdefault(_SPLITS[split.lower()], []).append(name)
    frames = FrameSet(
        name=root.name,
        root=root,
        table=table,
        items=tuple(items),
        splits={split: tuple(listed) for split, listed in splits.items()},
        read=read,
        task=task,
    )
    return Scan(frames=frames, faults=tuple(faults))


def _renamed(root: Path, by_split: Mapping[str, Sequence[Path]]) -> list[Fault]:
    """Class folders outside the splits, and classes with another name in one split."""
    classes = {split: {folder.name for folder in found} for split, found in by_split.items()}
    every = set().union(*classes.values())
    faults = [
        Fault(file=folder, text=f"holds class folders, but is not named {', '.join(_SPLITS)}")
        for folder in folders(root, r"[^.].*")
        if folder.name.lower() not in _SPLITS and {f.name for f in _classes(folder)} & every
    ]
    train = next((split for split in classes if _SPLITS[split.lower()] == "train"), "train")
    expected = classes.get(train, set())
    for split, there in classes.items():
        # Splits with disjoint classes or fewer classes are allowed: other protocols use them.
        if there & expected and there - expected and expected - there:
            lacks = ", ".join(sorted(expected - there))
            faults += [
                Fault(
                    file=root / split / name, text=f"is not a class of {train}/; {lacks} is missing"
                )
                for name in sorted(there - expected)
            ]
    return faults


def _split_folders(root: Path) -> list[Path]:
    return [folder for folder in folders(root, r"[^.].*") if folder.name.lower() in _SPLITS]


def _classes(split: Path) -> list[Path]:
    return [f for f in folders(split, r"[^.].*") if f.name.lower() not in _NOT_CLASSES]
