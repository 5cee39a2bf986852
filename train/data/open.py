"""Opens the data sets of a training run, and refuses sets that would spoil it.

data = open_data(DatasetPaths(data=Path("theatre")), DataConfig(), RunConfig(), method)

This module opens frames with masks; `trocar.train.data.classification.open` opens photographs of
classes. `open_data` chooses by the method's task.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from trocar.contract.errors import ConfigError, DataError
from trocar.train.data.classification.open import open_photo_sets
from trocar.train.data.classification.sample import PhotoSet
from trocar.train.data.compositing.foregrounds import foregrounds_from_frames
from trocar.train.data.compositing.poisson import Composite, PlacementConfig
from trocar.train.data.compositing.write import read_foregrounds
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.data.leakage import fingerprint, shared_pictures
from trocar.train.data.loader.class_presence import class_presence, repeat_factors
from trocar.train.data.loader.empty_frames import frames_without_instruments
from trocar.train.data.readers import open_frames
from trocar.train.data.sample import FrameSet
from trocar.train.data.splits import shows_class, with_splits
from trocar.train.methods.protocol import Method, TrainData, accepted_data
from trocar.train.state.settings import RunConfig

_SHOWN = 5


def open_data(paths: DatasetPaths, config: DataConfig, run: RunConfig, method: Method) -> TrainData:
    """Opens the sets of a run, by the method's task.

    Raises:
        ConfigError: A fold of photographs is asked for; see also `open_frame_sets`.
        DataError: See `open_frame_sets` and `trocar.train.data.classification.open`.
    """
    if method.task != "classification":
        return open_frame_sets(paths, config, run, method)
    if config.fold is not None:
        raise ConfigError(
            "sets of photographs have no folds, --fold was given", remedy="leave --fold out"
        )
    return open_photo_sets(paths, config, run, method)


def open_frame_sets(
    paths: DatasetPaths, config: DataConfig, run: RunConfig, method: Method
) -> TrainData:
    """Opens the sets of a segmentation run.

    Raises:
        ConfigError: The method lacks a set that it needs, or gets one that it cannot use.
        DataError: A set is empty, overlaps another, or has other classes; or no frame to
            train on, or none that validates, shows a class.
    """
    _check_paths(paths, method)
    frames = open_frames(paths.data, task=config.task)
    if config.fold is not None:
        frames = frames.fold(config.fold)
    # Not the run's seed: runs that differ only in their seed must share their split.
    frames = with_splits(frames, val=config.val_share, seed=0)
    labelled = frames.subset("train").labelled()
    labelled, rest = subsample_labels(
        labelled, config.label_share, run.seed, by_frame=config.hide_labels == "by-frame"
    )
    validation = frames.subset("val").labelled()
    if paths.validation is not None:
        validation = _validation(paths.validation, config, labelled)
    _check_validation(labelled if rest is None else frames.subset("train"), validation)
    labelled, empty = _empty_frames(labelled, config)
    labelled, repeats = _oversampled(labelled, config)
    unlabelled = _unlabelled(paths.unlabelled, "--unlabelled", labelled, validation)
    if unlabelled is None and rest is not None and "unlabelled" in accepted_data(method):
        unlabelled = rest
    if "unlabelled" in method.required_data and unlabelled is None:
        raise ConfigError(
            f"{method.name} needs frames without labels",
            remedy="pass --unlabelled DIR, or --label-share 0.1 to use a tenth of the labels",
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
        border=config.border,
        empty=empty,
        repeats=repeats,
        pre_augment=_composite(config, labelled),
    )


def _empty_frames(labelled: FrameSet, config: DataConfig) -> tuple[FrameSet, tuple[int, ...]]:
    """The labelled frames with a note, and the indices of those that every batch gets some of."""
    if config.empty_frames == "as-drawn":
        return labelled, ()
    empty = frames_without_instruments(labelled)
    if not empty:
        return labelled, ()
    note = f"{len(empty)} frames without instruments: every batch has some of them"
    return replace(labelled, notes=(*labelled.notes, note)), empty


def _oversampled(labelled: FrameSet, config: DataConfig) -> tuple[FrameSet, tuple[float, ...]]:
    """The labelled frames with a note, and how often each is drawn in an epoch."""
    if not config.oversample:
        return labelled, ()
    presence = class_presence(labelled)
    factors = tuple(repeat_factors(presence, config.oversample))
    share = (presence > 0).mean(axis=0)
    rare = [
        f"{row.name} ({share[row.id]:.1%} of the frames)"
        for row in labelled.table
        if 0 < share[row.id] < config.oversample
    ]
    often = sum(factor > 1 for factor in factors)
    note = (
        f"{often} frames are drawn up to {max(factors):.1f} times in an epoch for the rare classes "
        + ", ".join(rare)
        if rare
        else f"oversample {config.oversample:g} changes nothing: no class is in fewer frames"
    )
    return replace(labelled, notes=(*labelled.notes, note)), factors


def training_fingerprint(data: TrainData) -> str:
    """Digests of all frames or photographs of a run, see `trocar.train.data.leakage`."""
    return fingerprint(trained_sets(data))


def trained_sets(data: TrainData) -> list[FrameSet | PhotoSet]:
    """The sets of frames or photographs that a run trains on."""
    sets = (data.labelled, data.unlabelled, data.target)
    return [one for one in sets if isinstance(one, FrameSet | PhotoSet)]


def subsample_labels(
    frames: FrameSet, share: float, seed: int, *, by_frame: bool = False
) -> tuple[FrameSet, FrameSet | None]:
    """Draws the frames whose labels are used, at least one; the other frames come second.

    Where groups are known, whole ones are drawn until they hold the share, at least one: somebody
    labels a few videos, and single frames of all videos would show nearly every scene.

    Args:
        frames: Labelled frames.
        share: Fraction whose labels are used, above 0 to 1.
        seed: Seed of the run.
        by_frame: Draws single frames all the same.
    """
    if share >= 1:
        return frames, None
    if len(frames.groups) > 1 and not by_frame:
        return _subsample_groups(frames, share, seed)
    count = max(round(share * len(frames)), 1)
    order = np.random.default_rng((seed, len(frames))).permutation(len(frames))
    chosen = {frames.items[index].name for index in order[:count]}
    others = [item.name for item in frames.items if item.name not in chosen]
    return frames.only(chosen), frames.only(others) if others else None


def _subsample_groups(
    frames: FrameSet, share: float, seed: int
) -> tuple[FrameSet, FrameSet | None]:
    sizes = Counter(item.group for item in frames)
    groups = sorted(sizes)
    drawn: set[str] = set()
    for index in np.random.default_rng((seed, len(groups))).permutation(len(groups)):
        # The first always, another only if it brings the number of frames nearer to the share.
        have, more = sum(sizes[group] for group in drawn), sizes[groups[index]]
        wanted = share * len(frames)
        if not drawn or abs(have + more - wanted) < abs(have - wanted):
            drawn.add(groups[index])
    labelled = frames.only(item.name for item in frames if item.group in drawn)
    others = [item.name for item in frames if item.group not in drawn]
    note = (
        f"the labels of {len(labelled)} of {len(frames)} frames are used, those of "
        f"{len(drawn)} of {len(groups)} groups: {', '.join(sorted(drawn))}"
    )
    labelled = replace(labelled, notes=(*labelled.notes, note))
    return labelled, frames.only(others) if others else None


def _composite(config: DataConfig, labelled: FrameSet) -> Composite | None:
    if not config.composite:
        return None
    if config.composite_from is None:
        foregrounds = foregrounds_from_frames(labelled, max_frames=50)
    else:
        foregrounds, _ = read_foregrounds(config.composite_from, table=labelled.table)
    return Composite(tuple(foregrounds), PlacementConfig(chance=config.composite))


def _check_paths(paths: DatasetPaths, method: Method) -> None:
    for name in ("unlabelled", "target"):
        given = getattr(paths, name) is not None
        if given and name not in accepted_data(method):
            raise ConfigError(
                f"{method.name} takes no --{name}",
                remedy=f"drop --{name}, or choose another method",
            )
        if not given and name in method.required_data and name != "unlabelled":
            raise ConfigError(f"{method.name} needs --{name}", remedy=f"pass --{name} DIR")


def _validation(path: Path, config: DataConfig, labelled: FrameSet) -> FrameSet:
    frames = open_frames(path, task=config.task)
    _check_same_classes(labelled, frames)
    chosen = frames.subset("val") if frames.splits.get("val") else frames
    if not len(chosen.labelled()):
        raise DataError(
            f"{path} has no labelled frame", remedy="pass a set with masks to --validation"
        )
    return chosen.labelled()


def _check_validation(labelled: FrameSet, validation: FrameSet) -> None:
    """Refuses a validation set that is trained on, or on which no score can be computed."""
    shared = [
        f"\n  {item.image} = {other.image}" for item, other in shared_pictures(labelled, validation)
    ]
    if shared:
        more = f"\n  … and {len(shared) - _SHOWN} more" if len(shared) > _SHOWN else ""
        raise DataError(
            f"{len(shared)} of the {len(labelled)} training frames are equal to frames that "
            f"validate:{''.join(shared[:_SHOWN])}{more}",
            remedy="remove one of each two, or put both into one split",
        )
    if not shows_class(labelled):
        raise DataError(
            f"none of the {len(labelled)} frames of {labelled.root} to train on shows a class of "
            f"the table ({', '.join(labelled.table.names[1:6])})",
            remedy="put frames that show instruments into the split 'train'",
        )
    if not shows_class(validation):
        raise DataError(
            f"none of the {len(validation)} frames of {validation.root} that validate shows a "
            f"class of the table ({', '.join(validation.table.names[1:6])}): every score would be "
            "0 or undefined, and no best model could be chosen",
            remedy="put frames that show instruments into the split 'val', or pass another set to "
            "--validation",
        )


def _unlabelled(
    path: Path | None, flag: str, labelled: FrameSet, validation: FrameSet
) -> FrameSet | None:
    if path is None:
        return None
    frames = open_frames(path, table=labelled.table)
    if frames.splits.get("train"):
        frames = frames.subset("train")
    if not len(frames):
        raise DataError(f"{path} has no frames", remedy=f"pass a folder of images to {flag}")
    for other, role in ((labelled, "training"), (validation, "validation")):
        shared = shared_pictures(frames, other)
        if shared:
            raise DataError(
                f"{len(shared)} frames of {path} are also labelled {role} frames; the first is "
                f"{shared[0][0].image}",
                remedy=f"remove them from the folder of {flag}",
            )
    return frames


def _target(
    path: Path | None, config: DataConfig, labelled: FrameSet, validation: FrameSet
) -> FrameSet | None:
    if path is None:
        return None
    if (path / "classes.toml").is_file():
        _check_same_classes(labelled, open_frames(path, task=config.task))
    return _unlabelled(path, "--target", labelled, validation)


def _check_same_classes(source: FrameSet, other: FrameSet) -> None:
    if source.table.names != other.table.names:
        raise DataError(
            f"class tables differ: {source.root} has {', '.join(source.table.names)}; "
            f"{other.root} has {', '.join(other.table.names)}",
            remedy="convert both to one class table with the same ids and names",
        )
