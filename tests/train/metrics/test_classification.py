"""Scores against scikit-learn, and the calibrated threshold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from trocar.contract.classes import ClassTable
from trocar.train.metrics.classification import certainty, classification_scores, unknown_threshold


def test_scores_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 200)
    predicted = np.where(rng.random(200) < 0.6, truth, rng.integers(0, 5, 200))
    counts = np.array([300, 150, 60, 20, 3])
    scores = classification_scores(
        truth,
        predicted,
        table=ClassTable.from_names("abcde"),
        counts=counts,
        many=100,
        few=20,
    )
    recalls = recall_score(truth, predicted, average=None)
    assert scores["accuracy"] == pytest.approx((truth == predicted).mean())
    assert scores["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert scores["balanced_accuracy"] == pytest.approx(recalls.mean())
    assert scores["accuracy_many"] == pytest.approx(recalls[:2].mean())
    assert scores["accuracy_medium"] == pytest.approx(recalls[2])
    assert scores["accuracy_few"] == pytest.approx(recalls[3:].mean())
    assert scores["recall_c"] == pytest.approx(recalls[2])


def test_a_class_without_photographs_is_in_no_mean() -> None:
    scores = classification_scores(
        np.array([0, 1]),
        np.array([0, 0]),
        table=ClassTable.from_names("abc"),
        counts=np.array([200, 5, 5]),
        many=100,
        few=20,
    )
    assert scores["accuracy_many"] == 1.0
    assert scores["accuracy_few"] == 0.0
    assert np.isnan(scores["recall_c"])
    assert np.isnan(scores["accuracy_medium"])


def test_certainty_is_the_best_score_or_softmax() -> None:
    scores = np.array([[2.0, 1.0], [0.0, 4.0]])
    np.testing.assert_allclose(certainty(scores, scale=4.0), [0.5, 1.0])
    np.testing.assert_allclose(
        certainty(scores, scale=None), [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-4))]
    )


def test_the_threshold_parts_known_from_unknown() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 4, 100)
    scores = rng.uniform(0.0, 0.3, (100, 4))
    scores[np.arange(100), truth] = rng.uniform(0.6, 0.9, 100)
    level = unknown_threshold(scores, truth, scale=1.0)
    # Without their own class the photographs score at most 0.3, with it at least 0.6.
    assert 0.3 <= level <= 0.6
    muddled = unknown_threshold(rng.uniform(0, 1, (100, 4)), truth, scale=1.0)
    assert np.isfinite(muddled)
