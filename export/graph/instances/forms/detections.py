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
from trocar.export.graph.instances.forms import base

HALF = 0.5
"""Probability from which on a pixel is inside of a mask."""


def find(
    shapes: Mapping[str, base.Shape], spec: ModelSpec, classes: int
) -> dict[str, base.Role] | None:
    """Boxes, scores, classes and masks of the same number of detections."""
    masks = base.of_rank(shapes, 4)
    if len(masks) != 1 or base.is_cropped(shapes[masks[0]], spec):
        return None
    return find_with(shapes, masks[0])


def find_with(shapes: Mapping[str, base.Shape], masks: str) -> dict[str, base.Role] | None:
    """Boxes, classes and scores of as many detections as there are masks."""
    count = shapes[masks][1]
    flat = [name for name in base.of_rank(shapes, 2) if shapes[name][1] == count]
    rows = [name for name in base.of_rank(shapes, 3) if shapes[name][1] == count]
    labels, scores = base.named(flat, "label", "class"), base.named(flat, "score", "conf")
    if len(flat) == 1 and not labels:
        labels = flat
    boxes = [name for name in rows if shapes[name][2] == (4 if scores else 5)]
    if len(labels) != 1 or len(scores) > 1 or set(labels) & set(scores):
        return None
    if len(boxes) > 1 or not (boxes or scores):
        return None
    found = {"classes": labels[0], "masks": masks}
    if boxes:
        found = {"boxes": boxes[0], **found}
    if scores:
        found["scores"] = scores[0]
    return {role: base.Role(name, shapes[name]) for role, name in found.items()}


def graph(roles: base.Roles, spec: ModelSpec, classes: int) -> base.GraphPart:
    """Scores as they are; masks of the best."""
    return base.GraphPart(
        candidates=candidate_lines(roles),
        masks=[*picked_lines(roles, "masks"), "signal = Sub (picked_masks, half)"],
        count=0,
        constants=constants(roles),
    )


def candidate_lines(roles: base.Roles) -> list[str]:
    """ONNX text from scores and classes to those of the candidates."""
    if "scores" in roles:
        scores = ["cand_scores = Identity (own_scores)"]
    else:
        scores = [
            "score_column = Slice (own_boxes, at_4, at_5, axis_2)",
            "cand_scores = Squeeze (score_column, axis_2)",
        ]
    return [
        *scores,
        "whole_classes = Cast <to = 7> (own_classes)",
        "cand_classes = Add (whole_classes, first_class)",
    ]


def picked_lines(roles: base.Roles, *names: str) -> list[str]:
    """ONNX text that makes ``picked_<role>`` of the roles: rows of the best candidates.

    The number of detections may differ from frame to frame, and be 0: one more row is the empty
    one.
    """
    lines = ["picked_places = Unsqueeze (picked, axis_2)"]
    for name in names:
        own = f"own_{name}"
        if len(roles[name].shape) == 5:  # torchvision has a dimension of 1 in its masks.
            lines.append(f"flat_{name} = Squeeze ({own}, axis_2)")
            own = f"flat_{name}"
        lines += [
            f"filled_{name} = Pad ({own}, one_more_row, , row_axis)",
            f"picked_{name} = GatherND <batch_dims = 1> (filled_{name}, picked_places)",
        ]
    return lines


def constants(roles: base.Roles, *, first_class: int = 1) -> dict[str, NDArray[Any]]:
    """The constants that these lines name.

    Args:
        roles: Outputs of the file.
        first_class: Row of the class table of the file's class 0.
    """
    return {
        "one_more_row": np.array([0, 1], np.int64),
        "row_axis": np.array([1], np.int64),
        "axis_2": np.array([2], np.int64),
        "at_4": np.array([4], np.int64),
        "at_5": np.array([5], np.int64),
        "first_class": np.array(first_class, np.int64),
        "half": np.array(HALF, np.float32),
    }


def candidates(
    values: Mapping[str, NDArray[Any]], spec: ModelSpec, classes: int
) -> base.Candidates:
    """The same for one frame."""
    masks = values["masks"].astype(np.float32)
    return base.Candidates(
        scores=scores_of(values),
        classes=values["classes"].astype(np.int64) + 1,
        mask=lambda number: masks[number] - np.float32(HALF),
    )


def scores_of(values: Mapping[str, NDArray[Any]]) -> base.Float:
    """Scores of the detections of one frame."""
    scores = values["scores"] if "scores" in values else values["boxes"][:, 4]
    return scores.astype(np.float32)
