"""Compares classifiers: top class, scores, embedding, accuracy.

comparison = compare_classifiers(outputs, manifest, Limits.of("fp16"))
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
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import Comparison, Failure, FrameOutputs, Json, Output


@dataclass
class _Totals:
    """Sums and rows over all frames."""

    rows: list[Json] = field(default_factory=list)
    logit_ranges: list[float] = field(default_factory=list)
    mean_differences: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    labelled: int = 0
    reference_hits: int = 0
    candidate_hits: int = 0


def compare_classifiers(
    outputs: Iterable[FrameOutputs], manifest: Manifest, limits: Limits
) -> Comparison:
    """Compares the scores of two classifiers.

    Args:
        outputs: Frames with the ``scores``, and perhaps the ``embedding``, of both models.
        manifest: Classes of the exported model.
        limits: Limits that must hold.

    Raises:
        ArgumentError: Scores of another shape than the reference's.
    """
    totals = _Totals()
    for item in outputs:
        _add(totals, item, manifest)
    metrics = _metrics(totals, limits)
    truth = _ground_truth(totals)
    return Comparison(
        failures=tuple(_failures(metrics, truth, limits)),
        metrics=metrics,
        classes=tuple(_class_rows(totals.rows, manifest)),
        frames=tuple(totals.rows),
        ground_truth=truth,
        golden_margin=2 * metrics["allowed_logit_difference"],
    )


def _add(totals: _Totals, item: FrameOutputs, manifest: Manifest) -> None:
    first, second = _scores(item, len(manifest.classes))
    differences = np.abs(first - second)
    largest = float(differences.max())
    totals.mean_differences.append(float(differences.mean()))
    order = np.sort(first)
    totals.logit_ranges.append(float(order[-1] - order[0]))
    top = (int(first.argmax()), int(second.argmax()))
    if "embedding" in item.reference:
        cosine = _cosine(item.reference["embedding"], item.candidate["embedding"])
        totals.cosines.append(cosine)
    if isinstance(item.frame.ground_truth, int):
        totals.labelled += 1
        totals.reference_hits += top[0] == item.frame.ground_truth
        totals.candidate_hits += top[1] == item.frame.ground_truth
    totals.rows.append(
        {
            "name": item.frame.name,
            "size": list(item.frame.image.shape[:2]),
            "classes": [top[0]],
            "informative": True,
            "equal": float(top[0] == top[1]),
            "margin": float(order[-1] - order[-2]) if len(order) > 1 else 0.0,
            "largest_logit_difference": largest if math.isfinite(largest) else math.inf,
        }
    )


def _scores(item: FrameOutputs, classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first = item.reference["scores"].astype(np.float64)
    second = item.candidate["scores"].astype(np.float64)
    if first.shape != second.shape or len(first) != classes:
        raise ArgumentError(
            f"the exported model gives scores {second.shape}, expected {first.shape}",
            remedy="export again with the class table of the training",
        )
    return first, second


def _metrics(totals: _Totals, limits: Limits) -> dict[str, float]:
    rows = totals.rows
    logit_range = float(np.mean(totals.logit_ranges))
    allowed = limits.logit_share * logit_range
    wrong = [row for row in rows if not row["equal"]]
    metrics: dict[str, float] = {
        "equal": 1.0 - len(wrong) / len(rows),
        "frames": len(rows),
        "differing": len(wrong),
        "non_tie_mismatch": sum(row["margin"] > 2 * allowed for row in wrong) / len(rows),
        "logit_range": logit_range,
        "allowed_logit_difference": allowed,
        "max_logit_difference": max(row["largest_logit_difference"] for row in rows),
        "mean_logit_difference": float(np.mean(totals.mean_differences)),
        "predicted_classes": len({row["classes"][0] for row in rows}),
    }
    if totals.cosines:
        metrics["min_embedding_cosine"] = min(totals.cosines)
    return metrics


def _ground_truth(totals: _Totals) -> Json:
    if not totals.labelled:
        return {}
    return {
        "frames": totals.labelled,
        "reference": {"accuracy": totals.reference_hits / totals.labelled},
        "candidate": {"accuracy": totals.candidate_hits / totals.labelled},
        "drop": (totals.reference_hits - totals.candidate_hits) / totals.labelled,
    }


def _class_rows(rows: list[Json], manifest: Manifest) -> Iterator[Json]:
    for entry in manifest.classes:
        equal = [row["equal"] for row in rows if row["classes"][0] == entry.id]
        yield {
            "id": entry.id,
            "name": entry.name,
            "frames": len(equal),
            "agreement": sum(equal) / len(equal) if equal else None,
        }


def _failures(metrics: dict[str, float], truth: Json, limits: Limits) -> Iterator[Failure]:
    if metrics["predicted_classes"] < 2:
        yield Failure(
            "single_class",
            f"the reference predicts the same class on all {int(metrics['frames'])} frames: "
            "one class does not show that the models agree",
        )
    if metrics["equal"] < limits.min_pixel_agreement and metrics["differing"] > 0:
        yield Failure(
            "pixel_agreement",
            f"{metrics['equal']:.2%} of top classes are equal, expected "
            f"{limits.min_pixel_agreement:.2%}",
        )
    if metrics["non_tie_mismatch"] > limits.max_mismatch:
        yield Failure(
            "non_tie_mismatch",
            f"{metrics['non_tie_mismatch']:.2%} of frames change their class without being "
            "near-ties",
        )
    bound = limits.max_logit_share * metrics["logit_range"]
    if limits.max_logit_share and metrics["max_logit_difference"] > bound:
        yield Failure(
            "max_logit_difference",
            f"the largest score difference is {metrics['max_logit_difference']:.4g}, expected "
            f"{bound:.4g} at most",
        )
    bound = limits.mean_logit_share * metrics["logit_range"]
    if metrics["mean_logit_difference"] > bound:
        yield Failure(
            "mean_logit_difference",
            f"scores differ by {metrics['mean_logit_difference']:.4g} on average, expected "
            f"{bound:.4g} at most",
        )
    cosine = metrics.get("min_embedding_cosine", 1.0)
    if not cosine >= limits.min_cosine:
        yield Failure(
            "embedding_cosine",
            f"embeddings agree to a cosine of {cosine:.5f}, expected {limits.min_cosine}",
        )
    if truth and truth["drop"] > limits.max_miou_drop:
        yield Failure(
            "accuracy_drop",
            f"accuracy falls by {truth['drop']:.4f}, expected {limits.max_miou_drop:.4f} at most",
        )


def _cosine(first: Output, second: Output) -> float:
    a, b = first.astype(np.float64), second.astype(np.float64)
    if a.shape != b.shape:
        return math.nan
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
