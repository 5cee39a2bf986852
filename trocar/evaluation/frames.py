"""The labelled frames of a data set that `trocar evaluate` scores.

frames = open_evaluation_frames(Path("data"), table, split="test")
for frame in frames: print(frame.name, frame.mask.shape)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trocar.train.data.sample import FrameSet, Item

FRAMES_PER_SECOND = 25
"""Of films whose frames have no time of their own."""

SEEN = ("train", "all")
"""Splits that may hold frames of the training; they are scored only where they are named."""


@dataclass(frozen=True, kw_only=True)
class LabelledFrame:
    """A frame and its ground truth.

    Attributes:
        name: Unique in its set.
        group: Video, operation or patient; empty when not known.
        image: ``[H, W, 3]`` uint8 RGB.
        mask: ``[H, W]`` uint8 class ids, 255 ignored.
        instances: ``[H, W]`` unsigned integers, the instance of each pixel, 0 for none; ``None``
            where the set has no instance maps.
        time: Seconds in its video; ``None`` where it is not known.
    """

    name: str
    group: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    instances: NDArray[np.unsignedinteger[Any]] | None = None
    time: float | None = None


class EvaluationFrames(Protocol):
    """Labelled frames with the class ids of the model.

    Attributes:
        path: The set.
        split: Name of the split, ``video``, ``fold <n>``, ``all`` or ``not trained on``.
        count: Number of frames.
        has_identities: Whether an instance number is the same instrument in all frames of a group.
    """

    @property
    def path(self) -> Path:
        """The set."""
        ...

    @property
    def split(self) -> str:
        """Name of the split."""
        ...

    @property
    def count(self) -> int:
        """Number of frames."""
        ...

    @property
    def has_identities(self) -> bool:
        """Whether an instance number is the same instrument in all frames of a group."""
        ...

    def __iter__(self) -> Iterator[LabelledFrame]: ...

    def only(self, names: Collection[str]) -> Iterator[LabelledFrame]:
        """The frames with those names, in order."""
        ...


@dataclass(frozen=True, kw_only=True)
class SetFrames:
    """Labelled frames of a data set.

    Attributes:
        path: The set.
        split: See `EvaluationFrames`.
        frames: The frames, with the data's own class ids.
        ids: ``[256]`` uint8, the model's class id of each of the data's.
    """

    path: Path
    split: str
    frames: FrameSet
    ids: NDArray[np.uint8]

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.frames)

    @property
    def has_identities(self) -> bool:
        """Whether an instance number is the same instrument in all frames of a group."""
        return self.frames.instances is not None and self.frames.lasting_instances

    def __iter__(self) -> Iterator[LabelledFrame]:
        return self._read(self.frames)

    def only(self, names: Collection[str]) -> Iterator[LabelledFrame]:
        """The frames with those names; no other frame is read."""
        return self._read(self.frames.only(names))

    def _read(self, frames: FrameSet) -> Iterator[LabelledFrame]:
        for item in frames:
            sample = self.frames.read(item)
            assert sample.mask is not None
            yield LabelledFrame(
                name=item.name,
                group=item.group,
                image=sample.image,
                mask=self.ids[sample.mask],
                instances=self.frames.instance_map(item, sample.mask.shape),
                time=_time_of(item),
            )


def _time_of(item: Item) -> float | None:
    """Seconds of a frame in its film, where its number is known."""
    number = item.extra.get("frame")
    return number / FRAMES_PER_SECOND if isinstance(number, int) else None


def open_evaluation_frames(
    path: Path,
    table: ClassTable,
    *,
    split: str | None = None,
    task: str | None = None,
    fold: int | None = None,
    trained_on: Collection[str] = (),
) -> EvaluationFrames:
    """Opens the labelled frames of a data set.

    Args:
        path: The set.
        table: Classes of the model.
        split: Split to score; ``None``: test, else val, else the frames that were not trained on.
        task: Task of a set that has several.
        fold: Fold of the set's protocol whose validation frames are scored.
        trained_on: Training fingerprints of the models, see `trocar.train.data.leakage`.

    Raises:
        ConfigError: A fold was named together with a split.
        DataError: The set does not open, has other classes, or was trained on.
    """
    from trocar.train.data.readers import open_frames

    if fold is not None and split is not None:
        raise ConfigError(
            f"--fold {fold} was given together with --split {split}; each of them chooses the "
            "frames to score",
            remedy="leave one of them out",
        )
    frames = open_frames(path, task=task).labelled()
    if fold is not None:
        frames, split = frames.fold(fold), "val"
    ids = id_lookup(frames.table, table, path)
    chosen = split or next((name for name in ("test", "val") if frames.splits.get(name)), None)
    opened = SetFrames(
        path=path,
        split=(chosen or "all") if fold is None else f"fold {fold}",
        frames=frames if chosen in (None, "all") else frames.subset(chosen),
        ids=ids,
    )
    return opened if split in SEEN else _unseen(opened, trained_on, full_set=chosen is None)


def _unseen(opened: SetFrames, trained_on: Collection[str], *, full_set: bool) -> SetFrames:
    """Of a full set, keeps what was not trained on; refuses a split that was trained on.

    Raises:
        DataError: No frame would be left, or frames of the split were trained on.
    """
    from trocar.train.data.leakage import unseen_frames

    left = opened.frames
    for packed in trained_on:
        left = unseen_frames(left, packed)
    count = opened.count - len(left)
    if not count:
        return opened
    if not full_set or not len(left):
        raise DataError(
            f"the model was trained on {count} of the {opened.count} frames of {opened.path} "
            f"({opened.split}) or on other frames of their videos",
            remedy="score frames that are new to the model, e.g. the fold that it was not trained "
            f"on; --split {' or '.join(SEEN)} scores the frames of the training",
        )
    return SetFrames(path=opened.path, split="not trained on", frames=left, ids=opened.ids)


def id_lookup(data: ClassTable, model: ClassTable, path: Path) -> NDArray[np.uint8]:
    """Maps the data's class ids to the model's by name.

    Returns:
        ``[256]`` uint8; `IGNORE_INDEX` for an id that the data does not have.

    Raises:
        DataError: The model does not know a class of the data.
    """
    missing = [name for name in data.names if name not in model.names]
    if missing:
        tasks = _known_tasks(path, model)
        raise DataError(
            f"{path} has classes that the model does not know: {', '.join(missing)}; "
            f"it knows {', '.join(model.names)}",
            remedy=f"pass --task {tasks[0]}"
            if tasks
            else "train on this class table, or map the classes when reading the data",
        )
    ids = np.full(256, IGNORE_INDEX, np.uint8)
    for row in data:
        ids[row.id] = model[row.name].id
    return ids


def _known_tasks(path: Path, table: ClassTable) -> tuple[str, ...]:
    """Tasks of a data set whose classes the model knows."""
    from trocar.train.data.readers import scan_frames

    tasks = scan_frames(path)[0].tasks
    tables = {task: scan_frames(path, task=task)[0].frames.table for task in tasks}
    return tuple(task for task, data in tables.items() if set(data.names) <= set(table.names))
