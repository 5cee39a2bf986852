"""Boxes, class scores and coefficients of mask prototypes, suppressed here: YOLO-seg.

    roles = find({"output0": (1, 39, 2100), "output1": (1, 32, 40, 40)}, spec, classes=4)

Each anchor has a box (centre and size, in pixels of the input), class probabilities and one
coefficient for each prototype; a mask is the sum of the prototypes, cropped to the box (Bolya et
al., YOLACT, ICCV 2019). Boxes of one class that overlap by more than ``overlap`` are suppressed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.export.graph.input_spec import ModelSpec
from trocar.export.graph.instances.forms import base
from trocar.export.graph.instances.suppression import (
    kept_boxes,
    suppression_constants,
    suppression_lines,
)

MAX_CANDIDATES = 300
"""Anchors with the best scores that are looked at."""

MASK_LINES = (
    "flat_prototypes = Reshape (own_prototypes, flat_shape)",
    "flat_signal = MatMul (picked_coefficients, flat_prototypes)",
    "signal = Reshape (flat_signal, signal_shape)",
)
"""ONNX text from the coefficients of the picked candidates to their masks."""


def find(
    shapes: Mapping[str, base.Shape], spec: ModelSpec, classes: int
) -> dict[str, base.Role] | None:
    """Predictions ``[N,4+K+P,A]`` or ``[N,A,4+K+P]``, and prototypes ``[N,P,h,w]``."""
    prototypes, predictions = base.of_rank(shapes, 4), base.of_rank(shapes, 3)
    if len(prototypes) != 1 or len(predictions) != 1:
        return None
    values = 4 + (classes - 1) + shapes[prototypes[0]][1]
    sides = shapes[predictions[0]][1:]
    # The anchors are many more than the values of one.
    if values not in sides or min(sides) != values or sides[0] == sides[1]:
        return None
    found = {"predictions": predictions[0], "prototypes": prototypes[0]}
    return {role: base.Role(name, shapes[name]) for role, name in found.items()}


def graph(roles: base.Roles, spec: ModelSpec, classes: int) -> base.GraphPart:
    """Scores of the best anchors after suppression; masks of the best of them."""
    shape, (_, depth, height, width) = roles["predictions"].shape, roles["prototypes"].shape
    transposed = shape[1] < shape[2]
    anchors = max(shape[1:])
    kept = min(MAX_CANDIDATES, anchors)
    rows = "rows = Transpose <perm = [0, 2, 1]> (own_predictions)"
    first, last = 4, 4 + classes - 1
    return base.GraphPart(
        candidates=[
            rows if transposed else "rows = Identity (own_predictions)",
            "class_shares = Slice (rows, at_classes, at_coefficients, axis_2)",
            "best = ReduceMax <keepdims = 0> (class_shares, axis_2)",
            "best_scores, best_rows = TopK <axis = 1> (best, kept_anchors)",
            "best_places = Unsqueeze (best_rows, axis_2)",
            "some = GatherND <batch_dims = 1> (rows, best_places)",
            "centres = Slice (some, at_0, at_2, axis_2)",
            "sizes = Slice (some, at_2, at_classes, axis_2)",
            "halves = Mul (sizes, half)",
            "low = Sub (centres, halves)",
            "high = Add (centres, halves)",
            "anchor_boxes = Concat <axis = 2> (low, high)",
            "some_shares = Slice (some, at_classes, at_coefficients, axis_2)",
            "which = ArgMax <axis = 2, keepdims = 0> (some_shares)",
            "cand_classes = Add (which, one_class)",
            *suppression_lines("anchor_boxes", "best_scores", "cand_classes", result="cand_scores"),
            "coefficients = Slice (some, at_coefficients, at_end, axis_2)",
        ],
        masks=[
            "picked_places = Unsqueeze (picked, axis_2)",
            "crop = GatherND <batch_dims = 1> (anchor_boxes, picked_places)",
            "picked_coefficients = GatherND <batch_dims = 1> (coefficients, picked_places)",
            *MASK_LINES,
        ],
        count=kept,
        crop=True,
        constants={
            **suppression_constants(spec.overlap, most=kept, classes=classes),
            "axis_2": np.array([2], np.int64),
            "at_0": np.array([0], np.int64),
            "at_2": np.array([2], np.int64),
            "at_classes": np.array([first], np.int64),
            "at_coefficients": np.array([last], np.int64),
            "at_end": np.array([last + depth], np.int64),
            "kept_anchors": np.array([kept], np.int64),
            "half": np.array(0.5, np.float32),
            "one_class": np.array(1, np.int64),
            **mask_constants(depth, height, width),
        },
    )


def candidates(
    values: Mapping[str, NDArray[Any]], spec: ModelSpec, classes: int
) -> base.Candidates:
    """The same for one frame."""
    rows = values["predictions"].astype(np.float32)
    rows = rows.T if rows.shape[0] < rows.shape[1] else rows
    shares = rows[:, 4 : 3 + classes]
    order = np.argsort(-shares.max(1), kind="stable")[:MAX_CANDIDATES]
    rows, shares = rows[order], shares[order]
    boxes = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], 1)
    best, which = shares.max(1), shares.argmax(1) + 1
    kept = kept_boxes(boxes, best, which, overlap=spec.overlap)
    prototypes = values["prototypes"].astype(np.float32)
    coefficients = rows[:, 3 + classes :]
    return base.Candidates(
        scores=np.where(kept, best, np.float32(-1)),
        classes=which,
        mask=lambda number: np.einsum("p,phw->hw", coefficients[number], prototypes),
        boxes=boxes,
    )


def mask_constants(depth: int, height: int, width: int) -> dict[str, NDArray[Any]]:
    """The constants that `MASK_LINES` names, for prototypes ``[N,depth,height,width]``."""
    return {
        "flat_shape": np.array([0, depth, height * width], np.int64),
        "signal_shape": np.array([0, -1, height, width], np.int64),
    }
