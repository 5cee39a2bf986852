"""Splits for sets that have none: by whole groups.

frames = with_splits(open_frames("theatre/"), val=0.2, seed=0)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trocar.contract.errors import DataError
from trocar.train.data.sample import FrameSet


def with_splits(frames: FrameSet, *, val: float = 0.2, seed: int = 0) -> FrameSet:
    """Gives a set ``train`` and ``val`` splits; splits that it has stay as they are.

    Groups are drawn at random until their frames reach the share. Without known groups, the last
    frames are taken in one piece: neighbouring frames are nearly equal, so a random draw would
    validate on training data.

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
    if not pool.groups:
        count = min(max(round(val * len(pool)), 1), len(pool) - 1)
        chosen = {item.name for item in pool.items[-count:]}
        note = f"no groups are known: the last {count} frames validate"
    else:
        chosen, note = _groups(pool, val, seed)
    splits = {
        "train": tuple(item.name for item in pool.items if item.name not in chosen),
        "val": tuple(item.name for item in pool.items if item.name in chosen),
    }
    if "test" in frames.splits:
        splits["test"] = frames.splits["test"]
    return replace(frames, splits=splits, notes=(*frames.notes, note))


def _groups(pool: FrameSet, val: float, seed: int) -> tuple[set[str], str]:
    groups = list(dict.fromkeys(item.group for item in pool.items))
    if len(groups) < 2:
        raise DataError(
            f"all {len(pool)} frames of {pool.root} belong to one group, {groups[0]!r}; validation "
            "needs another group",
            remedy="add another video or patient, or pass another set to --validation",
        )
    sizes = {g: sum(item.group == g for item in pool.items) for g in groups}
    order = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    chosen: list[str] = []
    for group in order[:-1]:
        if chosen and sum(sizes[g] for g in chosen) >= val * len(pool):
            break
        chosen.append(group)
    names = {item.name for item in pool.items if item.group in set(chosen)}
    return names, f"groups {', '.join(sorted(chosen))} validate"
