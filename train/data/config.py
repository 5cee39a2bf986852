"""What to open for a training run, and how.

paths, config = DatasetPaths(data=Path("theatre")), DataConfig(fold=0)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from trocar.contract.config import Range, check_ranges


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How the data sets are read.

    Attributes:
        task: What the masks distinguish, for sets that offer several tasks (see trocar data
            check).
        val_share: Fraction of the frames for validation, where the set has no splits.
        fold: Fold of the set's own protocol to train and validate on.
        label_share: Fraction of the training frames whose labels are used. Methods that take
            unlabelled frames use the others without their labels; other methods leave them out.
        hide_labels: What label_share draws: by-video whole videos or patients, where the set
            knows them, by-frame single frames.
        augmentation: Augmentation of the training frames and their labels: full, light (for
            short runs) or none. Classifiers have an augmentation of their own.
        border: Probability that a border is pasted round a training frame: a round or octagonal
            view, or bars, on black, noisy or grey surroundings. Labels outside of the view become
            background. By default that of the augmentation.
        empty_frames: Frames without instruments: in-every-batch draws at least one into every
            batch, where the training set has some; as-drawn treats them like all others.
        oversample: Draws frames with rare classes more often: a class that less than this share of
            the training frames shows is rare. A frame is drawn sqrt(oversample / share) times in an
            epoch; 0 turns it off.
        composite: Probability that instruments are cloned into a labelled training frame (Poisson
            image editing).
        composite_from: Source of these instruments, as for `trocar data composite`; by default
            the labelled training frames.
    """

    task: str | None = None
    val_share: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.2
    fold: Annotated[int | None, Range(0)] = None
    label_share: Annotated[float, Range(0, 1, open_low=True)] = 1.0
    hide_labels: Literal["by-video", "by-frame"] = "by-video"
    augmentation: Literal["full", "light", "none"] = "full"
    border: Annotated[float | None, Range(0, 1)] = None
    empty_frames: Literal["in-every-batch", "as-drawn"] = "in-every-batch"
    oversample: Annotated[float, Range(0, 1)] = 0.0
    composite: Annotated[float, Range(0, 1)] = 0.0
    composite_from: Path | None = None

    def __post_init__(self) -> None:
        check_ranges(
            self,
            (
                not (self.border and self.augmentation == "none"),
                f"border is {self.border}, but augmentation is none",
            ),
            (
                self.composite_from is None or self.composite > 0,
                "composite_from is given, but composite, the probability, is 0",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class DatasetPaths:
    """Folders of a run.

    Attributes:
        data: Labelled frames.
        unlabelled: Frames without labels.
        target: Frames of the target domain; their labels, if any, are not read.
        validation: Labelled frames for validation, instead of the split of the labelled set.
    """

    data: Path
    unlabelled: Path | None = None
    target: Path | None = None
    validation: Path | None = None
