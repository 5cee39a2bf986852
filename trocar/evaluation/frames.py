"""The labelled frames that `trocar evaluate` scores: of a data set, or of a video with masks.

for frame in EvaluationFrames(Path("data"), table, split="test", video=False, task=None): ...
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trocar.evaluation.scoring import LabelledFrame
    from trocar.train.data.sample import FrameSet

VIDEO = "video.mp4"
VIDEO_MASKS = "video_masks"
SEEN = ("train", "all")
"""Splits that may hold frames which the model was trained on, where they are asked for."""


class EvaluationFrames:
    """Labelled frames of a data set or of a video with masks, in the model's class ids.

    Args:
        path: The set.
        table: Classes of the model.
        split: Split to score; ``None`` takes test, else val, else what was not trained on.
        video: Whether to score the set's video instead.
        task: Task of a set that has several.
        fold: Fold of the set's protocol whose validation frames are scored.
        trained_on: What the models to be scored have learnt from, see `trocar.train.data.leakage`.

    Raises:
        ConfigError: A fold was named together with a split or the video.
        DataError: The set does not open, has other classes, or was trained on.
    """

    def __init__(
        self,
        path: Path,
        table: ClassTable,
        *,
        split: str | None,
        video: bool,
        task: str | None,
        fold: int | None = None,
        trained_on: Collection[str] = (),
    ) -> None:
        if fold is not None and (split is not None or video):
            raise ConfigError(
                "a fold says which frames are scored, and so do --split and --video",
                remedy="leave one of them out",
            )
        self.path = path
        self.table = table
        if video:
            self.split = "video"
            self.masks = sorted((path / VIDEO_MASKS).glob("*.png"))
            if not self.masks or not (path / VIDEO).is_file():
                raise DataError(
                    f"{path} holds no {VIDEO} with masks in {VIDEO_MASKS}/",
                    remedy="make one with `trocar data phantom OUT --video`, or leave --video out",
                )
            self.count = len(self.masks)
            return
        from trocar.train.data.readers import open_frames

        frames = open_frames(path, task=task).labelled()
        if fold is not None:
            frames, split = frames.fold(fold), "val"
        self.ids = lookup(frames.table, table, path)
        self.masks = []
        chosen = split or next((s for s in ("test", "val") if frames.splits.get(s)), None)
        self.split = (chosen or "all") if fold is None else f"fold {fold}"
        self.set = frames if chosen in (None, "all") else frames.subset(chosen)
        if split not in SEEN:
            self._leave_out(trained_on, whole=chosen is None)
        self.count = len(self.set)

    def _leave_out(self, trained_on: Collection[str], *, whole: bool) -> None:
        """Of a whole set, takes what was not trained on; refuses a split that was.

        Raises:
            DataError: There would be nothing left, or frames of the split were trained on.
        """
        from trocar.train.data.leakage import unseen_frames

        left = self.set
        for packed in trained_on:
            left = unseen_frames(left, packed)
        count = len(self.set) - len(left)
        if not count:
            return
        if not whole or not len(left):
            raise DataError(
                f"the model was trained on {count} of the {len(self.set)} frames of {self.path} "
                f"({self.split}) or on others of their videos",
                remedy="score frames that are new to it, such as those of the fold that it was "
                f"trained for; --split {' or '.join(SEEN)} scores what it knows",
            )
        self.set, self.split = left, "not trained on"

    def __iter__(self) -> Iterator[LabelledFrame]:
        return self._of_video() if self.masks else self._of_set(self.set)

    def only(self, names: Collection[str]) -> Iterator[LabelledFrame]:
        """The frames of those names; of a set, no other is read."""
        if self.masks:
            return (frame for frame in self._of_video() if frame.name in names)
        return self._of_set(self.set.only(names))

    def _of_set(self, frames: FrameSet) -> Iterator[LabelledFrame]:
        from trocar.evaluation.scoring import LabelledFrame

        for item in frames:
            sample = self.set.read(item)
            assert sample.mask is not None
            yield LabelledFrame(
                name=item.name,
                group=item.group,
                image=sample.image,
                mask=self.ids[sample.mask],
                instances=self.set.instance_map(item, sample.mask.shape),
            )

    def _of_video(self) -> Iterator[LabelledFrame]:
        from trocar.evaluation.scoring import LabelledFrame
        from trocar.runtime.sources.open import open_source

        source = open_source(self.path / VIDEO)
        try:
            for frame, file in zip(source.frames(), self.masks, strict=False):
                mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
                if mask is None or mask.shape != frame.image.shape[:2]:
                    raise DataError(
                        f"{file} is no mask of the size of its frame", remedy="make the set again"
                    )
                yield LabelledFrame(
                    name=file.stem, group="", image=frame.image, mask=mask.astype(np.uint8)
                )
        finally:
            source.close()


def _fitting(path: Path, table: ClassTable) -> tuple[str, ...]:
    """Tasks of a data set whose classes the model knows."""
    from trocar.train.data.readers import scan_frames

    tasks = scan_frames(path)[0].tasks
    tables = {task: scan_frames(path, task=task)[0].frames.table for task in tasks}
    return tuple(task for task, there in tables.items() if set(there.names) <= set(table.names))


def lookup(ours: ClassTable, models: ClassTable, path: Path) -> NDArray[np.uint8]:
    """Maps the data's class ids to the model's by name.

    Raises:
        DataError: The model does not know a class of the data.
    """
    missing = [name for name in ours.names if name not in models.names]
    if missing:
        fitting = _fitting(path, models)
        raise DataError(
            f"{path} has classes that the model does not know: {', '.join(missing)}; "
            f"it knows {', '.join(models.names)}",
            remedy=f"pass --task {fitting[0]}"
            if fitting
            else "train on this class table, or map the classes when reading the data",
        )
    table = np.full(256, IGNORE_INDEX, np.uint8)
    for row in ours:
        table[row.id] = models[row.name].id
    return table
