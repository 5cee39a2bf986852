"""Several sets as one, their classes mapped to one table.

    frames = open_combination(Path("mix.toml"), lambda path, task: open_frames(path, task=task))

The file lists the sets, relative to itself:

    classes = "classes.toml"          # default: the table of the first set
    [[sets]]
    path = "phantom"
    [[sets]]
    path = "cholecseg8k"
    task = "type"
    split = "train"                   # for all frames of the set; default: its own splits
    others = "background"             # class of all classes that are not named; default: an error
    [sets.classes]
    "L-hook electrocautery" = "hook"  # or "ignore"
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.config import unknown
from trocar.contract.errors import DataError
from trocar.contract.text.toml import read_toml
from trocar.train.data.sample import SPLITS, FrameSet, Item, Sample

IGNORE = "ignore"
_KEYS = ("path", "task", "split", "others", "classes")
Open = Callable[[Path, str | None], FrameSet]


def open_combination(path: Path, open_set: Open) -> FrameSet:
    """Opens the sets that a TOML file lists.

    Args:
        path: The file.
        open_set: Opens one set by path and task.

    Raises:
        DataError: The file has another format, or a class is not mapped; all faults of a set at
            once.
    """
    data = read_toml(path)
    rows = data.get("sets")
    if not isinstance(rows, list) or not rows:
        raise DataError(
            f"{path} lists no sets", remedy='write one [[sets]] block per set, with path = "…"'
        )
    table = ClassTable.read(path.parent / str(data["classes"])) if "classes" in data else None
    frames = []
    for row in rows:
        odd = [unknown(key, _KEYS) for key in row if key not in _KEYS]
        if odd or "path" not in row:
            raise DataError(
                f"{path}: a set has {'; '.join(odd) or 'no path'}",
                remedy=f"keys are {', '.join(_KEYS)}",
            )
        one = open_set(path.parent / str(row["path"]), row.get("task"))
        table = table or one.table
        frames.append(_prepared(one, table, row, path))
    assert table is not None  # there is at least one set
    return combine(frames, table=table, name=path.stem, root=path)


def combine(
    sets: Sequence[FrameSet], *, table: ClassTable, name: str = "combination", root: Path
) -> FrameSet:
    """Joins sets with equal class tables; the set's number is put before names and groups.

    Raises:
        DataError: A set has another table.
    """
    for one in sets:
        if one.table.names != table.names:
            raise DataError(
                f"{one.root} has the classes {', '.join(one.table.names)}, "
                f"expected {', '.join(table.names)}",
                remedy="map its classes in a combination file",
            )
    items: list[Item] = []
    splits: dict[str, list[str]] = {}
    sources: dict[str, tuple[FrameSet, Item]] = {}
    for number, one in enumerate(sets):
        for item in one.items:
            made = replace(
                item,
                name=f"{number}/{item.name}",
                group=f"{number}/{item.group}" if item.group else "",
            )
            items.append(made)
            sources[made.name] = (one, item)
        for split, names in one.splits.items():
            splits.setdefault(split, []).extend(f"{number}/{n}" for n in names)
    return FrameSet(
        name=name,
        root=root,
        table=table,
        items=tuple(items),
        splits={split: tuple(names) for split, names in splits.items()},
        read=functools.partial(_read, sources=sources),
        notes=tuple(note for one in sets for note in one.notes),
        instances=functools.partial(_instances, sources=sources)
        if all(one.instances for one in sets)
        else None,
    )


def mapped(
    frames: FrameSet,
    table: ClassTable,
    *,
    classes: Mapping[str, str] | None = None,
    others: str | None = None,
) -> FrameSet:
    """The same frames in the classes of another table.

    Args:
        frames: The set.
        table: Class table of the result.
        classes: Class of the result by class of the set; ``ignore`` ignores its pixels. Other
            classes keep their name if the table has it.
        others: Class of the result for all remaining classes; ``None``: they are an error.

    Raises:
        DataError: A class is not mapped, or to a class that the table lacks; all faults at once.
    """
    classes = classes or {}
    faults = [
        f"{unknown(name, frames.table.names)}" for name in classes if name not in frames.table.names
    ]
    lut: NDArray[np.uint8] = np.full(256, IGNORE_INDEX, np.uint8)
    left = []
    for row in frames.table:
        wanted = classes.get(row.name, row.name if row.name in table.names else others)
        if wanted is None:
            left.append(row.name)
        elif wanted in table.names:
            lut[row.id] = table[wanted].id
        elif wanted != IGNORE:
            faults.append(f"{row.name!r} is mapped to {wanted!r}, which is not a class")
    if left:
        faults.append(f"no class is given for {', '.join(left)}")
    if faults:
        raise DataError(
            f"classes of {frames.root} cannot be mapped: {'; '.join(faults)}",
            remedy=f"map each to one of {', '.join(table.names)} or to ignore, or set others",
        )
    return replace(
        frames, table=table, read=functools.partial(_read_mapped, frames=frames, lut=lut)
    )


def _prepared(frames: FrameSet, table: ClassTable, row: Mapping[str, Any], path: Path) -> FrameSet:
    result = mapped(frames, table, classes=row.get("classes"), others=row.get("others"))
    split = row.get("split")
    if split is None:
        return result
    if split not in SPLITS:
        raise DataError(
            f"{path}: {unknown(str(split), SPLITS)} as a split",
            remedy=f"choose one of {', '.join(SPLITS)}",
        )
    return replace(result, splits={split: tuple(item.name for item in result.items)})


def _read(item: Item, *, sources: Mapping[str, tuple[FrameSet, Item]]) -> Sample:
    frames, own = sources[item.name]
    return replace(frames.read(own), name=item.name)


def _instances(
    item: Item, *, sources: Mapping[str, tuple[FrameSet, Item]]
) -> NDArray[np.unsignedinteger[Any]]:
    frames, own = sources[item.name]
    assert frames.instances is not None  # of sets that all have them
    return frames.instances(own)


def _read_mapped(item: Item, *, frames: FrameSet, lut: NDArray[np.uint8]) -> Sample:
    sample = frames.read(item)
    return sample if sample.mask is None else replace(sample, mask=lut[sample.mask])
