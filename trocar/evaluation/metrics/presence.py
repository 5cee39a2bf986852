"""Average precision of class presence per frame, as Cholec80's mAP for tool presence.

average_precision(np.array([True, False]), np.array([0.9, 0.2]))     # 1.0
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def average_precision(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Area under the precision-recall curve, in steps, without interpolation.

    Frames of equal score form one step.

    Args:
        truth: ``[N]`` bool, whether the frame shows the class.
        scores: ``[N]``, a higher score ranks earlier.

    Returns:
        0..1; NaN where no frame shows the class.
    """
    positives = int(truth.sum())
    if not positives:
        return math.nan
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(truth[order])
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))  # ends of runs of equal scores
    precision = hits[last] / (last + 1)
    recalled = np.diff(hits[last], prepend=0)
    return float((precision * recalled).sum() / positives)
