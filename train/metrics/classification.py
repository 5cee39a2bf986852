"""Classification scores under exact names, and the threshold below which a class is unknown.

    scores = classification_scores(truth, predicted, table=table, counts=counts, many=100, few=20)
    scores["macro_f1"]

Names. ``accuracy``: share of correct photographs. ``balanced_accuracy``: mean recall over classes.
``macro_f1``: mean F1 over classes in truth or prediction. ``accuracy_many``, ``accuracy_medium``,
``accuracy_few``: mean recall over the classes with more than ``many`` training photographs, those
between, and those with at most ``few``. ``recall_<class>``. Means of recalls leave out classes
without photographs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.media.label_maps import ratio

Floats = NDArray[np.floating]
Ids = NDArray[np.int64]


def classification_scores(
    truth: Ids, predicted: Ids, *, table: ClassTable, counts: Ids, many: int, few: int
) -> dict[str, float]:
    """Scores of predictions; NaN where there was nothing to score.

    Args:
        truth: Class ids ``[N]``.
        predicted: Class ids ``[N]``.
        table: The classes.
        counts: Training photographs of each class ``[K]``.
        many: See the module.
        few: See the module.
    """
    size = len(table)
    matrix = np.bincount(truth * size + predicted, minlength=size * size).reshape(size, size)
    hit, true, claimed = np.diagonal(matrix), matrix.sum(1), matrix.sum(0)
    recall = ratio(hit, true)
    f1 = ratio(2 * hit, true + claimed)
    groups = {
        "many": counts > many,
        "medium": (counts <= many) & (counts > few),
        "few": counts <= few,
    }
    return {
        "accuracy": float(hit.sum() / len(truth)) if len(truth) else math.nan,
        "balanced_accuracy": _mean(recall),
        "macro_f1": _mean(f1),
        **{f"accuracy_{name}": _mean(recall[chosen]) for name, chosen in groups.items()},
        **{f"recall_{row.name}": float(recall[row.id]) for row in table},
    }


def interval(values: Floats) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval (1.96 standard errors) over episodes."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), 1.96 * spread / math.sqrt(max(len(values), 1))


def certainty(scores: Floats, *, scale: float | None) -> Floats:
    """Certainty of a classifier ``[N]``: its best score over ``scale``, or its best softmax.

    Args:
        scores: ``[N,K]``.
        scale: ``None`` for softmax.
    """
    if scale is not None:
        return np.asarray(scores.max(1) / scale)
    shifted = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(1.0 / shifted.sum(1))


def unknown_threshold(scores: Floats, truth: Ids, *, scale: float | None) -> float:
    """The certainty below which a photograph counts as unknown.

    Each photograph is classified twice: as it is, and without its own class, as an unknown one
    would be. The threshold has the highest mean of accepted known and rejected unknown photographs;
    among equal ones the middle.

    Args:
        scores: ``[N,K]`` of photographs that were not trained on, K at least 2.
        truth: Class ids ``[N]``.
        scale: See `certainty`.
    """
    rows = np.arange(len(truth))
    known = certainty(scores, scale=scale)
    without = np.where(np.arange(scores.shape[1])[None] == truth[:, None], -np.inf, scores)
    strange = certainty(without, scale=scale)
    known = known[scores[rows, truth] >= scores.max(1)]  # misclassified ones carry no information
    if not len(known):
        return float(np.median(strange))
    levels = np.unique(np.concatenate([known, strange]))
    cuts = np.concatenate([levels[:1] - 1e-6, (levels[1:] + levels[:-1]) / 2])
    accepted = (known[None] >= cuts[:, None]).mean(1)
    refused = (strange[None] < cuts[:, None]).mean(1)
    merit = accepted + refused
    best = np.flatnonzero(merit >= merit.max() - 1e-12)
    return float(cuts[best[len(best) // 2]])


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
