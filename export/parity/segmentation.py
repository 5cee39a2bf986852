"""The gate's work on label maps: agreement per pixel, class, boundary, region and ground truth."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError
from trocar.contract.manifest import Manifest
from trocar.export.parity import label_metrics as agreement
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import Compared, WorstFrame

FEW_PIXELS = 2
"""A class may differ by this many pixels whatever its agreement: tiny regions have no precision."""

WORST = 3


class Totals:
    """Sums over all frames."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes), np.int64)
        self.edges = np.zeros((classes, 4), np.int64)
        self.truth = [np.zeros((classes, classes), np.int64) for _ in range(2)]
        self.rows: list[dict[str, Any]] = []
        self.lost: list[str] = []
        self.worst: list[WorstFrame] = []
        self.spread: list[float] = []
        self.margins: list[NDArray[np.float32]] = []
        self.logit_difference = math.nan
        self.mean_differences: list[float] = []


def compare_labels(
    compared: Iterable[Compared], manifest: Manifest, limits: Limits
) -> tuple[dict[str, Any], list[WorstFrame]]:
    """Parts of a `ParityReport`, and the frames with most differing pixels.

    Args:
        compared: Frames with both answers; the reference's holds ``logits``.
        manifest: Classes of the exported model.
        limits: Limits to hold.

    Raises:
        ArgumentError: Label maps of another shape, or values that are no class.
    """
    totals = Totals(len(manifest.classes))
    for item in compared:
        _add(totals, item, manifest, limits)
    allowed = limits.logit_share * float(np.mean(totals.spread))
    margins = np.concatenate(totals.margins)
    pixels = int(totals.counts.sum())
    far = int((margins > 2 * allowed).sum())
    numbers = {
        "equal": float(np.trace(totals.counts)) / pixels,
        "pixels": pixels,
        "differing": len(margins),
        "far": far / pixels,
        "largest_margin_of_a_differing_pixel": float(margins.max(initial=0.0)),
        "logit_spread": float(np.mean(totals.spread)),
        "allowed_logit_difference": allowed,
        "largest_logit_difference": totals.logit_difference,
        "mean_logit_difference": float(np.mean(totals.mean_differences or [math.nan])),
        "informative_frames": sum(row["informative"] for row in totals.rows),
        "frames": len(totals.rows),
        "lost_regions": len(totals.lost),
    }
    classes = _class_rows(totals, manifest)
    truth = _truth(totals, manifest)
    return {
        "faults": tuple(_faults(numbers, classes, truth, totals, limits)),
        "numbers": {k: v for k, v in numbers.items() if not math.isnan(v)},
        "classes": tuple(classes),
        "frames": tuple(totals.rows),
        "truth": truth,
        "notes": tuple(_notes(numbers, classes, totals)),
        "golden_margin": 2 * allowed,
    }, totals.worst


def _add(totals: Totals, item: Compared, manifest: Manifest, limits: Limits) -> None:
    classes = len(manifest.classes)
    first, second = item.reference["labels"], item.candidate["labels"]
    if first.shape != second.shape or second.dtype != np.uint8 or second.max() >= classes:
        raise ArgumentError(
            f"the exported model gives labels {second.dtype} {second.shape} up to {second.max()}, "
            f"expected uint8 {first.shape} below {classes}",
            remedy="export again; this is no output of the frame-in graph",
        )
    logits = item.reference["logits"].astype(np.float32)
    top = np.partition(logits, -2, axis=0)[-2:] if classes > 1 else np.stack([logits[0]] * 2)
    totals.spread.append(float((logits.max(0) - logits.min(0)).mean()))
    differs = first != second
    totals.margins.append((top[1] - top[0])[differs].astype(np.float32))
    difference = math.nan
    if item.twin is not None:
        apart = np.abs(item.twin["logits"].astype(np.float32) - logits)
        difference = float(apart.max())
        totals.mean_differences.append(float(apart.mean()))
        # A value that is not finite must not vanish behind a maximum.
        difference = difference if math.isfinite(difference) else math.inf
        totals.logit_difference = float(np.nanmax([totals.logit_difference, difference]))
    counts = agreement.confusion(first, second, classes=classes)
    totals.counts += counts
    totals.edges += agreement.boundary_counts(
        first, second, classes=classes, tolerance=limits.boundary_pixels
    )
    least = max(25, first.size // 1000)
    for label, size in agreement.lost_regions(first, second, classes=classes, least=least):
        name = manifest.classes[label].name
        totals.lost.append(f"{name} ({size} pixels) on {item.frame.name}")
    if isinstance(item.frame.truth, np.ndarray):
        for table, labels in zip(totals.truth, (first, second), strict=True):
            grown = agreement.enlarged(labels, item.frame.truth.shape)
            table += agreement.confusion(item.frame.truth, grown, classes=classes)
    present = counts.sum(1)
    equal = 1.0 - float(differs.mean())
    totals.rows.append(
        {
            "name": item.frame.name,
            "size": list(item.frame.image.shape[:2]),
            "classes": [int(c) for c in np.flatnonzero(present)],
            # A handful of stray pixels is no second class.
            "informative": int((present >= least).sum()) >= 2,
            "equal": equal,
            "differing": int(differs.sum()),
            "largest_logit_difference": None if math.isnan(difference) else difference,
        }
    )
    if differs.any():
        totals.worst.append(
            WorstFrame(
                name=item.frame.name,
                image=item.frame.image,
                reference=first,
                candidate=second,
                equal=equal,
            )
        )
        totals.worst = sorted(totals.worst, key=lambda w: w.equal)[:WORST]


def _class_rows(totals: Totals, manifest: Manifest) -> list[dict[str, Any]]:
    iou, f = agreement.overlap(totals.counts), agreement.boundary_f(totals.edges)
    rows = []
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
                "boundary_f": _or_none(f[row.id]),
            }
        )
    return rows


