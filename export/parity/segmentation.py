"""Compares label maps: per pixel, class, boundary, connected component and against ground truth.

comparison = compare_labels(outputs, manifest, Limits.of("fp16"))
comparison.failures, comparison.metrics["equal"]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError
from trocar.contract.manifest import Manifest
from trocar.contract.media.label_maps import (
    Counts,
    Labels,
    confusion_matrix,
    dice_per_class,
    enlarge,
    iou_per_class,
)
from trocar.export.parity.label_metrics import boundary_counts, boundary_f, missed_components
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import Comparison, Failure, FrameMismatch, FrameOutputs, Json

IGNORED_PIXELS = 2
"""A class may differ by this many pixels at any IoU: one pixel is a large part of a tiny region."""

MAX_MISMATCHES = 3

_MIN_COMPONENT_PIXELS = 25
_MIN_COMPONENT_FRACTION = 1000  # one pixel in so many


@dataclass
class _Totals:
    """Sums and rows over all frames."""

    counts: Counts  # [K,K] reference, candidate
    boundary: Counts  # [K,4] of `boundary_counts`
    truth_of_reference: Counts  # [K,K] ground truth, reference
    truth_of_candidate: Counts  # [K,K] ground truth, candidate
    rows: list[Json] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    mismatches: list[FrameMismatch] = field(default_factory=list)
    logit_ranges: list[float] = field(default_factory=list)
    margins: list[NDArray[np.float32]] = field(default_factory=list)
    mean_differences: list[float] = field(default_factory=list)
    max_difference: float = math.nan


def compare_labels(
    outputs: Iterable[FrameOutputs], manifest: Manifest, limits: Limits
) -> Comparison:
    """Compares the label maps of two segmentation models.

    Args:
        outputs: Frames with the outputs of both models; the reference's hold ``logits``.
        manifest: Classes of the exported model.
        limits: Limits that must hold.

    Raises:
        ArgumentError: Label maps of another shape, or values that are no class.
    """
    classes = len(manifest.classes)
    square = (classes, classes)
    totals = _Totals(
        np.zeros(square, np.int64),
        np.zeros((classes, 4), np.int64),
        np.zeros(square, np.int64),
        np.zeros(square, np.int64),
    )
    for item in outputs:
        _add(totals, item, manifest, limits)
    metrics = _metrics(totals, limits)
    rows = _class_rows(totals, manifest)
    truth = _ground_truth(totals, manifest)
    return Comparison(
        failures=tuple(_failures(metrics, rows, truth, totals, limits)),
        metrics={name: value for name, value in metrics.items() if not math.isnan(value)},
        classes=tuple(rows),
        frames=tuple(totals.rows),
        ground_truth=truth,
        notes=tuple(_notes(metrics, rows, totals)),
        golden_margin=2 * metrics["allowed_logit_difference"],
        mismatches=tuple(totals.mismatches),
    )


def _add(totals: _Totals, item: FrameOutputs, manifest: Manifest, limits: Limits) -> None:
    classes = len(manifest.classes)
    first, second = _labels(item, classes)
    differs = first != second
    difference = _add_logits(totals, item, differs, classes)
    counts = confusion_matrix(first, second, classes=classes)
    totals.counts += counts
    totals.boundary += boundary_counts(
        first, second, classes=classes, tolerance=limits.boundary_pixels
    )
    min_pixels = max(_MIN_COMPONENT_PIXELS, first.size // _MIN_COMPONENT_FRACTION)
    for label, size in missed_components(first, second, classes=classes, min_pixels=min_pixels):
        name = manifest.classes[label].name
        totals.missed.append(f"{name} ({size} pixels) on {item.frame.name}")
    truth = item.frame.ground_truth
    if isinstance(truth, np.ndarray):
        size_of_truth = (truth.shape[0], truth.shape[1])
        for table, labels in (
            (totals.truth_of_reference, first),
            (totals.truth_of_candidate, second),
        ):
            table += confusion_matrix(truth, enlarge(labels, size_of_truth), classes=classes)
    pixels = counts.sum(1)
    equal = 1.0 - float(differs.mean())
    totals.rows.append(
        {
            "name": item.frame.name,
            "size": list(item.frame.image.shape[:2]),
            "classes": [int(c) for c in np.flatnonzero(pixels)],
            # A few stray pixels are no second class.
            "informative": int((pixels >= min_pixels).sum()) >= 2,
            "equal": equal,
            "differing": int(differs.sum()),
            "largest_logit_difference": None if math.isnan(difference) else difference,
        }
    )
    if differs.any():
        totals.mismatches.append(
            FrameMismatch(
                name=item.frame.name,
                image=item.frame.image,
                reference=first,
                candidate=second,
                equal=equal,
            )
        )
        worst_first = sorted(totals.mismatches, key=lambda mismatch: mismatch.equal)
        totals.mismatches = worst_first[:MAX_MISMATCHES]


def _labels(item: FrameOutputs, classes: int) -> tuple[Labels, Labels]:
    first, second = item.reference["labels"], item.candidate["labels"]
    if first.shape != second.shape or second.dtype != np.uint8 or second.max() >= classes:
        raise ArgumentError(
            f"the exported model gives labels {second.dtype} {second.shape} up to {second.max()}, "
            f"expected uint8 {first.shape} below {classes}",
            remedy="export again; this is no output of the frame-in graph",
        )
    return first, second


def _add_logits(
    totals: _Totals, item: FrameOutputs, differs: NDArray[np.bool_], classes: int
) -> float:
    """Adds range, margins and differences; returns the frame's largest difference or NaN."""
    logits = item.reference["logits"].astype(np.float32)
    top = np.partition(logits, -2, axis=0)[-2:] if classes > 1 else np.stack([logits[0]] * 2)
    totals.logit_ranges.append(float((logits.max(0) - logits.min(0)).mean()))
    totals.margins.append((top[1] - top[0])[differs].astype(np.float32))
    if item.logits is None:
        return math.nan
    differences = np.abs(item.logits.astype(np.float32) - logits)
    totals.mean_differences.append(float(differences.mean()))
    # NaN and infinity both count as infinite: `nanmax` would drop a NaN.
    largest = float(differences.max())
    largest = largest if math.isfinite(largest) else math.inf
    totals.max_difference = float(np.nanmax([totals.max_difference, largest]))
    return largest


