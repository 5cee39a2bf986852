"""A labelled photograph, and a set of photographs.

photos = open_photos("surgical_tools/"); image = photos.read(photos.items[0])
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassRow, ClassTable, default_colour
from trocar.contract.errors import DataError
from trocar.contract.media.crops import crop_window
from trocar.contract.media.pictures import read_image
from trocar.train.data.io.archives import read_archived_image

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Photo:
    """One photograph, or one object in an image, not yet read.

    Attributes:
        name: Unique in its set.
        file: The image, or the archive that holds it.
        label: Class id.
        member: Name inside the archive; empty for plain files.
        box: ``(x0, y0, x1, y1)`` of the object as fractions of width and height; ``None`` for the
            whole image.
        group: Video, patient or alphabet; empty if not known.
    """

    name: str
    file: Path
    label: int
    member: str = ""
    box: Box | None = None
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class PhotoSet:
    """Photographs of one class table, with their splits.

    Attributes:
        name: Name of the set in messages.
        root: Folder of the set.
        table: Its classes.
        items: In a fixed order.
        splits: Names by split, keys of ``train``, ``val``, ``test``; may be empty.
        notes: Remarks for the user.
    """

    name: str
    root: Path
    table: ClassTable
    items: tuple[Photo, ...]
    splits: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Photo]:
        return iter(self.items)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class id of every item ``[N]``."""
        return np.array([item.label for item in self.items], np.int64)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Photographs of every class ``[K]``."""
        return np.bincount(self.labels, minlength=len(self.table)).astype(np.int64)

    @property
    def units(self) -> tuple[str, ...]:
        """What each item must not be separated from between splits: its group, or its image.

        Groups count where they are videos or patients, that is, where some class is in several of
        them. An alphabet is a group that holds all of its classes and would leave them out whole.
        """
        groups_of: dict[int, set[str]] = {}
        for item in self.items:
            groups_of.setdefault(item.label, set()).add(item.group)
        grouped = any(len(groups) > 1 for groups in groups_of.values())
        return tuple(
            f"group {item.group}" if grouped and item.group else f"{item.file}/{item.member}"
            for item in self.items
        )

    def read(self, item: Photo) -> NDArray[np.uint8]:
        """Decodes one photograph, cropped to its object: ``[H, W, 3]`` uint8 RGB.

        Raises:
            DataError: The file is missing, truncated or not an image.
        """
        return read_photo(item)

    def subset(self, split: str) -> PhotoSet:
        """The photographs of one split.

        Raises:
            DataError: There is no such split, or it is empty.
        """
        if not self.splits.get(split):
            there = ", ".join(sorted(n for n in self.splits if self.splits[n])) or "none at all"
            raise DataError(
                f"{self.root} has no split {split!r}; it has {there}",
                remedy=f"put photographs into {split}/CLASS/",
            )
        chosen = self.only(self.splits[split])
        return replace(chosen, name=f"{self.name}:{split}")

    def only(self, names: Iterable[str]) -> PhotoSet:
        """The named photographs, in the set's order."""
        wanted = set(names)
        splits = {
            split: tuple(name for name in listed if name in wanted)
            for split, listed in self.splits.items()
        }
        items = tuple(item for item in self.items if item.name in wanted)
        return replace(self, items=items, splits=splits)

    def of_classes(self, ids: Iterable[int]) -> PhotoSet:
        """The photographs of some classes; the class table does not change, nor do the ids."""
        wanted = set(ids)
        return self.only(item.name for item in self.items if item.label in wanted)


def photo_table(names: Iterable[str], *, source: Path | str) -> ClassTable:
    """A class table of photographs: no class is the background.

    Raises:
        DataError: Fewer than two classes, or names that read alike or are not printable.
    """
    listed = list(names)
    if len(listed) < 2:
        raise DataError(
            f"{source} has {len(listed)} class(es): {', '.join(map(repr, listed)) or 'none'}; a "
            "classifier needs two or more",
            remedy="add a folder of photographs for another class",
        )
    seen: dict[str, str] = {}
    for name in listed:
        other = seen.setdefault(normalised_name(name), name)
        if other is not name:
            raise DataError(
                f"{source} has the class names {other!r} and {name!r}, which read alike",
                remedy="rename one of them, or merge their photographs",
            )
    return ClassTable(
        tuple(
            ClassRow(id=i, name=name, colour=default_colour(i + 1), instrument=True)
            for i, name in enumerate(listed)
        )
    )


def normalised_name(name: str) -> str:
    """A class name without differences in case, spacing and Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def read_photo(item: Photo) -> NDArray[np.uint8]:
    """See `PhotoSet.read`."""
    image = read_archived_image(item.file, item.member) if item.member else read_image(item.file)
    if item.box is None:
        return image
    height, width = image.shape[:2]
    x0, y0, x1, y1 = item.box
    box = (x0 * width, y0 * height, x1 * width, y1 * height)
    left, top, right, bottom = crop_window(box, (height, width))
    return np.ascontiguousarray(image[top:bottom, left:right])
