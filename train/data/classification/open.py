"""Opens the photographs of a classification run, and refuses sets that would spoil it.

data = open_photo_sets(DatasetPaths(data=Path("tools")), DataConfig(), RunConfig(), method)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from trocar.contract.errors import ConfigError, DataError
from trocar.train.data.classification.readers import open_photos
from trocar.train.data.classification.sample import PhotoSet
from trocar.train.data.classification.statistics import check_duplicates
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.methods.protocol import Method, TrainData
from trocar.train.state.settings import RunConfig


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
    photos = check_duplicates(with_splits(open_photos(paths.data), config.val_share, run.seed))
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


def with_splits(photos: PhotoSet, val: float, seed: int) -> PhotoSet:
    """Gives a set ``train`` and ``val`` splits where it has none, the same share of every class.

    The only photograph of a class stays in ``train``.

    Raises:
        DataError: No class has a photograph to spare for ``val``.
    """
    if photos.splits.get("train") and photos.splits.get("val"):
        return photos
    pool = photos.subset("train") if photos.splits.get("train") else photos
    labels = pool.labels
    rng = np.random.default_rng((seed, 0x59117))
    chosen: set[str] = set()
    for label in np.unique(labels).tolist():
        members = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(round(val * len(members)), 1), len(members) - 1)
        chosen |= {pool.items[int(p)].name for p in members[:count]}
    if not chosen:
        raise DataError(
            f"{photos.root} has one photograph per class: none is left for validation",
            remedy="add photographs, or pass another set to --validation",
        )
    splits = {
        "train": tuple(i.name for i in pool.items if i.name not in chosen),
        "val": tuple(i.name for i in pool.items if i.name in chosen),
    }
    if photos.splits.get("test"):
        splits["test"] = photos.splits["test"]
    note = f"{len(chosen)} photographs, {val:.0%} of every class, are for validation"
    return replace(photos, splits=splits, notes=(*photos.notes, note))


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
