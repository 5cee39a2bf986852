"""Finished detections with coefficients of mask prototypes: YOLO-seg that suppresses itself.

    roles = find({"output0": (1, 300, 38), "output1": (1, 32, 160, 160)}, spec, classes=4)

One row for each detection: x0, y0, x1, y1 in pixels of the input, score, class from 0, and one
coefficient for each prototype. Or the same in several outputs: boxes ``[N,Q,4]``, scores and
classes ``[N,Q]``, coefficients ``[N,Q,P]``. Files with suppression inside and heads that need none
return this. A mask is the sum of the prototypes, cropped to its box.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.export.graph.input_spec import ModelSpec
from trocar.export.graph.instances.forms import base, detections, prototypes

MAX_DETECTIONS = 1000
"""Largest number of rows; more are the anchors of a file without suppression."""


def find(
    shapes: Mapping[str, base.Shape], spec: ModelSpec, classes: int
) -> dict[str, base.Role] | None:
    """Rows ``[N,Q,6+P]`` and prototypes ``[N,P,h,w]``, or the parts of the rows."""
    maps = base.of_rank(shapes, 4)
    if len(maps) != 1:
        return None
    depth = shapes[maps[0]][1]
    rows = base.of_rank(shapes, 3)
    if len(rows) == 1:
        if shapes[rows[0]][2] != 6 + depth or shapes[rows[0]][1] > MAX_DETECTIONS:
            return None
        found = {"rows": rows[0], "prototypes": maps[0]}
    else:
        sized = [name for name in rows if shapes[name][2] == depth]
        named = base.named(sized, "coef", "mask", "proto")
        coefficients = named if len(sized) > 1 else sized
        if len(coefficients) != 1:
            return None
        rest = {name: shape for name, shape in shapes.items() if name != coefficients[0]}
        parts = detections.find_with(
            {**rest, maps[0]: (1, shapes[coefficients[0]][1], 1, 1)}, maps[0]
        )
        if parts is None or "boxes" not in parts:
            return None
        found = {role: one.output for role, one in parts.items() if role != "masks"}
        found |= {"coefficients": coefficients[0], "prototypes": maps[0]}
    return {role: base.Role(name, shapes[name]) for role, name in found.items()}


def graph(roles: base.Roles, spec: ModelSpec, classes: int) -> base.GraphPart:
    """Scores as they are; masks of the best, cropped."""
    _, depth, height, width = roles["prototypes"].shape
    if "rows" in roles:
        lines = [
            "score_column = Slice (own_rows, at_4, at_5, axis_2)",
            "cand_scores = Squeeze (score_column, axis_2)",
            "class_column = Slice (own_rows, at_5, at_6, axis_2)",
            "class_values = Squeeze (class_column, axis_2)",
            "whole_classes = Cast <to = 7> (class_values)",
            "cand_classes = Add (whole_classes, first_class)",
        ]
        picked = [
            *detections.picked_lines(roles, "rows"),
            "crop = Slice (picked_rows, at_0, at_4, axis_2)",
            "picked_coefficients = Slice (picked_rows, at_6, at_end, axis_2)",
        ]
    else:
        lines = detections.candidate_lines(roles)
        picked = [
            *detections.picked_lines(roles, "boxes", "coefficients"),
            "crop = Slice (picked_boxes, at_0, at_4, axis_2)",
        ]
    return base.GraphPart(
        candidates=lines,
        masks=[*picked, *prototypes.MASK_LINES],
        count=0,
        crop=True,
        constants={
            **detections.constants(roles),
            "at_0": np.array([0], np.int64),
            "at_6": np.array([6], np.int64),
            "at_end": np.array([6 + depth], np.int64),
            **prototypes.mask_constants(depth, height, width),
        },
    )


def candidates(
    values: Mapping[str, NDArray[Any]], spec: ModelSpec, classes: int
) -> base.Candidates:
    """The same for one frame."""
    maps = values["prototypes"].astype(np.float32)
    if "rows" in values:
        rows = values["rows"].astype(np.float32)
        boxes, scores, ids, factors = rows[:, :4], rows[:, 4], rows[:, 5], rows[:, 6:]
    else:
        boxes, scores = values["boxes"][:, :4].astype(np.float32), detections.scores_of(values)
        ids, factors = values["classes"], values["coefficients"].astype(np.float32)
    return base.Candidates(
        scores=scores,
        classes=ids.astype(np.int64) + 1,
        mask=lambda number: np.einsum("p,phw->hw", factors[number], maps),
        boxes=boxes,
    )
