"""Segmentation scores from label maps, each under the exact name of its protocol.

    scores = SegmentationScores(table)
    scores.add(truth, predicted)        # [H,W] uint8 each, once a frame
    scores.result()["iou_mean"]

NumPy in, plain numbers out, so that checkpoints and bundles are scored by the same code.

Names. ``iou_<class>``, ``dice_<class>``: over the pixels of all frames together. ``iou_mean``,
``dice_mean``: their mean over classes without background; ``cumulative_iou`` is the same number as
``iou_mean`` under its protocol's name. ``iou_binary``, ``dice_binary``: background against all the
rest. ``challenge_iou``, ``isi_iou``, ``mc_iou``: from per-frame IoU, see
`SegmentationScores.result`. ``false_alarm_rate``, ``false_alarm_area``: of frames whose truth shows
no instrument, the share with an alarm and the mean share of pixels that are labelled as one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import ArgumentError
from trocar.contract.media.label_maps import Counts, confusion_matrix, dice_per_class, iou_per_class

MIN_ALARM_AREA = 0.0005
"""Share of a frame's pixels from which on labels of instruments count as a false alarm; it is the
share from which on the runtime locates an instrument."""


def checked_confusion(
    truth: NDArray[np.uint8], predicted: NDArray[np.uint8], *, classes: int
) -> Counts:
    """Counts pixels by true class (row) and predicted class (column); refuses unknown ids.

    Args:
        truth: Class ids of any shape; `IGNORE_INDEX` pixels are left out.
        predicted: Class ids 0..K-1, same shape.
        classes: K.

    Returns:
        [K,K] int64.

    Raises:
        ArgumentError: Shapes differ, or an id is outside the table.
    """
    if truth.shape != predicted.shape:
        raise ArgumentError(
            f"label maps differ in shape: truth {truth.shape}, predicted {predicted.shape}",
            remedy="resize the prediction to the labels by nearest neighbour first",
        )
    counted = truth != IGNORE_INDEX
    for name, ids in (("truth", truth[counted]), ("predicted", predicted[counted])):
        if ids.size and not 0 <= ids.min() <= ids.max() < classes:
            raise ArgumentError(
                f"{name} has class ids {ids.min()}..{ids.max()}, expected 0..{classes - 1}",
                remedy="score with the class table that the labels were made with",
            )
    return confusion_matrix(truth[counted], predicted[counted], classes=classes)


def binary(matrix: Counts) -> Counts:
    """Merges all classes but 0: [2,2] counts of background and anything else."""
    rest = matrix[1:, 1:].sum()
    return np.array(
        [[matrix[0, 0], matrix[0, 1:].sum()], [matrix[1:, 0].sum(), rest]], dtype=np.int64
    )


class SegmentationScores:
    """Adds up frames and computes every score at the end.

    Args:
        table: Class table with background as class 0.
    """

    def __init__(self, table: ClassTable) -> None:
        self.table = table
        self.matrix: Counts = np.zeros((len(table), len(table)), dtype=np.int64)
        self._frames: list[tuple[NDArray[np.float64], NDArray[np.bool_]]] = []
        self._instruments = [row.id for row in table if row.instrument]
        self._false_areas: list[float] = []

    def add(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Counts one frame; see `checked_confusion` for arguments and errors."""
        frame = checked_confusion(truth, predicted, classes=len(self.table))
        self.matrix += frame
        self._frames.append((iou_per_class(frame)[1:], frame.sum(1)[1:] > 0))
        shown = frame[self._instruments].sum()
        if self._instruments and not shown and frame.any() and IGNORE_INDEX not in truth:
            false = frame[:, self._instruments].sum()
            self._false_areas.append(float(false / frame.sum()))

    def result(self) -> dict[str, float]:
        """Every score by name, 0..1; NaN where there was nothing to score.

        Background is left out of every mean. Per-frame protocols:
        ``challenge_iou``: per frame the mean IoU over the classes present in the truth, mean over
        frames that have any. ``isi_iou``: the same over classes in truth or prediction, so that a
        false class counts 0. ``mc_iou``: per class the mean of its per-frame IoU over frames where
        truth or prediction show it; mean over classes.

        ``false_alarm_rate`` and ``false_alarm_area`` are there only if there are frames without
        instruments; frames with ignored pixels do not count, for these may hide one.
        """
        iou, dice = iou_per_class(self.matrix), dice_per_class(self.matrix)
        two = binary(self.matrix)
        scores = {f"iou_{row.name}": float(iou[row.id]) for row in self.table}
        scores |= {f"dice_{row.name}": float(dice[row.id]) for row in self.table}
        scores["iou_mean"] = scores["cumulative_iou"] = _mean(iou[1:])
        scores["dice_mean"] = _mean(dice[1:])
        scores["iou_binary"] = float(iou_per_class(two)[1])
        scores["dice_binary"] = float(dice_per_class(two)[1])
        total = int(self.matrix.sum())
        scores["pixel_accuracy"] = float(np.trace(self.matrix) / total) if total else math.nan
        scores["challenge_iou"] = _mean(_mean(i[shown]) for i, shown in self._frames)
        scores["isi_iou"] = _mean(_mean(i) for i, _ in self._frames)
        if self._frames:
            by_class = np.stack([i for i, _ in self._frames]).T
            scores["mc_iou"] = _mean(_mean(row) for row in by_class)
        else:
            scores["mc_iou"] = math.nan
        if self._false_areas:
            areas = np.array(self._false_areas)
            scores["false_alarm_rate"] = float((areas >= MIN_ALARM_AREA).mean())
            scores["false_alarm_area"] = float(areas.mean())
        return scores


def json_ready(scores: dict[str, float]) -> dict[str, float | None]:
    """Scores for JSON, which has no NaN: ``None`` instead."""
    return {name: None if math.isnan(value) else value for name, value in scores.items()}


def _mean(values: Iterable[float]) -> float:
    """Mean of the values that are numbers; NaN when none is."""
    known = [float(v) for v in values if not math.isnan(v)]
    return math.fsum(known) / len(known) if known else math.nan