def _metrics(totals: _Totals, limits: Limits) -> dict[str, float]:
    logit_range = float(np.mean(totals.logit_ranges))
    allowed = limits.logit_share * logit_range
    margins = np.concatenate(totals.margins)
    pixels = int(totals.counts.sum())
    return {
        "equal": float(np.trace(totals.counts)) / pixels,
        "pixels": pixels,
        "differing": len(margins),
        "non_tie_mismatch": int((margins > 2 * allowed).sum()) / pixels,
        "max_mismatch_margin": float(margins.max(initial=0.0)),
        "logit_range": logit_range,
        "allowed_logit_difference": allowed,
        "max_logit_difference": totals.max_difference,
        "mean_logit_difference": float(np.mean(totals.mean_differences or [math.nan])),
        "multiclass_frames": sum(row["informative"] for row in totals.rows),
        "frames": len(totals.rows),
        "missed_components": len(totals.missed),
    }


def _class_rows(totals: _Totals, manifest: Manifest) -> list[Json]:
    iou, f1 = iou_per_class(totals.counts), boundary_f(totals.boundary)
    rows: list[Json] = []
    for row in manifest.classes:
        both = int(totals.counts[row.id, row.id])
        pixels, other = int(totals.counts[row.id].sum()), int(totals.counts[:, row.id].sum())
        rows.append(
            {
                "id": row.id,
                "name": row.name,
                "pixels": pixels,
                "candidate_pixels": other,
                "differing": pixels + other - 2 * both,
                "agreement": _or_none(iou[row.id]),
                "boundary_f": _or_none(f1[row.id]),
            }
        )
    return rows


