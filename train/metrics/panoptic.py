"""Panoptic quality of instances, frame by frame.

    quality = PanopticQuality(len(table))
    quality.add([(1, true_pixels)], [(1, found_pixels)])
    quality.result()                    # 0..1; NaN where there is no instance

Source: Kirillov et al., "Panoptic Segmentation", CVPR 2019: the sum of the IoU of the pairs above
0.5, divided by the pairs and half of the instances without a pair; the mean over the classes that
occur.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MATCHED = 0.5
"""IoU above which a found instance is the true one: it is then the only one."""

Instance = tuple[int, NDArray[np.bool_]]
"""Class and pixels ``[H,W]`` of an instance."""


class PanopticQuality:
    """Sums over frames.

    Args:
        classes: Rows of the class table.
    """

    def __init__(self, classes: int) -> None:
        # By class: sum of IoU, matched, found alone, true alone.
        self._sums = np.zeros((classes, 4))

    def add(self, truth: Sequence[Instance], found: Sequence[Instance]) -> None:
        """Adds a frame; instances of one list do not overlap."""
        left = list(range(len(found)))
        for row, pixels in truth:
            match = None
            for index in left:
                other, theirs = found[index]
                both = int((pixels & theirs).sum()) if other == row else 0
                iou = both / max(1, int(pixels.sum()) + int(theirs.sum()) - both)
                if iou > MATCHED:
                    match = index
                    self._sums[row] += (iou, 1, 0, 0)
                    break
            if match is None:
                self._sums[row, 3] += 1
            else:
                left.remove(match)
        for index in left:
            self._sums[found[index][0], 2] += 1

    def result(self) -> float:
        """The quality, 0..1; NaN where neither truth nor prediction has an instance."""
        sums, matched, found, missed = self._sums.T
        weight = matched + (found + missed) / 2
        occurs = weight > 0
        quality = sums[occurs] / weight[occurs]
        return float(quality.mean()) if occurs.any() else math.nan
