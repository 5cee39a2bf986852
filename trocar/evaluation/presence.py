"""Average precision of saying whether a class is in a frame: Cholec80's mAP for tool presence.

average_precision(np.array([True, False]), np.array([0.9, 0.2]))     # 1.0
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def average_precision(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Area under precision over recall, in steps, without interpolation.

    Frames of equal score are taken together: their order is nobody's merit.

    Args:
        truth: ``[N]`` bool, whether the class is there.
        scores: ``[N]``, higher where the model is surer that it is.

    Returns:
        0..1; NaN where the class is in no frame.
    """
    positives = int(truth.sum())
    if not positives:
        return math.nan
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(truth[order])
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))  # ends of runs of equal scores
    precision = hits[last] / (last + 1)
    gained = np.diff(hits[last], prepend=0)
    return float((precision * gained).sum() / positives)
