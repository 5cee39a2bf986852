"""What to open for a training run and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trocar.contract.config import require


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How the data sets are read.

    Attributes:
        task: What the masks shall tell apart, for sets that offer several (see trocar data check).
        val_share: Share of the frames that validate where the set brings no split.
        fold: Fold of the set's own protocol to train and validate on, counted from 0.
        label_share: Share of the training frames whose labels are used; the others serve methods
            that take unlabelled frames and are left out by the rest.
        augmentation: How frames are changed while training, labels with them: full, light (for
            short runs) or none. Photographs of classifiers have their own.
        composite: Chance that instruments are cloned into a labelled training frame (Poisson
            image editing).
        composite_from: Where these instruments come from, as `trocar data composite` takes it; by
            default the labelled training frames.
    """

    task: str | None = None
    val_share: float = 0.2
    fold: int | None = None
    label_share: float = 1.0
    augmentation: Literal["full", "light", "none"] = "full"
    composite: float = 0.0
    composite_from: Path | None = None

    def __post_init__(self) -> None:
        require(
            (0 < self.val_share < 1, "val_share must be between 0 and 1"),
            (self.fold is None or self.fold >= 0, "fold must be 0 or more"),
            (0 < self.label_share <= 1, "label_share must be above 0, at most 1"),
            (0 <= self.composite <= 1, "composite must be 0..1"),
            (
                self.composite_from is None or self.composite > 0,
                "composite_from is given but composite, the chance, is 0",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Folders of a run.

    Attributes:
        data: Labelled frames.
        unlabelled: Frames without labels.
        target: Frames of the target domain; their labels, if any, are not read.
        validation: Labelled frames to validate on instead of the labelled set's own split.
    """

    data: Path
    unlabelled: Path | None = None
    target: Path | None = None
    validation: Path | None = None
