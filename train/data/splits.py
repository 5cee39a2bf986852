"""Splits for sets that have none: by whole groups.

frames = with_splits(open_frames("theatre/"), val=0.2, seed=0)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import numpy as np

from trocar.contract.classes import IGNORE_INDEX
from trocar.contract.errors import DataError
from trocar.train.data.leakage import joined_groups, shared_pictures
from trocar.train.data.sample import FrameSet, Item


def with_splits(frames: FrameSet, *, val: float = 0.2, seed: int = 0) -> FrameSet:
    """Gives a set ``train`` and ``val`` splits; splits that it has stay as they are.

    Groups are drawn at random until their frames reach the share. Groups that hold equal pictures
    are one group. Without known groups, the last frames are taken in one piece: neighbouring frames
    are nearly equal, so a random draw would validate on training data; pictures that are equal to
    one that validates are left out of ``train``.

    Where the drawn frames show no class, the next groups, or the piece before, are taken.

    Raises:
        DataError: All frames are of one group, or there are fewer than two frames.
    """
    if frames.splits.get("train") and frames.splits.get("val"):
        return frames
    pool = frames.subset("train") if frames.splits.get("train") else frames
    if len(pool) < 2 or not 0 < val < 1:
        raise DataError(
            f"cannot divide the {len(pool)} frames of {frames.root}, with a share of {val:g} for "
            "validation",
            remedy="add frames, and choose a share between 0 and 1",
        )
    draws = _groups(pool, val, seed) if pool.groups else _pieces(pool, val)
    first = next(draws)
    chosen, note = next((draw for draw in chain([first], draws) if _usable(pool, draw[0])), first)
    if chosen != first[0]:
        note += " (with those drawn first, one side would show no class)"
    kept = [item for item in pool.items if item.name not in chosen]
    equal = shared_pictures(pool.only(i.name for i in kept), pool.only(chosen))
    left_out = {item.name for item, _ in equal}
    if left_out:
        note += f"; {len(left_out)} pictures equal to one of them are not trained on"
    splits = {
        "train": tuple(item.name for item in kept if item.name not in left_out),
        "val": tuple(item.name for item in pool.items if item.name in chosen),
    }
    if not splits["train"]:
        raise DataError(
            f"every frame of {pool.root} that is left to train on is equal to one that validates",
            remedy="remove the copies, or pass another set to --validation",
        )
    if "test" in frames.splits:
        splits["test"] = frames.splits["test"]
    return replace(frames, splits=splits, notes=(*frames.notes, note))


def shows_class(frames: FrameSet) -> bool:
    """Whether any mask of a set has a pixel of a class that is neither background nor ignored.

    Reads frames until one has; a set without masks counts as one that shows a class.

    Raises:
        DataError: A frame cannot be read.
    """
    masked = [item for item in frames if item.labelled]
    return not masked or any(_shows_class(frames, item) for item in masked)


def _shows_class(frames: FrameSet, item: Item) -> bool:
    mask = frames.read(item).mask
    return mask is not None and bool(((mask > 0) & (mask != IGNORE_INDEX)).any())


def _usable(pool: FrameSet, chosen: set[str]) -> bool:
    """Whether the frames that validate show a class, and those that are left do too."""
    left = pool.only(item.name for item in pool if item.name not in chosen)
    return shows_class(pool.only(chosen)) and shows_class(left)


def _pieces(pool: FrameSet, val: float) -> Iterator[tuple[set[str], str]]:
    """The last frames, then the pieces before them."""
    count = min(max(round(val * len(pool)), 1), len(pool) - 1)
    yield (
        {item.name for item in pool.items[-count:]},
        f"no groups are known: the last {count} frames validate",
    )
    for end in range(len(pool) - count, count - 1, -count):
        piece = pool.items[end - count : end]
        yield (
            {item.name for item in piece},
            f"no groups are known: {count} frames, {piece[0].name} to {piece[-1].name}, validate",
        )


def _groups(pool: FrameSet, val: float, seed: int) -> Iterator[tuple[set[str], str]]:
    """Groups in a random order up to the share; then, from the next group of the order on."""
    groups = list(dict.fromkeys(item.group for item in pool.items))
    joined = joined_groups(pool)
    if len({joined[group] for group in groups}) < 2:
        equal = f"; {', '.join(map(repr, groups))} hold equal pictures" if len(groups) > 1 else ""
        raise DataError(
            f"all {len(pool)} frames of {pool.root} belong to one group, {groups[0]!r}{equal}; "
            "validation needs another group",
            remedy="add another video or patient, or pass another set to --validation",
        )
    names = {group: {i.name for i in pool.items if i.group == group} for group in groups}
    order = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    for start in range(len(order)):
        turned = dict.fromkeys(joined[group] for group in (*order[start:], *order[:start]))
        chosen: list[str] = []
        for key in list(turned)[:-1]:
            if chosen and sum(len(names[group]) for group in chosen) >= val * len(pool):
                break
            chosen += [group for group in groups if joined[group] == key]
        frames = {name for group in chosen for name in names[group]}
        yield frames, f"groups {', '.join(sorted(chosen))} validate"
