"""Opens the photographs of a classification run, and refuses sets that would spoil it.

data = open_photo_sets(DatasetPaths(data=Path("tools")), DataConfig(), RunConfig(), method)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from trocar.contract.errors import ConfigError, DataError
from trocar.train.data.classification.readers import open_photos
from trocar.train.data.classification.sample import Photo, PhotoSet
from trocar.train.data.classification.statistics import check_duplicates
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.methods.protocol import Method, TrainData
from trocar.train.state.settings import RunConfig

VALIDATE = "are for validation"
"""Words of the note on a set whose photographs for validation were chosen here."""


def open_photo_sets(
    paths: DatasetPaths, config: DataConfig, run: RunConfig, method: Method
) -> TrainData:
    """Opens the photographs of a run.

    Raises:
        ConfigError: A set was named that classifiers cannot use.
        DataError: The set is at fault; see `open_photos` and `check_duplicates`.
    """
    for name in ("unlabelled", "target"):
        if getattr(paths, name) is not None:
            raise ConfigError(f"{method.name} takes no --{name}", remedy=f"drop --{name}")
    photos = check_duplicates(with_splits(open_photos(paths.data), config.val_share))
    labelled = _subsampled(photos.subset("train"), config.label_share, run.seed)
    validation = photos.subset("val")
    if paths.validation is not None:
        validation = _validation(paths.validation, photos)
    return TrainData(
        labelled=labelled,
        validation=validation,
        batch_size=run.batch_size,
        seed=run.seed,
        cache_mb=run.cache_mb,
    )


def with_splits(photos: PhotoSet, val: float) -> PhotoSet:
    """Gives a set ``train`` and ``val`` splits where it has none, about a share of every class.

    Whole units go to one side, see `PhotoSet.units`: the crops of one image, or a video, are never
    on both. At most half of a class validates, and a class that is in one unit stays in ``train``.
    The draw does not depend on the run's seed: runs that differ in it share their split.

    Raises:
        DataError: No class has a photograph to spare for ``val``.
    """
    if photos.splits.get("train") and photos.splits.get("val"):
        return photos
    pool = photos.subset("train") if photos.splits.get("train") else photos
    chosen = _drawn(pool, val)
    if not chosen:
        raise DataError(
            f"{photos.root} has one photograph per class, or one image or video of each: none is "
            "left for validation",
            remedy="add photographs, or pass another set to --validation",
        )
    splits = {
        "train": tuple(i.name for i in pool.items if i.name not in chosen),
        "val": tuple(i.name for i in pool.items if i.name in chosen),
    }
    if photos.splits.get("test"):
        splits["test"] = photos.splits["test"]
    note = f"{len(chosen)} photographs, about {val:.0%} of every class, {VALIDATE}"
    missing = sorted(
        {item.label for item in pool} - {item.label for item in pool if item.name in chosen}
    )
    if missing:
        names = ", ".join(photos.table[label].name for label in missing[:8])
        note += f"; none of {names}, which is in one image or video only"
    return replace(photos, splits=splits, notes=(*photos.notes, note))


def _drawn(pool: PhotoSet, val: float) -> set[str]:
    """Names of the photographs that validate."""
    classes = pool.counts
    wanted = np.minimum(np.maximum(np.round(val * classes), 1), np.maximum(classes - 1, 0))
    most = np.maximum(wanted, classes // 2)
    members: dict[str, list[Photo]] = {}
    for item, unit in zip(pool, pool.units, strict=True):
        members.setdefault(unit, []).append(item)
    units = list(members)
    taken = np.zeros_like(classes)
    chosen: set[str] = set()
    for index in np.random.default_rng(0x59117).permutation(len(units)):
        inside = members[units[index]]
        counts = np.bincount([item.label for item in inside], minlength=len(classes))
        after = taken + counts
        needed = bool(((counts > 0) & (taken < wanted)).any())
        if needed and bool((after <= most)[counts > 0].all()):
            taken = after
            chosen |= {item.name for item in inside}
    return chosen


def _subsampled(photos: PhotoSet, share: float, seed: int) -> PhotoSet:
    if share >= 1:
        return photos
    count = max(round(share * len(photos)), 1)
    order = np.random.default_rng((seed, len(photos))).permutation(len(photos))
    return photos.only(photos.items[int(index)].name for index in order[:count])


def _validation(path: Path, photos: PhotoSet) -> PhotoSet:
    other = open_photos(path)
    if other.table.names != photos.table.names:
        raise DataError(
            f"class tables differ: {photos.root} has {', '.join(photos.table.names[:12])}; "
            f"{path} has {', '.join(other.table.names[:12])}",
            remedy="give both sets the same classes",
        )
    return other.subset("val") if other.splits.get("val") else other
