"""Counts that say how far two label maps are apart.

counts = confusion(reference, candidate, classes=3)     # [3,3]
overlap(counts)                                         # IoU per class
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
Counts = NDArray[np.int64]


def confusion(first: Labels, second: Labels, *, classes: int) -> Counts:
    """Pixels by class in ``first`` (rows) and in ``second`` (columns); 255 in either is skipped."""
    a, b = first.ravel().astype(np.int64), second.ravel().astype(np.int64)
    valid = (a < classes) & (b < classes)
    flat = np.bincount(a[valid] * classes + b[valid], minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def overlap(counts: Counts) -> NDArray[np.float64]:
    """Intersection over union per class; NaN for a class that neither side has."""
    both = np.diag(counts).astype(np.float64)
    union = counts.sum(0) + counts.sum(1) - both
    out: NDArray[np.float64] = np.full(len(both), np.nan)
    np.divide(both, union, out=out, where=union > 0)
    return out


def dice(counts: Counts) -> NDArray[np.float64]:
    """Dice coefficient per class; NaN for a class that neither side has."""
    both = np.diag(counts).astype(np.float64)
    total = (counts.sum(0) + counts.sum(1)).astype(np.float64)
    out: NDArray[np.float64] = np.full(len(both), np.nan)
    np.divide(2 * both, total, out=out, where=total > 0)
    return out


def boundary_counts(first: Labels, second: Labels, *, classes: int, tolerance: int) -> Counts:
    """Boundary pixels per class: ``[K,4]`` near/all of ``first``, near/all of ``second``.

    A boundary pixel is near when the other map has one of the same class within ``tolerance``
    pixels (Euclidean).
    """
    table = np.zeros((classes, 4), np.int64)
    for label in range(classes):
        edges = [_edge(first == label), _edge(second == label)]
        if not (edges[0].any() or edges[1].any()):
            continue
        discs = [_widened(edge, tolerance) for edge in edges]
        table[label] = [
            np.count_nonzero(edges[0] & discs[1]),
            np.count_nonzero(edges[0]),
            np.count_nonzero(edges[1] & discs[0]),
            np.count_nonzero(edges[1]),
        ]
    return table


def boundary_f(counts: Counts) -> NDArray[np.float64]:
    """Boundary F-score per class of `boundary_counts`; NaN where neither side has a boundary."""
    scores = np.full(len(counts), np.nan)
    for index, (near_a, all_a, near_b, all_b) in enumerate(counts.tolist()):
        if all_a + all_b == 0:
            continue
        precision = near_a / all_a if all_a else 0.0
        recall = near_b / all_b if all_b else 0.0
        total = precision + recall
        scores[index] = 2 * precision * recall / total if total else 0.0
    return scores


def lost_regions(
    reference: Labels, candidate: Labels, *, classes: int, least: int
) -> list[tuple[int, int]]:
    """Connected foreground regions that lose more than half of their pixels.

    Args:
        reference: ``[h,w]`` class ids.
        candidate: ``[h,w]`` class ids.
        classes: Number of classes; class 0 is the background.
        least: Smallest region in pixels that counts.

    Returns:
        ``(class, pixels)`` of each lost region.
    """
    lost = []
    for label in range(1, classes):
        mask = (reference == label).astype(np.uint8)
        if not mask.any():
            continue
        count, regions = cv2.connectedComponents(mask, connectivity=8)
        sizes = np.bincount(regions.ravel(), minlength=count)
        kept = np.bincount(regions[candidate == label].ravel(), minlength=count)
        for region in range(1, count):
            if sizes[region] >= least and 2 * kept[region] < sizes[region]:
                lost.append((label, int(sizes[region])))
    return lost


def enlarged(labels: Labels, size: tuple[int, int]) -> Labels:
    """Label map at ``(height, width)`` by nearest neighbour, pixel centres aligned."""
    if labels.shape == size:
        return labels
    grown = cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(grown, np.uint8)


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inner = cv2.erode(
        mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(mask & np.equal(inner, 0), np.bool_)


def _widened(edge: NDArray[np.bool_], tolerance: int) -> NDArray[np.bool_]:
    if tolerance == 0:
        return edge
    y, x = np.ogrid[-tolerance : tolerance + 1, -tolerance : tolerance + 1]
    disc = (x * x + y * y <= tolerance * tolerance).astype(np.uint8)
    grown = cv2.dilate(edge.astype(np.uint8), disc)
    return np.asarray(np.not_equal(grown, 0), np.bool_)
