"""Counting and resizing of label maps, for whoever compares two of them.

counts = confusion_matrix(truth, predicted, classes=3)     # [3,3]
iou_per_class(counts)                                      # [3]
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
Counts = NDArray[np.int64]


def confusion_matrix(first: Labels, second: Labels, *, classes: int) -> Counts:
    """Counts pixels by class in ``first`` (row) and in ``second`` (column).

    Args:
        first: Class ids of any shape, as a rule the truth or the reference.
        second: Class ids, same shape.
        classes: K; a pixel whose id is K or more in either map (255: ignored) is left out.

    Returns:
        [K,K] int64.
    """
    a, b = first.ravel().astype(np.int64), second.ravel().astype(np.int64)
    valid = (a < classes) & (b < classes)
    flat = np.bincount(a[valid] * classes + b[valid], minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def iou_per_class(counts: Counts) -> NDArray[np.float64]:
    """Intersection over union [K]; NaN for a class that neither map has."""
    both = np.diagonal(counts)
    return ratio(both, counts.sum(0) + counts.sum(1) - both)


def dice_per_class(counts: Counts) -> NDArray[np.float64]:
    """Dice coefficient [K]; NaN for a class that neither map has."""
    return ratio(2 * np.diagonal(counts), counts.sum(0) + counts.sum(1))


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """``part / whole`` elementwise in float64; NaN where ``whole`` is 0."""
    out: NDArray[np.float64] = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=out, where=np.asarray(whole) > 0)
    return out


def enlarge(labels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A map ``[h,w]`` at ``(height, width)`` by the nearest pixel centre; dtype kept."""
    if labels.shape[:2] == size:
        return labels
    return np.asarray(cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT))
