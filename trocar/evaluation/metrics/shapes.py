"""Scores of shapes: distance of outlines, and matching of regions.

surface_dice(truth == 1, predicted == 1, tolerance=2.0)     # NSD of one frame and class
match_regions(truth == 1, predicted == 1).f1

A region is an 8-connected component of a mask of one class. A label map cannot separate two
touching instruments of one class, neither in the truth nor in the prediction. With an instance map
the true regions are the instances; the predicted regions remain connected components.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Mask = NDArray[np.bool_]

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
MATCH_IOU = 0.5
"""Regions match above this IoU; above 0.5 a region matches one region at most."""


def surface_dice(truth: Mask, predicted: Mask, *, tolerance: float) -> float:
    """Normalised surface Dice (NSD): the share of both outlines within a distance of the other.

    An outline is the pixels of a mask that have a neighbour (of four) outside it; beyond the frame
    is outside. Distances run between pixel centres.

    Args:
        truth: ``[H, W]`` bool.
        predicted: ``[H, W]`` bool.
        tolerance: Largest distance that counts as right, in pixels.

    Returns:
        0..1; 0 where only one of the masks is empty, NaN where both are.

    Source:
        Nikolov et al., Deep learning to achieve clinically applicable segmentation of head and
        neck anatomy for radiotherapy, 2018.
    """
    either = truth | predicted
    if not either.any():
        return math.nan
    if not truth.any() or not predicted.any():
        return 0.0
    box = _bounding_box(either)
    true_outline, other_outline = _outline(truth[box]), _outline(predicted[box])
    near = [
        int((_distance(other)[outline] <= tolerance).sum())
        for outline, other in ((true_outline, other_outline), (other_outline, true_outline))
    ]
    return sum(near) / int(true_outline.sum() + other_outline.sum())


def _bounding_box(mask: Mask) -> tuple[slice, slice]:
    """The bounding box of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _outline(mask: Mask) -> Mask:
    # Pixels outside the crop count as background.
    inner = cv2.erode(
        mask.astype(np.uint8), _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=(0,)
    )
    return np.asarray(mask & (inner == 0), np.bool_)


def _distance(outline: Mask) -> NDArray[np.float32]:
    """Distance of every pixel to the nearest pixel of an outline."""
    free = (~outline).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


@dataclass(frozen=True, kw_only=True)
class RegionCounts:
    """Matched regions of one class; the counts of several frames can be added.

    Attributes:
        matched: Regions of truth and prediction that match at an IoU above `MATCH_IOU`.
        missed: Regions of the truth without a match.
        false: Regions of the prediction without a match.
        iou: Sum of the matched regions' IoU.
        dice: Sum of Dice over the best one-to-one assignment of all regions.
        pairs: Regions of truth or prediction that the assignment counts: the larger number of the
            two in each frame.
    """

    matched: int = 0
    missed: int = 0
    false: int = 0
    iou: float = 0.0
    dice: float = 0.0
    pairs: int = 0

    def __add__(self, other: RegionCounts) -> RegionCounts:
        return RegionCounts(
            matched=self.matched + other.matched,
            missed=self.missed + other.missed,
            false=self.false + other.false,
            iou=self.iou + other.iou,
            dice=self.dice + other.dice,
            pairs=self.pairs + other.pairs,
        )

    @property
    def precision(self) -> float:
        """Share of predicted regions that match; NaN where none is predicted."""
        return _ratio(self.matched, self.matched + self.false)

    @property
    def recall(self) -> float:
        """Share of true regions that match; NaN where there is none."""
        return _ratio(self.matched, self.matched + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of both: recognition quality; NaN where there is no region at all."""
        return _ratio(2 * self.matched, 2 * self.matched + self.missed + self.false)

    @property
    def panoptic_quality(self) -> float:
        """PQ: sum of the matches' IoU over matches and half of what is missed or false.

        Source: Kirillov et al., Panoptic segmentation, CVPR 2019.
        """
        return _ratio(self.iou, self.matched + (self.missed + self.false) / 2)

    @property
    def region_dice(self) -> float:
        """Mean Dice of regions assigned one to one for the largest sum; unassigned ones count 0."""
        return _ratio(self.dice, self.pairs)


def match_regions(
    truth: Mask,
    predicted: Mask,
    *,
    instances: NDArray[np.unsignedinteger[Any]] | None = None,
    found: NDArray[np.unsignedinteger[Any]] | None = None,
) -> RegionCounts:
    """Matches the regions of one frame and class.

    Args:
        truth: ``[H, W]`` bool.
        predicted: ``[H, W]`` bool.
        instances: ``[H, W]``, the true instance of each pixel, connected or not; 0: none.
            ``None``: each connected component is an instance.
        found: ``[H, W]``, the same of the prediction.
    """
    either = truth | predicted
    if either.any():
        box = _bounding_box(either)
        truth, predicted = truth[box], predicted[box]
        instances = None if instances is None else instances[box]
        found = None if found is None else found[box]
    m, true_ids = _numbered(truth, instances)
    n, found_ids = _numbered(predicted, found)
    shared = np.bincount((true_ids.astype(np.int64) * n + found_ids).ravel(), minlength=m * n)
    counts = shared.reshape(m, n)
    hit = counts[1:, 1:].astype(np.float64)
    sums = counts.sum(1)[1:, None] + counts.sum(0)[None, 1:]
    iou, dice = hit / (sums - hit), 2 * hit / sums
    good = iou > MATCH_IOU
    rows, columns = linear_sum_assignment(dice, maximize=True)
    matched = int(good.sum())
    return RegionCounts(
        matched=matched,
        missed=m - 1 - matched,
        false=n - 1 - matched,
        iou=float(iou[good].sum()),
        dice=float(dice[rows, columns].sum()),
        pairs=max(m, n) - 1,
    )


def _numbered(
    truth: Mask, instances: NDArray[np.unsignedinteger[Any]] | None
) -> tuple[int, NDArray[np.int32]]:
    """Numbers the instances or components of a mask from 1; gives their count + 1, and the map."""
    if instances is None:
        count, numbered = cv2.connectedComponents(truth.astype(np.uint8), connectivity=8)
        return count, np.asarray(numbered, np.int32)
    inside = np.where(truth, instances, 0)
    present = np.bincount(inside.ravel()) > 0
    present[0] = False
    numbers = np.where(present, np.cumsum(present), 0).astype(np.int32)
    return int(present.sum()) + 1, numbers[inside]


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom else math.nan
