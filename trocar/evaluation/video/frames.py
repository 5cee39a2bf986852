"""The labelled videos that `trocar evaluate --video` scores: one file with masks, or a set's films.

frames = open_video_frames(Path("data"), table)
for frame in frames: print(frame.group, frame.time, frame.instances)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError, DataError
from trocar.contract.media.pictures import decode_unchanged, read_bytes
from trocar.evaluation.frames import (
    EvaluationFrames,
    LabelledFrame,
    SetFrames,
    open_evaluation_frames,
)

VIDEO = "video.mp4"
VIDEO_MASKS = "video_masks"
VIDEO_INSTANCES = "video_instances"


@dataclass(frozen=True, kw_only=True)
class VideoFrames:
    """Frames of a set's video and their masks, in order of time.

    Attributes:
        path: The set.
        masks: One PNG a frame, with the model's class ids.
        instances: One PNG a frame with the numbers of the instruments, which are the same in all
            frames; empty where the set has none.
    """

    path: Path
    masks: Sequence[Path]
    instances: Sequence[Path] = ()
    split: str = "video"

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.masks)

    @property
    def has_identities(self) -> bool:
        """Whether the instance maps say which instrument is the same in other frames."""
        return bool(self.instances)

    def __iter__(self) -> Iterator[LabelledFrame]:
        from trocar.runtime.sources.open import open_source

        source = open_source(self.path / VIDEO)
        try:
            read = 0
            for frame, file in zip(source.frames(), self.masks, strict=False):
                size = (frame.image.shape[0], frame.image.shape[1])
                mask = _grey_map(file, size).astype(np.uint8)
                numbers = _grey_map(self.instances[read], size) if self.instances else None
                yield LabelledFrame(
                    name=file.stem, group="", image=frame.image, mask=mask, instances=numbers,
                    time=frame.time,
                )  # fmt: skip
                read += 1
        finally:
            source.close()
        if read < self.count:
            raise DataError(
                f"{self.path / VIDEO} has {read} frames, {VIDEO_MASKS}/ {self.count} masks",
                remedy="save one mask for each frame of the video",
            )

    def only(self, names: Collection[str]) -> Iterator[LabelledFrame]:
        """The frames with those names."""
        return (frame for frame in self if frame.name in names)


def open_video_frames(
    path: Path,
    table: ClassTable,
    *,
    split: str | None = None,
    task: str | None = None,
    fold: int | None = None,
    trained_on: Collection[str] = (),
) -> EvaluationFrames:
    """Opens the video with masks of a set, or the films that its frames come from.

    Args:
        path: The set. A ``video.mp4`` with ``video_masks/`` comes first; else each group of its
            frames is a film.
        table: Classes of the model.
        split: Split of the films to score.
        task: Task of a set that has several.
        fold: Fold of the set's protocol whose validation films are scored.
        trained_on: Training fingerprints of the models.

    Raises:
        ConfigError: A split or fold was named for a single video.
        DataError: There is no such video and no film, or see `open_evaluation_frames`.
    """
    masks = sorted((path / VIDEO_MASKS).glob("*.png"))
    if masks and (path / VIDEO).is_file():
        if fold is not None or split is not None:
            raise ConfigError(
                f"--video scores {path / VIDEO}, which is in no split; --split or --fold was given "
                "too",
                remedy="leave one of them out: each of them chooses the frames to score",
            )
        return VideoFrames(path=path, masks=masks, instances=_instance_files(path, masks))
    if not _is_set(path):
        raise DataError(
            f"{path} holds no {VIDEO} with masks in {VIDEO_MASKS}/, and no labelled films",
            remedy="make one with `trocar data phantom OUT --video`, or leave --video out",
        )
    opened = open_evaluation_frames(
        path, table, split=split, task=task, fold=fold, trained_on=trained_on
    )
    assert isinstance(opened, SetFrames)
    return films_of(opened)


def films_of(opened: SetFrames) -> SetFrames:
    """The frames of a set film after film, each in the set's order.

    Raises:
        DataError: The frames do not say which film they are from.
    """
    frames = opened.frames
    if not frames.groups or not all(item.group for item in frames):
        raise DataError(
            f"the frames of {opened.path} do not say which film they are from, and --video scores "
            "films",
            remedy="give the films in dataset.toml: group = a regular expression for file names, "
            "or leave --video out",
        )
    place = {group: number for number, group in enumerate(frames.groups)}
    items = tuple(sorted(frames.items, key=lambda item: place[item.group]))
    return replace(opened, frames=replace(frames, items=items))


def _is_set(path: Path) -> bool:
    """Whether a folder holds labelled frames of a layout that is known."""
    from trocar.train.data.readers import open_frames, recognise

    if not path.is_dir():
        return False
    try:
        recognise(path)
    except DataError:
        return False
    return any(item.labelled for item in open_frames(path))


def _instance_files(path: Path, masks: Sequence[Path]) -> list[Path]:
    folder = path / VIDEO_INSTANCES
    if not folder.is_dir():
        return []
    files = [folder / mask.name for mask in masks]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataError(
            f"{missing[0]} is missing: {len(missing)} of {len(masks)} masks have no instance map",
            remedy=f"save one for each mask, or remove {VIDEO_INSTANCES}/",
        )
    return files


def _grey_map(file: Path, size: tuple[int, int]) -> NDArray[Any]:
    """Class ids or instance numbers of a frame; raises `DataError`."""
    values = decode_unchanged(read_bytes(file), source=str(file))
    if values.shape != size:
        raise DataError(
            f"{file} has the shape {values.shape}, its frame {size}",
            remedy="save one grey mask a frame, of the frame's size",
        )
    return values