def _ground_truth(totals: _Totals, manifest: Manifest) -> Json:
    if not totals.truth_of_reference.sum():
        return {}
    result: Json = {"pixels": int(totals.truth_of_reference.sum())}
    for side, counts in (
        ("reference", totals.truth_of_reference),
        ("candidate", totals.truth_of_candidate),
    ):
        iou, dice = iou_per_class(counts), dice_per_class(counts)
        result[side] = {
            "mean_iou": float(np.nanmean(iou)),
            "mean_dice": float(np.nanmean(dice)),
            "classes": [
                {"name": row.name, "iou": _or_none(iou[row.id]), "dice": _or_none(dice[row.id])}
                for row in manifest.classes
            ],
        }
    result["drop"] = result["reference"]["mean_iou"] - result["candidate"]["mean_iou"]
    return result


def _failures(
    metrics: dict[str, float],
    classes: list[Json],
    truth: Json,
    totals: _Totals,
    limits: Limits,
) -> Iterator[Failure]:
    if metrics["multiclass_frames"] < limits.min_multiclass_frames:
        yield Failure(
            "too_few_multiclass_frames",
            f"on {int(metrics['multiclass_frames'])} of {int(metrics['frames'])} frames two or "
            f"more classes are predicted, expected at least {limits.min_multiclass_frames}: "
            "frames of one class do not show that the models agree",
        )
    if metrics["equal"] < limits.min_pixel_agreement:
        yield Failure(
            "pixel_agreement",
            f"{metrics['equal']:.4%} of label pixels are equal, expected "
            f"{limits.min_pixel_agreement:.2%}",
        )
    if metrics["non_tie_mismatch"] > limits.max_mismatch:
        yield Failure(
            "non_tie_mismatch",
            f"{metrics['non_tie_mismatch']:.4%} of pixels differ without being near-ties (margin "
            f"up to {metrics['max_mismatch_margin']:.3g}), expected {limits.max_mismatch:.4%} "
            "at most",
        )
    yield from _logit_failures(metrics, limits)
    for row in classes[1:]:
        yield from _class_failures(row, limits)
    if len(totals.missed) > limits.max_missed_components:
        yield Failure("missed_components", "components missed: " + ", ".join(totals.missed[:4]))
    if truth and truth["drop"] > limits.max_miou_drop:
        yield Failure(
            "accuracy_drop",
            f"mean IoU against ground truth falls by {truth['drop']:.4f}, expected "
            f"{limits.max_miou_drop:.4f} at most",
        )


def _logit_failures(metrics: dict[str, float], limits: Limits) -> Iterator[Failure]:
    bound = limits.max_logit_share * metrics["logit_range"]
    if limits.max_logit_share and metrics["max_logit_difference"] > bound:
        yield Failure(
            "max_logit_difference",
            f"the largest logit difference is {metrics['max_logit_difference']:.4g}, expected "
            f"{bound:.4g} at most",
        )
    bound = limits.mean_logit_share * metrics["logit_range"]
    if metrics["mean_logit_difference"] > bound:
        yield Failure(
            "mean_logit_difference",
            f"logits differ by {metrics['mean_logit_difference']:.4g} on average, expected "
            f"{bound:.4g} at most",
        )


def _class_failures(row: Json, limits: Limits) -> Iterator[Failure]:
    if row["differing"] <= IGNORED_PIXELS:
        return
    iou, f1 = row["agreement"], row["boundary_f"]
    if iou is not None and iou < limits.min_class_iou:
        text = f"class {row['name']}: IoU {iou:.4f}, expected {limits.min_class_iou:.4f}"
        yield Failure("class_iou", text)
    if f1 is not None and f1 < limits.min_boundary_f1:
        text = f"class {row['name']}: boundary F-score {f1:.4f}, expected "
        yield Failure("boundary_f1", text + f"{limits.min_boundary_f1:.4f}")


def _notes(metrics: dict[str, float], classes: list[Json], totals: _Totals) -> Iterator[str]:
    single = [str(row["name"]) for row in totals.rows if not row["informative"]]
    if single:
        yield f"frames on which one class covers everything: {', '.join(single[:5])}"
    unseen = [row["name"] for row in classes[1:] if row["pixels"] == 0]
    if unseen:
        yield f"only logits were compared of classes that the reference never predicts: {unseen}"
    if math.isnan(metrics["max_logit_difference"]):
        yield "logits were not compared: this backend returns labels only"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
