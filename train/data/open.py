"""Opens what a run is to learn from, and refuses sets that would spoil it.

data = open_data(Paths(data=Path("theatre")), DataConfig(), RunConfig(), method)
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

import numpy as np

from trocar.contract.errors import ConfigError, DataError
from trocar.train.data.compositing.poisson import (
    Composite,
    PlacementConfig,
    foregrounds_from_frames,
)
from trocar.train.data.compositing.write import read_foregrounds
from trocar.train.data.config import DataConfig, Paths
from trocar.train.data.leakage import pack
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet
from trocar.train.data.splits import with_splits
from trocar.train.methods.protocol import Method, TrainData, accepted_data
from trocar.train.state.settings import RunConfig


def open_data(paths: Paths, config: DataConfig, run: RunConfig, method: Method) -> TrainData:
    """Opens the sets of a run, by the method's task.

    Raises:
        ConfigError: See `open_training`.
        DataError: See `open_training`.
    """
    if method.task == "classification":
        if config.fold is not None:
            raise ConfigError(
                "sets of photographs have no folds, --fold was given", remedy="leave --fold out"
            )
        # Opened by the room of class folders, which segmentation has no need to import.
        module = importlib.import_module("trocar.train.data.classification.opening")
        opened: TrainData = module.open_training(paths, config, run, method)
        return opened
    return open_training(paths, config, run, method)


def open_training(paths: Paths, config: DataConfig, run: RunConfig, method: Method) -> TrainData:
    """Opens the sets of a segmentation run.

    Raises:
        ConfigError: The method lacks a set that it needs, or gets one that it cannot use.
        DataError: A set is empty, overlaps another, or has other classes.
    """
    _check_paths(paths, method)
    frames = open_frames(paths.data, task=config.task)
    if config.fold is not None:
        frames = frames.fold(config.fold)
    frames = with_splits(
        # Not the run's seed: runs that differ in it alone must share their split.
        frames,
        val=config.val_share,
        seed=0,
    )
    labelled = frames.subset("train").labelled()
    labelled, rest = hide_labels(labelled, config.label_share, run.seed)
    validation = frames.subset("val").labelled()
    if paths.validation is not None:
        validation = _validation(paths.validation, config, labelled)
    unlabelled = _unlabelled(paths.unlabelled, "--unlabelled", labelled, validation)
    if unlabelled is None and rest is not None and "unlabelled" in accepted_data(method):
        unlabelled = rest
    if "unlabelled" in method.required_data and unlabelled is None:
        raise ConfigError(
            f"{method.name} needs frames without labels",
            remedy="pass --unlabelled DIR, or --label-share 0.1 to hide labels that are there",
        )
    return TrainData(
        labelled=labelled,
        validation=validation,
        unlabelled=unlabelled,
        target=_target(paths.target, config, labelled, validation),
        batch_size=run.batch_size,
        seed=run.seed,
        cache_mb=run.cache_mb,
        augmentation=config.augmentation,
        pre_augment=_composite(config, labelled),
    )


def trained_on(data: TrainData) -> str:
    """All frames that a segmentation run learns from, see `trocar.train.data.leakage`."""
    sets = (data.labelled, data.unlabelled, data.target)
    return pack(one for one in sets if isinstance(one, FrameSet))


def _composite(config: DataConfig, labelled: FrameSet) -> Composite | None:
    if not config.composite:
        return None
    if config.composite_from is None:
        foregrounds = foregrounds_from_frames(labelled, most=50)
    else:
        foregrounds, _ = read_foregrounds(config.composite_from, table=labelled.table)
    return Composite(tuple(foregrounds), PlacementConfig(chance=config.composite))


def _check_paths(paths: Paths, method: Method) -> None:
    for name in ("unlabelled", "target"):
        given = getattr(paths, name) is not None
        if given and name not in accepted_data(method):
            raise ConfigError(
                f"{method.name} takes no --{name}",
                remedy=f"drop --{name}, or choose another method",
            )
        if not given and name in method.required_data and name != "unlabelled":
            raise ConfigError(f"{method.name} needs --{name}", remedy=f"pass --{name} DIR")


def hide_labels(frames: FrameSet, share: float, seed: int) -> tuple[FrameSet, FrameSet | None]:
    """Draws the share of frames whose labels are used, at least one, and gives the others too."""
    if share >= 1:
        return frames, None
    count = max(round(share * len(frames)), 1)
    order = np.random.default_rng((seed, len(frames))).permutation(len(frames))
    chosen = {frames.items[place].name for place in order[:count]}
    others = [item.name for item in frames.items if item.name not in chosen]
    return frames.only(chosen), frames.only(others) if others else None


def _validation(path: Path, config: DataConfig, labelled: FrameSet) -> FrameSet:
    frames = open_frames(path, task=config.task)
    _same_classes(labelled, frames)
    chosen = frames.subset("val") if frames.splits.get("val") else frames
    if not len(chosen.labelled()):
        raise DataError(f"{path} has no labelled frame", remedy="validate on frames with masks")
    return chosen.labelled()


def _unlabelled(
    path: Path | None, flag: str, labelled: FrameSet, validation: FrameSet
) -> FrameSet | None:
    if path is None:
        return None
    frames = open_frames(path, table=labelled.table)
    if frames.splits.get("train"):
        frames = frames.subset("train")
    if not len(frames):
        raise DataError(f"{path} holds no frames", remedy=f"name a folder of images for {flag}")
    for other, word in ((labelled, "labelled training"), (validation, "validation")):
        shared = _shared(frames, other)
        if shared:
            raise DataError(
                f"{len(shared)} frames of {path} are {word} frames too, the first is {shared[0]}",
                remedy=f"take them out of {flag}",
            )
    return frames


def _target(
    path: Path | None, config: DataConfig, labelled: FrameSet, validation: FrameSet
) -> FrameSet | None:
    if path is None:
        return None
    known = open_frames(path, task=config.task) if _has_table(path) else None
    if known is not None:
        _same_classes(labelled, known)
    return _unlabelled(path, "--target", labelled, validation)


def _has_table(path: Path) -> bool:
    return (path / "classes.toml").is_file()


def _same_classes(source: FrameSet, other: FrameSet) -> None:
    if source.table.names != other.table.names:
        raise DataError(
            f"class tables differ: {source.root} has {', '.join(source.table.names)}; "
            f"{other.root} has {', '.join(other.table.names)}",
            remedy="bring both to one class table with the same ids and names",
        )


def _shared(a: FrameSet, b: FrameSet) -> list[Path]:
    """Images of ``a`` whose bytes are those of an image of ``b``; hashed where sizes are equal."""
    sizes: dict[int, list[Path]] = {}
    for item in b.items:
        sizes.setdefault(item.image.stat().st_size, []).append(item.image)
    found = []
    for item in a.items:
        rivals = sizes.get(item.image.stat().st_size, [])
        if rivals and any(_equal(item.image, rival) for rival in rivals):
            found.append(item.image)
    return found


def _equal(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve() or _hash(a) == _hash(b)


def _hash(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
