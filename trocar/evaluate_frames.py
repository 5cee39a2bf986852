"""The labelled frames that `trocar evaluate` scores: of a data set, or of a video with masks.

for frame in EvaluationFrames(Path("data"), table, split="test", video=False, task=None): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trocar.scoring import LabelledFrame

VIDEO = "video.mp4"
VIDEO_MASKS = "video_masks"


class EvaluationFrames:
    """Labelled frames of a data set or of a video with masks, in the model's class ids."""

    def __init__(
        self,
        path: Path,
        table: ClassTable,
        *,
        split: str | None,
        video: bool,
        task: str | None,
        fold: int | None = None,
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
        chosen = split or next((s for s in ("test", "val") if frames.splits.get(s)), None)
        self.split = (chosen or "all") if fold is None else f"fold {fold}"
        self.masks = []
        self.set = frames.subset(chosen) if chosen else frames
        self.count = len(self.set)
        self.ids = lookup(self.set.table, table, path)

    def __iter__(self) -> Iterator[LabelledFrame]:
        return self._of_video() if self.masks else self._of_set()

    def _of_set(self) -> Iterator[LabelledFrame]:
        from trocar.scoring import LabelledFrame

        for item in self.set:
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
        from trocar.runtime.sources import open_source
        from trocar.scoring import LabelledFrame

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


def lookup(ours: ClassTable, models: ClassTable, path: Path) -> NDArray[np.uint8]:
    """Maps the data's class ids to the model's by name.

    Raises:
        DataError: The model does not know a class of the data.
    """
    missing = [name for name in ours.names if name not in models.names]
    if missing:
        raise DataError(
            f"{path} has classes that the model does not know: {', '.join(missing)}; "
            f"it knows {', '.join(models.names)}",
            remedy="train on this class table, or map the classes when reading the data",
        )
    table = np.full(256, IGNORE_INDEX, np.uint8)
    for row in ours:
        table[row.id] = models[row.name].id
    return table
