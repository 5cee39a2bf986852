"""What a reader finds in a folder: the frames, and all faults.

scan = folder.scan(Path("our_theatre")); print(len(scan.frames), scan.faults)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trocar.contract.classes import ClassTable
from trocar.train.data.sample import Fault, FrameSet, Item


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """Whether a folder has the layout of a reader.

    Attributes:
        fits: Whether it has.
        why: What was found, or what is missing.
    """

    fits: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A folder as a reader sees it.

    Attributes:
        frames: Its usable frames.
        faults: A set with faults can be checked but not opened.
        tasks: What the masks can distinguish, the default first; may be empty.
    """

    frames: FrameSet
    faults: tuple[Fault, ...] = ()
    tasks: tuple[str, ...] = ()


class Reader(Protocol):
    """A layout; each module of `trocar.train.data.readers` is one.

    Attributes:
        NAME: Name of the layout in messages.
        TASKS: What its masks can distinguish, the default first.
    """

    NAME: str
    TASKS: tuple[str, ...]

    def recognise(self, root: Path) -> Recognition:
        """Checks only names of files and folders, which is fast."""

    def scan(self, root: Path, *, task: str, table: ClassTable | None) -> Scan:
        """Lists frames and faults without decoding images."""


def split_faults(
    items: Sequence[Item], splits: Mapping[str, Sequence[str]], *, root: Path
) -> list[Fault]:
    """Finds empty splits, unknown names, repeated names and groups that are in two splits."""
    groups = {item.name: item.group for item in items}
    faults: list[Fault] = []
    split_of_name: dict[str, str] = {}
    split_of_group: dict[str, str] = {}
    leaks: dict[tuple[str, str, str], int] = {}
    for split, names in splits.items():
        where = _split_file(root, split)
        if not names:
            faults.append(Fault(file=where, text=f"split {split!r} is empty"))
        for name, count in Counter(names).items():
            if count > 1:
                faults.append(Fault(file=where, text=f"names {name!r} {count} times"))
            if name not in groups:
                faults.append(
                    Fault(file=where, text=f"names {name!r}, which is not a frame of the set")
                )
                continue
            other = split_of_name.setdefault(name, split)
            if other != split:
                faults.append(Fault(file=where, text=f"{name!r} is in split {other!r} too"))
            group = groups[name]
            if group:
                first = split_of_group.setdefault(group, split)
                if first != split:
                    key = (group, first, split)
                    leaks[key] = leaks.get(key, 0) + 1
    faults += [
        Fault(
            file=_split_file(root, split),
            text=f"leakage: group {group!r} of split {first!r} is in split {split!r} too "
            f"({count} frames)",
        )
        for (group, first, split), count in leaks.items()
    ]
    return faults


def _split_file(root: Path, split: str) -> Path:
    places = (root / "splits" / f"{split}.txt", root / f"{split}.txt")
    return next((place for place in places if place.is_file()), root)


def splits_by_group(
    items: Iterable[Item], *, val: Iterable[str] = (), test: Iterable[str] = ()
) -> dict[str, tuple[str, ...]]:
    """Splits by group: the named groups are ``val`` and ``test``, all others ``train``.

    Empty splits are left out.
    """
    val_groups, test_groups = set(val), set(test)
    made: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for item in items:
        key = "val" if item.group in val_groups else "test" if item.group in test_groups else ""
        made[key or "train"].append(item.name)
    return {split: tuple(names) for split, names in made.items() if names}
