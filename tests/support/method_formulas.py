"""The formulas of the training methods in NumPy and plain loops, written from the sources alone.

    cross_entropy(logits, mask).mean()

They are slow, in float64, and share no line with `trocar.train`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
IGNORED = 255
ANGLES = (0, 45, 90, 135)
"""Of the neighbours of a texture, in degrees; rows go down."""


def softmax(logits: Array, axis: int = 1) -> Array:
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=axis, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=axis, keepdims=True))


def ramp(step: float, length: float) -> float:
    """``exp(-5 (1 - min(step/length, 1))^2)``."""
    return math.exp(-5 * (1 - min(step / length, 1)) ** 2)


def cross_entropy(logits: Array, mask: Array) -> Array:
    """Mean over each image's labelled pixels: ``[B,K,h,w]`` and ``[B,h,w]`` to ``[B]``."""
    values = []
    for scores, labels in zip(softmax(logits), mask, strict=True):
        rows, columns = np.nonzero(labels != IGNORED)
        chosen = scores[labels[rows, columns], rows, columns]
        values.append(-np.log(chosen).mean() if len(chosen) else 0.0)
    return np.array(values)


def soft_labels(student: Array, teacher: Array, temperature: float) -> Array:
    """``T^2 KL(softmax(t / T) || softmax(s / T))``, mean over each image's pixels: ``[B]``."""
    ours, theirs = softmax(student / temperature), softmax(teacher / temperature)
    each = (theirs * (np.log(theirs) - np.log(ours))).sum(axis=1)
    return np.asarray(temperature * temperature * each.mean(axis=(1, 2)))


def dice(logits: Array, mask: Array) -> Array:
    """One minus the soft Dice with squared denominators, over the classes of each image."""
    values = []
    for scores, labels in zip(softmax(logits), mask, strict=True):
        valid = labels != IGNORED
        losses = []
        for label in np.unique(labels[valid]):
            truth, share = (labels == label)[valid].astype(float), scores[label][valid]
            overlap = (truth * share).sum()
            size = (share**2).sum() + (truth**2).sum()
            losses.append(1 - (2 * overlap + 1) / (size + 1))
        values.append(np.mean(losses) if losses else 0.0)
    return np.array(values)


def texture_entropy(labels: Array, *, distance: int = 1, angles: Any = ANGLES) -> float:
    """Entropy of the symmetric, normalised co-occurrence of one label map, mean over angles."""
    height, width = labels.shape
    entropies = []
    for angle in angles:
        down = round(distance * math.sin(math.radians(angle)))
        right = round(distance * math.cos(math.radians(angle)))
        pairs: dict[tuple[int, int], int] = {}
        for y in range(height):
            for x in range(width):
                other = (y + down, x + right)
                if not (0 <= other[0] < height and 0 <= other[1] < width):
                    continue
                a, b = int(labels[y, x]), int(labels[other])
                if IGNORED in (a, b):
                    continue
                for pair in ((a, b), (b, a)):
                    pairs[pair] = pairs.get(pair, 0) + 1
        total = sum(pairs.values())
        entropies.append(-sum(n / total * math.log(n / total) for n in pairs.values()))
    return float(np.mean(entropies))


def texture_difference(logits: Array, mask: Array, **how: Any) -> Array:
    """``|E(arg-max) - E(labels)|`` of each image."""
    predicted = np.where(mask == IGNORED, IGNORED, logits.argmax(1))
    return np.array(
        [
            abs(texture_entropy(a, **how) - texture_entropy(b, **how))
            for a, b in zip(predicted, mask, strict=True)
        ]
    )


def uncertainty(probability: Array) -> Array:
    return np.asarray(-(probability * np.log(probability + 1e-6)).sum(axis=1))


def teacher_consistency(student: Array, teacher: Array, reliability: Array) -> float:
    """``sum m |p_S - p_T|^2 / (K sum m)``."""
    squared = ((student - teacher) ** 2).sum(axis=1)
    return float((reliability * squared).sum() / (student.shape[1] * reliability.sum()))


def batch_hard(vectors: Array, labels: Array, digests: Array, margin: float) -> float:
    """Batch-hard triplet loss; rows of equal digest are copies and no positives."""
    values = []
    for a in range(len(labels)):
        positives = [
            float(np.linalg.norm(vectors[a] - vectors[b]))
            for b in range(len(labels))
            if labels[b] == labels[a] and digests[b] != digests[a]
        ]
        negatives = [
            float(np.linalg.norm(vectors[a] - vectors[b]))
            for b in range(len(labels))
            if labels[b] != labels[a]
        ]
        if positives and negatives:
            values.append(max(margin + max(positives) - min(negatives), 0.0))
    return float(np.mean(values))


def class_cross_entropy(logits: Array, labels: Array, *, smoothing: float = 0.0) -> float:
    """Mean cross-entropy of ``[B,K]``, ``smoothing`` of the truth spread over all classes."""
    logs = np.log(softmax(logits))
    classes = logits.shape[1]
    values = []
    for row, label in zip(logs, labels, strict=True):
        truth = np.full(classes, smoothing / classes)
        truth[label] += 1 - smoothing
        used = truth > 0
        values.append(-(truth[used] * row[used]).sum())
    return float(np.mean(values))


def unit(vector: Array) -> Array:
    return np.asarray(vector / np.linalg.norm(vector))


def few_shot_logits(
    query: Array, supports: list[Array], *, attention: float, weighting: float, temperature: float
) -> Array:
    """Scores ``[K]`` of one query ``[C,M]`` against classes of supports ``[n,C,M]``.

    The vector of a photograph is its whole map and its local feature, of length 1 together.
    """
    means = [[unit(s.mean(1)) for s in of_class] for of_class in supports]
    descriptions = []
    for label, of_class in enumerate(supports):
        vectors, alike = [], []
        rest = [m for other, all_of in enumerate(means) if other != label for m in all_of]
        for number, support in enumerate(of_class):
            fellows = [m for i, m in enumerate(means[label]) if i != number] or means[label]
            vectors.append(_vector(support, fellows, rest, attention))
            alike.append(np.mean([means[label][number] @ m for m in means[label]]))
        weights = softmax(weighting * np.array(alike)[None])[0]
        descriptions.append(unit((weights[:, None] * np.array(vectors)).sum(0)))
    logits = []
    for label in range(len(supports)):
        rest = [m for other, all_of in enumerate(means) if other != label for m in all_of]
        vector = _vector(query, means[label], rest, attention)
        scores = [float(vector @ d) for d in descriptions]
        fourth = np.mean([s for other, s in enumerate(scores) if other != label])
        logits.append(temperature * (scores[label] - fourth))
    return np.array(logits)


def _vector(photo: Array, same: list[Array], different: list[Array], attention: float) -> Array:
    gains = [
        np.mean([unit(region) @ m for m in same]) - np.mean([unit(region) @ m for m in different])
        for region in photo.T
    ]
    local = photo.T[int(np.argmax(softmax(attention * np.array(gains)[None])[0]))]
    return unit(np.concatenate([photo.reshape(-1), local]))
