"""Scores one segmentation model on labelled frames: all frames, per class, per group, per frame.

evaluation = score(open_predictor(Path("model.trocar")), frames, tolerance=2.0)
print(evaluation.scores["iou_binary"], evaluation.frames[0].iou_mean)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import DataError
from trocar.contract.media.label_maps import confusion_matrix, enlarge, iou_per_class
from trocar.evaluation.frames import LabelledFrame
from trocar.evaluation.metrics.bootstrap import interval
from trocar.evaluation.metrics.instance_scores import InstanceScores
from trocar.evaluation.metrics.shape_scores import ShapeScores
from trocar.evaluation.model import Predictor
from trocar.train.metrics.segmentation import SegmentationScores, binary, json_ready

BINS = 15
"""Bins of the calibration curve, of equal width over confidences 0..1."""


@dataclass(frozen=True, kw_only=True)
class FrameScore:
    """Scores of one frame, 0..1; NaN where neither truth nor prediction shows a class.

    Attributes:
        name: The frame.
        group: Its group.
        iou_binary: IoU of all foreground classes together.
        iou_mean: Mean IoU over the foreground classes in truth or prediction.
    """

    name: str
    group: str
    iou_binary: float
    iou_mean: float


@dataclass(kw_only=True)
class Calibration:
    """Accuracy of the model by confidence, from pixel counts."""

    count: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    confidence: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    right: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(
        self,
        truth: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        confidence: NDArray[np.float32],
    ) -> None:
        """Adds the pixels of one frame; ignored pixels are not counted."""
        counted = truth != IGNORE_INDEX
        sure = confidence[counted].astype(np.float64)
        bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
        self.count += np.bincount(bins, minlength=BINS)
        self.confidence += np.bincount(bins, weights=sure, minlength=BINS)
        right = (labels == truth)[counted]
        self.right += np.bincount(bins[right], minlength=BINS)

    def result(self) -> dict[str, Any]:
        """Curve of the bins that hold pixels, and the expected calibration error (ECE), 0..1."""
        used = self.count > 0
        count = self.count[used]
        confidence = self.confidence[used] / count
        accuracy = self.right[used] / count
        total = int(count.sum())
        error = float((np.abs(confidence - accuracy) * count).sum() / total) if total else math.nan
        return {
            "confidence": confidence.round(5).tolist(),
            "accuracy": accuracy.round(5).tolist(),
            "count": count.tolist(),
            "ece": error,
        }


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One model on one set of frames.

    Attributes:
        table: Classes.
        scores: Every score by its exact name.
        matrix: ``[K, K]`` pixel counts, rows truth, columns prediction.
        groups: Scores named by `group_scores` by group, where groups are known.
        frames: Score of each frame, in order.
        calibration: See `Calibration.result`.
        intervals: 95 % bootstrap intervals of the per-frame means, by name.
    """

    table: ClassTable
    scores: dict[str, float]
    matrix: NDArray[np.int64]
    groups: dict[str, dict[str, float]]
    frames: tuple[FrameScore, ...]
    calibration: dict[str, Any]
    intervals: dict[str, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; NaN becomes null."""
        return {
            "classes": self.table.to_dicts(),
            "scores": json_ready(self.scores),
            "confusion": self.matrix.tolist(),
            "groups": {name: json_ready(scores) for name, scores in self.groups.items()},
            "frames": [
                {
                    "name": frame.name,
                    "group": frame.group,
                    **json_ready({"iou_binary": frame.iou_binary, "iou_mean": frame.iou_mean}),
                }
                for frame in self.frames
            ],
            "calibration": {
                **self.calibration,
                **json_ready({"ece": self.calibration["ece"]}),
            },
            "intervals": {
                name: None if math.isnan(ends[0]) else list(ends)
                for name, ends in self.intervals.items()
            },
        }


def score(
    predictor: Predictor,
    frames: Iterable[LabelledFrame],
    *,
    tolerance: float,
    progress: Callable[[], None] | None = None,
) -> Evaluation:
    """Runs the model on every frame and computes all scores.

    Args:
        predictor: The model.
        frames: Labelled frames; masks in the model's class ids.
        tolerance: Of the normalised surface Dice, in pixels of the frame.
        progress: Called after each frame.

    Raises:
        DataError: There is no frame.
        ArgumentError: A mask has class ids that the model does not have.
    """
    table = predictor.manifest.classes
    pixels = SegmentationScores(table)
    shapes = ShapeScores(table, tolerance=tolerance)
    groups: dict[str, tuple[SegmentationScores, ShapeScores]] = {}
    calibration = Calibration()
    rows: list[FrameScore] = []
    single = InstanceScores(table) if predictor.manifest.task == "instances" else None
    for frame in frames:
        found = None
        if single is None:
            labels, confidence = predictor.predict(frame.image)
        else:
            labels, confidence, found = add_instances(single, predictor, frame)
        pixels.add(frame.mask, labels)
        shapes.add(frame.mask, labels, confidence, instances=frame.instances, found=found)
        if frame.group:
            if frame.group not in groups:
                groups[frame.group] = (
                    SegmentationScores(table), ShapeScores(table, tolerance=tolerance),
                )  # fmt: skip
            groups[frame.group][0].add(frame.mask, labels)
            groups[frame.group][1].add(
                frame.mask, labels, confidence, instances=frame.instances, found=found
            )
        calibration.add(frame.mask, labels, confidence)
        rows.append(score_frame(frame, labels, len(table)))
        if progress is not None:
            progress()
    if not rows:
        raise DataError("there is no labelled frame to score", remedy="name a split that has some")
    by_group = {
        name: {**of_pixels.result(), **of_shapes.result()}
        for name, (of_pixels, of_shapes) in sorted(groups.items())
    }
    selected = group_scores(tolerance)
    names = [row.group for row in rows]
    return Evaluation(
        table=table,
        scores={
            **pixels.result(),
            **shapes.result(),
            **({} if single is None else single.result()),
        },
        matrix=pixels.matrix,
        groups={name: {key: result[key] for key in selected} for name, result in by_group.items()},
        frames=tuple(rows),
        calibration=calibration.result(),
        intervals={
            "frame_iou_binary": interval([row.iou_binary for row in rows], groups=names),
            "frame_iou_mean": interval([row.iou_mean for row in rows], groups=names),
        },
    )


def add_instances(
    scores: InstanceScores, predictor: Predictor, frame: LabelledFrame
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """Adds a frame to the scores of single instances.

    Returns:
        The labels, a confidence of 1, and the instances that were found.
    """
    outputs = predictor.infer(frame.image[None])
    size = (frame.image.shape[0], frame.image.shape[1])
    found = enlarge(outputs["instances"][0], size)
    if frame.instances is not None:
        scores.add(
            frame.instances,
            frame.mask,
            found,
            classes=outputs["classes"][0].tolist(),
            scores=outputs["scores"][0].tolist(),
        )
    return enlarge(outputs["labels"][0], size), np.ones(size, np.float32), found


def group_scores(tolerance: float) -> tuple[str, ...]:
    """Names of the scores that are given for each group."""
    return (
        "iou_binary", "iou_mean", "dice_mean", "challenge_iou", "isi_iou", "mc_iou",
        f"nsd@{tolerance:g}px_mean", "region_f1", "pq",
    )  # fmt: skip


def score_frame(frame: LabelledFrame, labels: NDArray[np.uint8], classes: int) -> FrameScore:
    """Scores one frame's labels against its mask."""
    matrix = confusion_matrix(frame.mask, labels, classes=classes)
    present = iou_per_class(matrix)[1:]
    known = present[~np.isnan(present)]
    return FrameScore(
        name=frame.name,
        group=frame.group,
        iou_binary=float(iou_per_class(binary(matrix))[1]),
        iou_mean=float(known.mean()) if known.size else math.nan,
    )
