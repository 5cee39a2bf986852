"""Differences of two label maps that a confusion matrix does not show: boundaries and components.

counts = boundary_counts(reference, candidate, classes=3, tolerance=2)    # [3,4]
boundary_f(counts)                                                        # F-score per class
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.media.label_maps import Counts, Labels


def boundary_counts(first: Labels, second: Labels, *, classes: int, tolerance: int) -> Counts:
    """Boundary pixels per class: ``[K,4]`` near/all of ``first``, near/all of ``second``.

    A boundary pixel is near when the other map has a boundary pixel of the same class within
    ``tolerance`` pixels (Euclidean).
    """
    table = np.zeros((classes, 4), np.int64)
    for label in range(classes):
        edges = [_edge(first == label), _edge(second == label)]
        if not (edges[0].any() or edges[1].any()):
            continue
        discs = [_dilated(edge, tolerance) for edge in edges]
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


def missed_components(
    reference: Labels, candidate: Labels, *, classes: int, min_pixels: int
) -> list[tuple[int, int]]:
    """Connected foreground components of the reference that lose more than half of their pixels.

    Args:
        reference: ``[h,w]`` class ids.
        candidate: ``[h,w]`` class ids.
        classes: Number of classes; class 0 is the background.
        min_pixels: Smallest component that counts, in pixels.

    Returns:
        ``(class, pixels)`` of each missed component.
    """
    missed = []
    for label in range(1, classes):
        mask = (reference == label).astype(np.uint8)
        if not mask.any():
            continue
        count, components = cv2.connectedComponents(mask, connectivity=8)
        sizes = np.bincount(components.ravel(), minlength=count)
        matched = np.bincount(components[candidate == label].ravel(), minlength=count)
        for component in range(1, count):
            if sizes[component] >= min_pixels and 2 * matched[component] < sizes[component]:
                missed.append((label, int(sizes[component])))
    return missed


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inner = cv2.erode(
        mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(mask & np.equal(inner, 0), np.bool_)


def _dilated(edge: NDArray[np.bool_], tolerance: int) -> NDArray[np.bool_]:
    if tolerance == 0:
        return edge
    y, x = np.ogrid[-tolerance : tolerance + 1, -tolerance : tolerance + 1]
    disc = (x * x + y * y <= tolerance * tolerance).astype(np.uint8)
    grown = cv2.dilate(edge.astype(np.uint8), disc)
    return np.asarray(np.not_equal(grown, 0), np.bool_)
