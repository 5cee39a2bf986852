"""Finished detections with masks over the whole image: RTMDet-Ins, and others of mmdeploy.

    roles = find({"dets": (1, 100, 5), "labels": (1, 100), "masks": (1, 100, 640, 640)}, spec, 4)

Boxes ``[N,Q,4]`` and scores ``[N,Q]``, or both in one ``[N,Q,5]``; classes ``[N,Q]`` from 0; masks
``[N,Q,h,w]`` of probabilities. The file has suppressed overlaps itself. Empty places have a score
of 0 or below. Boxes may be missing where the scores have an output of their own: the masks decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.export.graph.input_spec import ModelSpec
from trocar.export.graph.instances.forms.base import (
    Candidates,
    GraphPart,
    Role,
    Roles,
    Shape,
    named,
    of_rank,
)

HALF = 0.5
"""Probability from which on a pixel is inside of a mask."""


def find(shapes: Mapping[str, Shape], spec: ModelSpec, classes: int) -> dict[str, Role] | None:
    """Boxes, scores, classes and masks of the same number of detections."""
    masks = of_rank(shapes, 4)
    if len(masks) != 1:
        return None
    count = shapes[masks[0]][1]
    flat = [name for name in of_rank(shapes, 2) if shapes[name][1] == count]
    rows = [name for name in of_rank(shapes, 3) if shapes[name][1] == count]
    labels, scores = named(flat, "label", "class"), named(flat, "score", "conf")
    if len(flat) == 1 and not labels:
        labels = flat
    boxes = [name for name in rows if shapes[name][2] == (4 if scores else 5)]
    if len(labels) != 1 or len(scores) > 1 or set(labels) & set(scores):
        return None
    if len(boxes) > 1 or not (boxes or scores):
        return None
    found = {"classes": labels[0], "masks": masks[0]}
    if boxes:
        found = {"boxes": boxes[0], **found}
    if scores:
        found["scores"] = scores[0]
    return {role: Role(name, shapes[name]) for role, name in found.items()}


def graph(roles: Roles, spec: ModelSpec, classes: int) -> GraphPart:
    """Scores as they are; masks of the best."""
    if "scores" in roles:
        scores = ["cand_scores = Identity (own_scores)"]
    else:
        scores = [
            "score_column = Slice (own_boxes, at_4, at_5, axis_2)",
            "cand_scores = Squeeze (score_column, axis_2)",
        ]
    return GraphPart(
        candidates=[
            *scores,
            "whole_classes = Cast <to = 7> (own_classes)",
            "cand_classes = Add (whole_classes, one_class)",
        ],
        masks=[
            "picked_rows = Unsqueeze (picked, axis_2)",
            # The number of detections may differ from frame to frame, and be 0.
            "with_empty = Pad (own_masks, one_more_row)",
            "picked_masks = GatherND <batch_dims = 1> (with_empty, picked_rows)",
            "signal = Sub (picked_masks, half)",
        ],
        count=0,
        constants={
            "one_more_row": np.array([0, 0, 0, 0, 0, 1, 0, 0], np.int64),
            "axis_2": np.array([2], np.int64),
            "at_4": np.array([4], np.int64),
            "at_5": np.array([5], np.int64),
            "one_class": np.array(1, np.int64),
            "half": np.array(HALF, np.float32),
        },
    )


def candidates(values: Mapping[str, NDArray[Any]], spec: ModelSpec, classes: int) -> Candidates:
    """The same for one frame."""
    masks = values["masks"].astype(np.float32)
    scores = values["scores"] if "scores" in values else values["boxes"][:, 4]
    return Candidates(
        scores=scores.astype(np.float32),
        classes=values["classes"].astype(np.int64) + 1,
        mask=lambda number: masks[number] - np.float32(HALF),
    )
