"""Suppression of boxes that overlap a better one of their class, in the graph and in NumPy.

    kept = kept_boxes(boxes, scores, classes, overlap=0.7)      # [Q] bool

`suppression_lines` writes it with the operator ``NonMaxSuppression``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def suppression_lines(boxes: str, scores: str, classes: str, *, result: str) -> list[str]:
    """ONNX text that sets the scores of suppressed boxes to -1.

    Args:
        boxes: Name of ``[N,Q,4]`` x0, y0, x1, y1.
        scores: Name of ``[N,Q]``.
        classes: Name of ``[N,Q]`` int64.
        result: Name of the scores ``[N,Q]`` that are made.
    """
    # One row of scores for each class: boxes suppress only those of their own.
    return [
        f"nms_of_class = OneHot <axis = 1> ({classes}, nms_depth, nms_levels)",
        f"nms_row = Unsqueeze ({scores}, nms_axis_1)",
        "nms_scores = Mul (nms_of_class, nms_row)",
        f"nms_selected = NonMaxSuppression ({boxes}, nms_scores, nms_most, nms_overlap, nms_above)",
        "nms_places = Gather <axis = 1> (nms_selected, nms_columns)",
        "nms_count = Shape <start = 0, end = 1> (nms_selected)",
        "nms_ones = Expand (nms_one, nms_count)",
        f"nms_zeros = Mul ({scores}, nms_zero)",
        "nms_kept = ScatterND (nms_zeros, nms_places, nms_ones)",
        "nms_is_kept = Greater (nms_kept, nms_zero)",
        f"{result} = Where (nms_is_kept, {scores}, nms_none)",
    ]


def suppression_constants(overlap: float, *, most: int, classes: int) -> Mapping[str, NDArray[Any]]:
    """The constants that `suppression_lines` names.

    Args:
        overlap: IoU above which a box is suppressed.
        most: Number of candidates.
        classes: Rows of the class table.
    """
    return {
        "nms_depth": np.array(classes, np.int64),
        "nms_levels": np.array([0, 1], np.float32),
        "nms_above": np.array([0], np.float32),
        "nms_axis_1": np.array([1], np.int64),
        "nms_most": np.array([most], np.int64),
        "nms_overlap": np.array([overlap], np.float32),
        "nms_columns": np.array([0, 2], np.int64),
        "nms_one": np.array([1], np.float32),
        "nms_zero": np.array(0, np.float32),
        "nms_none": np.array(-1, np.float32),
    }


def kept_boxes(
    boxes: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any], *, overlap: float
) -> NDArray[np.bool_]:
    """Which boxes no better box of their class overlaps by more than ``overlap``.

    Args:
        boxes: ``[Q,4]`` x0, y0, x1, y1.
        scores: ``[Q]``.
        classes: ``[Q]``.
        overlap: Intersection over union.
    """
    kept = np.zeros(len(boxes), np.bool_)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for one in np.argsort(-scores, kind="stable"):
        rivals = np.flatnonzero(kept & (classes == classes[one]))
        low = np.maximum(boxes[rivals, :2], boxes[one, :2])
        high = np.minimum(boxes[rivals, 2:], boxes[one, 2:])
        sides = np.maximum(high - low, 0)
        both = sides[:, 0] * sides[:, 1]
        union = area[rivals] + area[one] - both
        kept[one] = not (both > overlap * union).any()
    return kept
