"""A labelled frame, and a set of frames.

frames = open_frames("our_theatre/"); sample = frames.read(frames.items[0])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One frame of a set, not yet read.

    Attributes:
        name: Unique in its set.
        image: The image, or the video that holds the frame.
        mask: The mask file; ``None`` where there is none.
        group: Video, operation, patient or clip of the frame; empty if not known. A group must not
            be in two splits.
        extra: Data that only the reader of the set uses.
    """

    name: str
    image: Path
    mask: Path | None = None
    group: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def labelled(self) -> bool:
        """Whether the frame has a mask file or an annotation."""
        return self.mask is not None or "annotation" in self.extra or "annotated" in self.extra


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One frame in memory.

    Attributes:
        name: The item's name.
        image: ``[H, W, 3]`` uint8 RGB.
        mask: ``[H, W]`` uint8 class ids, 255 = ignored; ``None`` for an unlabelled frame.
        instances: ``[H, W]`` uint8, 1 to n for the n instances of the frame, 0 for none; ``None``
            where they were not asked for, see `trocar.train.data.loader.instances`.
    """

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8] | None = None
    instances: NDArray[np.uint8] | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something wrong with a data set.

    Attributes:
        file: The file or folder.
        text: What is wrong with it: what is there and what is expected.
        remedy: What to do about this kind of fault; may be empty.
    """

    file: Path
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.text}"


@dataclass(frozen=True, kw_only=True)
class FrameSet:
    """Frames of one class table, with their splits.

    Attributes:
        name: Name of the set in tables and messages.
        root: Folder of the set.
        table: Its classes.
        items: In a fixed order.
        splits: Item names by split, keys of ``train``, ``val``, ``test``; may be empty.
        read: Reads one item; raises a `DataError` that names the file.
        notes: Remarks for the user, e.g. what was left out and why.
        task: What the masks distinguish, e.g. ``binary``, ``parts``, ``type``; may be empty.
        folds: The validation groups of each fold of the set's protocol; may be empty.
        instances: Reads an item's instance map ``[H, W]``, unsigned integers of the mask's size,
            0 for no instance; one instance can consist of several connected regions. ``None`` if
            the set has no instance numbers.
        lasting_instances: Whether an instance number is the same instrument in all frames of a
            group; else numbers are those of single frames.
    """

    name: str
    root: Path
    table: ClassTable
    items: tuple[Item, ...]
    splits: Mapping[str, tuple[str, ...]]
    read: Callable[[Item], Sample]
    notes: tuple[str, ...] = ()
    task: str = ""
    folds: tuple[tuple[str, ...], ...] = ()
    instances: Callable[[Item], NDArray[np.unsignedinteger[Any]]] | None = None
    lasting_instances: bool = False

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def subset(self, split: str) -> FrameSet:
        """The frames of one split, in the set's order.

        Raises:
            DataError: There is no such split, or it is empty.
        """
        names = self.splits.get(split)
        if names is None:
            there = ", ".join(sorted(self.splits)) or "none at all"
            raise DataError(
                f"{self.root} has no split {split!r}; it has {there}",
                remedy=f"list its frames in splits/{split}.txt, one name per line",
            )
        if not names:
            raise DataError(
                f"split {split!r} of {self.root} is empty",
                remedy=f"name at least one frame in splits/{split}.txt",
            )
        wanted = set(names)
        chosen = tuple(item for item in self.items if item.name in wanted)
        return replace(self, name=f"{self.name}:{split}", items=chosen, splits={split: names})

    def fold(self, index: int) -> FrameSet:
        """The set with the splits of one fold: its groups are ``val``, all others ``train``.

        Raises:
            DataError: The set has no such fold, or groups of it are missing.
        """
        if not 0 <= index < len(self.folds):
            raise DataError(
                f"{self.name} has {len(self.folds)} folds, got fold {index}",
                remedy=f"choose 0 to {len(self.folds) - 1}" if self.folds else "leave --fold out",
            )
        validation = set(self.folds[index])
        val = tuple(item.name for item in self.items if item.group in validation)
        train = tuple(item.name for item in self.items if item.group not in validation)
        missing = sorted(validation - set(self.groups))
        if missing or not train:
            raise DataError(
                f"fold {index} of {self.name} cannot be used: "
                + (
                    f"{', '.join(missing)} missing in {self.root}"
                    if missing
                    else "no frame is left to train on"
                ),
                remedy="download the rest of the set, or choose another fold",
            )
        return replace(self, splits={"train": train, "val": val})

    def instance_map(
        self, item: Item, size: tuple[int, int]
    ) -> NDArray[np.unsignedinteger[Any]] | None:
        """Instance numbers of a labelled frame, see `instances`; ``None`` if the set has none.

        Raises:
            DataError: The map cannot be read, or its size is not that of the frame.
        """
        if self.instances is None:
            return None
        numbers = self.instances(item)
        if numbers.shape != size:
            raise DataError(
                f"the instance map of {item.name} in {self.root} is "
                f"{numbers.shape[1]}x{numbers.shape[0]}, the frame {size[1]}x{size[0]}",
                remedy="save it at the size of its frame",
            )
        return numbers

    def labelled(self) -> FrameSet:
        """The frames that have a mask."""
        return self.only(item.name for item in self.items if item.labelled)

    def unlabelled(self) -> FrameSet:
        """The frames that have no mask."""
        return self.only(item.name for item in self.items if not item.labelled)

    def only(self, names: Iterable[str]) -> FrameSet:
        """The named frames, in the set's order; other names are removed from the splits."""
        wanted = set(names)
        items = tuple(item for item in self.items if item.name in wanted)
        splits = {
            split: tuple(name for name in listed if name in wanted)
            for split, listed in self.splits.items()
        }
        return replace(self, items=items, splits=splits)

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups in order of appearance; the unknown group ``""`` is left out."""
        return tuple(dict.fromkeys(item.group for item in self.items if item.group))


def remedies(faults: Iterable[Fault]) -> str:
    """What to do about all of these faults, each kind once."""
    kinds = dict.fromkeys(fault.remedy for fault in faults if fault.remedy)
    return "; ".join(kinds) or "correct the named files"


def raise_faults(root: Path, faults: Iterable[Fault], *, shown: int = 5) -> None:
    """Raises one error for all faults, with the first few and their number.

    Raises:
        DataError: There is at least one fault.
    """
    listed = list(faults)
    if not listed:
        return
    head = "".join(f"\n  {fault}" for fault in listed[:shown])
    more = f"\n  … and {len(listed) - shown} more" if len(listed) > shown else ""
    count = "1 fault" if len(listed) == 1 else f"{len(listed)} faults"
    raise DataError(
        f"{root} cannot be used: {count}{head}{more}",
        remedy=f"{remedies(listed)}; `trocar data check {root}` lists every fault",
    )
