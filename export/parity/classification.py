"""The gate's work on classifiers: top class, scores, embedding, accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from trocar.contract.errors import ArgumentError
from trocar.contract.manifest import Manifest
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import Compared, WorstFrame


def compare_classifiers(
    compared: Iterable[Compared], manifest: Manifest, limits: Limits
) -> tuple[dict[str, Any], list[WorstFrame]]:
    """Parts of a `ParityReport`; there are no pictures of classifiers.

    Raises:
        ArgumentError: Scores of another shape than the reference's.
    """
    rows: list[dict[str, Any]] = []
    spreads, cosines, means, right = [], [], [], [0, 0, 0]
    for item in compared:
        first = item.reference["scores"].astype(np.float64)
        second = item.candidate["scores"].astype(np.float64)
        if first.shape != second.shape or len(first) != len(manifest.classes):
            raise ArgumentError(
                f"the exported model gives scores {second.shape}, expected {first.shape}",
                remedy="export again with the class table of the training",
            )
        order = np.sort(first)
        difference = float(np.abs(first - second).max())
        difference = difference if math.isfinite(difference) else math.inf
        means.append(float(np.abs(first - second).mean()))
        spreads.append(float(order[-1] - order[0]))
        top = (int(first.argmax()), int(second.argmax()))
        if "embedding" in item.reference:
            cosines.append(_cosine(item.reference["embedding"], item.candidate["embedding"]))
        if isinstance(item.frame.truth, int):
            hits = [label == item.frame.truth for label in top]
            right = [right[0] + hits[0], right[1] + hits[1], right[2] + 1]
        rows.append(
            {
                "name": item.frame.name,
                "size": list(item.frame.image.shape[:2]),
                "classes": [top[0]],
                "informative": True,
                "equal": float(top[0] == top[1]),
                "margin": float(order[-1] - order[-2]) if len(order) > 1 else 0.0,
                "largest_logit_difference": difference,
            }
        )
    allowed = limits.logit_share * float(np.mean(spreads))
    wrong = [row for row in rows if not row["equal"]]
    numbers: dict[str, float] = {
        "equal": 1.0 - len(wrong) / len(rows),
        "frames": len(rows),
        "differing": len(wrong),
        "far": sum(row["margin"] > 2 * allowed for row in wrong) / len(rows),
        "logit_spread": float(np.mean(spreads)),
        "allowed_logit_difference": allowed,
        "largest_logit_difference": max(row["largest_logit_difference"] for row in rows),
        "mean_logit_difference": float(np.mean(means)),
        "predicted_classes": len({row["classes"][0] for row in rows}),
    }
    if cosines:
        numbers["least_embedding_cosine"] = min(cosines)
    truth: dict[str, Any] = {}
    if right[2]:
        truth = {
            "frames": right[2],
            "reference": {"accuracy": right[0] / right[2]},
            "candidate": {"accuracy": right[1] / right[2]},
            "drop": (right[0] - right[1]) / right[2],
        }
    return {
        "faults": tuple(_faults(numbers, truth, limits)),
        "numbers": numbers,
        "classes": tuple(_class_rows(rows, manifest)),
        "frames": tuple(rows),
        "truth": truth,
        "notes": (),
        "golden_margin": 2 * allowed,
    }, []


def _class_rows(rows: list[dict[str, Any]], manifest: Manifest) -> Iterable[dict[str, Any]]:
    for entry in manifest.classes:
        own = [row["equal"] for row in rows if row["classes"][0] == entry.id]
        yield {
            "id": entry.id,
            "name": entry.name,
            "frames": len(own),
            "agreement": sum(own) / len(own) if own else None,
        }


def _faults(numbers: dict[str, float], truth: dict[str, Any], limits: Limits) -> Iterable[str]:
    if numbers["predicted_classes"] < 2:
        yield (
            f"the reference predicts the same class on all {int(numbers['frames'])} frames: "
            "agreement on one class proves nothing"
        )
    if numbers["equal"] < limits.equal and numbers["differing"] > 0:
        yield f"{numbers['equal']:.2%} of top classes are equal, expected {limits.equal:.2%}"
    if numbers["far"] > limits.far:
        yield f"{numbers['far']:.2%} of frames change their class without being near-ties"
    bound = limits.max_logit_share * numbers["logit_spread"]
    if limits.max_logit_share and numbers["largest_logit_difference"] > bound:
        yield (
            f"the largest score difference is {numbers['largest_logit_difference']:.4g}, expected "
            f"{bound:.4g} at most"
        )
    bound = limits.mean_logit_share * numbers["logit_spread"]
    if numbers["mean_logit_difference"] > bound:
        yield (
            f"scores differ by {numbers['mean_logit_difference']:.4g} on average, expected "
            f"{bound:.4g} at most"
        )
    cosine = numbers.get("least_embedding_cosine", 1.0)
    if not cosine >= limits.embedding:
        yield f"embeddings agree to a cosine of {cosine:.5f}, expected {limits.embedding}"
    if truth and truth["drop"] > limits.truth_drop:
        yield (f"accuracy falls by {truth['drop']:.4f}, expected {limits.truth_drop:.4f} at most")


def _cosine(first: Any, second: Any) -> float:
    a, b = first.astype(np.float64), second.astype(np.float64)
    if a.shape != b.shape:
        return math.nan
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
