"""The normative implementation: the definitions in NumPy and float64.

    entropy(counts(labels, levels=4, offsets=[(0, 1)]), symmetric=True)  # [B]

Tests compare every other backend with this one. It is written to be easy to verify, not fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trocar.cuda_kernels.offsets import Offset

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MIN_PROBABILITY = 1e-8
"""Lower bound of a probability inside the logarithm, whose slope at 0 is infinite."""


def counts(labels: npt.NDArray[Any], *, levels: int, offsets: Sequence[Offset]) -> IntArray:
    """Count the label pairs of each offset: ``G[a, b] = #{x : y(x) = a and y(x + d) = b}``.

    Args:
        labels: ``[B,H,W]`` integers; a pixel outside ``0..levels-1`` belongs to no pair.
        levels: Side of the matrices.
        offsets: Pairs ``(dy, dx)``.

    Returns:
        ``[B,O,levels,levels]`` int64, not symmetric.
    """
    result = np.zeros((len(labels), len(offsets), levels, levels), np.int64)
    for image, plane in enumerate(labels):
        for index, offset in enumerate(offsets):
            pixels, neighbours = _overlap(plane.shape[0], plane.shape[1], offset)
            first, second = plane[pixels].astype(np.int64), plane[neighbours].astype(np.int64)
            keep = (first >= 0) & (first < levels) & (second >= 0) & (second < levels)
            np.add.at(result[image, index], (first[keep], second[keep]), 1)
    return result


def soft_counts(
    probabilities: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None, offsets: Sequence[Offset]
) -> FloatArray:
    """Sum the outer products of each offset: ``G = sum over x of p(x) p(x + d)^T``.

    Args:
        probabilities: ``[B,C,H,W]``.
        valid: ``[B,H,W]``; pixels that are False belong to no pair. None: all are valid.
        offsets: Pairs ``(dy, dx)``.

    Returns:
        ``[B,O,C,C]`` float64, not symmetric.
    """
    p = _masked(probabilities, valid)
    result = np.zeros((p.shape[0], len(offsets), p.shape[1], p.shape[1]))
    for index, offset in enumerate(offsets):
        pixels, neighbours = _overlap(p.shape[2], p.shape[3], offset)
        result[:, index] = np.einsum(
            "bihw,bjhw->bij", p[_last(pixels)], p[_last(neighbours)], optimize=True
        )
    return result


def soft_counts_gradient(
    probabilities: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_] | None,
    offsets: Sequence[Offset],
    grad: FloatArray,
) -> FloatArray:
    """Gradient of the soft counts, ``[B,O,C,C]``, to the gradient of the probabilities.

    ``dp(x) = sum over d of M p(x + d) + M^T p(x - d)``, with ``M`` the gradient of ``G_d``.
    """
    p = _masked(probabilities, valid)
    result = np.zeros_like(p)
    for index, offset in enumerate(offsets):
        pixels, neighbours = _overlap(p.shape[2], p.shape[3], offset)
        matrix = grad[:, index]
        result[_last(pixels)] += np.einsum("bij,bjhw->bihw", matrix, p[_last(neighbours)])
        result[_last(neighbours)] += np.einsum("bij,bihw->bjhw", matrix, p[_last(pixels)])
    return _masked(result, valid)


def entropy(matrices: npt.NDArray[Any], *, symmetric: bool) -> FloatArray:
    """Average the entropy of the normalised matrices over the offsets: ``[B,O,L,L] -> [B]``.

    Natural logarithm; a matrix whose sum is 0 has entropy 0.
    """
    p, _ = _normalised(matrices, symmetric)
    return np.asarray(-(p * np.log(np.maximum(p, MIN_PROBABILITY))).sum((2, 3)).mean(1))


def entropy_gradient(
    matrices: npt.NDArray[Any], grad: npt.NDArray[Any], *, symmetric: bool
) -> FloatArray:
    """Gradient of the entropies, ``[B]``, to the gradient of the matrices, ``[B,O,L,L]``."""
    p, total = _normalised(matrices, symmetric)
    slope = -np.log(np.maximum(p, MIN_PROBABILITY)) - (p > MIN_PROBABILITY)
    slope -= (p * slope).sum((2, 3), keepdims=True)
    weight = grad[:, None, None, None] / p.shape[1]
    safe = np.where(total > 0, total, 1.0)
    result = np.where(total > 0, slope * weight / safe, 0.0)
    return result + result.swapaxes(2, 3) if symmetric else result


def softmax(logits: npt.NDArray[Any]) -> FloatArray:
    """Softmax over axis 1 in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def softmax_gradient(p: FloatArray, grad: FloatArray) -> FloatArray:
    """Gradient of ``softmax(z)`` over axis 1 to the gradient of ``z``."""
    return np.asarray(p * (grad - (p * grad).sum(1, keepdims=True)))


def one_hot(scores: npt.NDArray[Any]) -> FloatArray:
    """One-hot of the first largest entry over axis 1."""
    return np.asarray(
        scores.argmax(1)[:, None] == np.arange(scores.shape[1])[:, None, None], np.float64
    )


def _normalised(matrices: npt.NDArray[Any], symmetric: bool) -> tuple[FloatArray, FloatArray]:
    g = matrices.astype(np.float64)
    if symmetric:
        g = g + g.swapaxes(2, 3)
    total = g.sum((2, 3), keepdims=True)
    return g / np.where(total > 0, total, 1.0), total


def _masked(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None) -> FloatArray:
    values = values.astype(np.float64)
    return values if valid is None else np.where(valid[:, None], values, 0.0)


def _overlap(
    height: int, width: int, offset: Offset
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the pixels ``x`` whose neighbour ``x + d`` is inside, and of these neighbours."""
    (top, bottom), (left, right) = (
        (max(0, -d), max(max(0, -d), min(n, n - d)))
        for d, n in zip(offset, (height, width), strict=True)
    )
    dy, dx = offset
    pixels = slice(top, bottom), slice(left, right)
    if bottom == top or right == left:
        return (slice(0), slice(0)), (slice(0), slice(0))
    return pixels, (slice(top + dy, bottom + dy), slice(left + dx, right + dx))


def _last(region: tuple[slice, slice]) -> tuple[Any, slice, slice]:
    """Index of a region of the last two axes."""
    return ..., region[0], region[1]