def _truth(totals: Totals, manifest: Manifest) -> dict[str, Any]:
    if not totals.truth[0].sum():
        return {}
    answer: dict[str, Any] = {"pixels": int(totals.truth[0].sum())}
    for side, counts in zip(("reference", "candidate"), totals.truth, strict=True):
        iou, both = agreement.overlap(counts), agreement.dice(counts)
        answer[side] = {
            "mean_iou": float(np.nanmean(iou)),
            "mean_dice": float(np.nanmean(both)),
            "classes": [
                {"name": row.name, "iou": _or_none(iou[row.id]), "dice": _or_none(both[row.id])}
                for row in manifest.classes
            ],
        }
    answer["drop"] = answer["reference"]["mean_iou"] - answer["candidate"]["mean_iou"]
    return answer


def _faults(
    numbers: dict[str, float],
    classes: list[dict[str, Any]],
    truth: dict[str, Any],
    totals: Totals,
    limits: Limits,
) -> Iterable[str]:
    if numbers["informative_frames"] < limits.informative:
        yield (
            f"on {int(numbers['informative_frames'])} of {int(numbers['frames'])} frames two or "
            f"more classes are predicted, expected at least {limits.informative}: agreement on a "
            "frame of one class proves nothing"
        )
    if numbers["equal"] < limits.equal:
        yield f"{numbers['equal']:.4%} of label pixels are equal, expected {limits.equal:.2%}"
    if numbers["far"] > limits.far:
        yield (
            f"{numbers['far']:.4%} of pixels differ without being near-ties (margin up to "
            f"{numbers['largest_margin_of_a_differing_pixel']:.3g}), expected {limits.far:.4%}"
        )
    bound = limits.max_logit_share * numbers["logit_spread"]
    if limits.max_logit_share and numbers["largest_logit_difference"] > bound:
        yield (
            f"the largest logit difference is {numbers['largest_logit_difference']:.4g}, expected "
            f"{bound:.4g} at most"
        )
    bound = limits.mean_logit_share * numbers["logit_spread"]
    if numbers["mean_logit_difference"] > bound:
        yield (
            f"logits differ by {numbers['mean_logit_difference']:.4g} on average, expected "
            f"{bound:.4g} at most"
        )
    for row in classes[1:]:
        if row["differing"] <= FEW_PIXELS:
            continue
        for key, least in (("agreement", limits.class_agreement), ("boundary_f", limits.boundary)):
            if row[key] is not None and row[key] < least:
                kind = "IoU" if key == "agreement" else "boundary F-score"
                yield f"class {row['name']}: {kind} {row[key]:.4f}, expected {least:.4f}"
    if len(totals.lost) > limits.lost:
        yield "regions lost: " + ", ".join(totals.lost[:4])
    if truth and truth["drop"] > limits.truth_drop:
        yield (
            f"mean IoU against ground truth falls by {truth['drop']:.4f}, expected "
            f"{limits.truth_drop:.4f} at most"
        )


def _notes(
    numbers: dict[str, float], classes: list[dict[str, Any]], totals: Totals
) -> Iterable[str]:
    dull = [row["name"] for row in totals.rows if not row["informative"]]
    if dull:
        yield f"one class covers these frames, they prove little: {', '.join(map(str, dull[:5]))}"
    unseen = [row["name"] for row in classes[1:] if row["pixels"] == 0]
    if unseen:
        yield f"never predicted by the reference, so only its logits are proven: {unseen}"
    if math.isnan(numbers["largest_logit_difference"]):
        yield "logits were not compared: this backend gives labels only"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
