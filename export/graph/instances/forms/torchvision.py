"""Mask R-CNN of torchvision: as many detections as it finds, with pasted masks.

    roles = find({"boxes": (1, 7, 4), "labels": (1, 7), "scores": (1, 7),
                  "masks": (1, 7, 1, 480, 640)}, spec, 4)

The network takes one image and returns boxes ``[n,4]`` in pixels of its input, labels ``[n]`` from
1, scores ``[n]`` and probabilities ``[n,1,h,w]`` over the whole image (He et al., Mask R-CNN,
ICCV 2017). It has suppressed overlaps itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.export.graph.input_spec import ModelSpec
from trocar.export.graph.instances.forms import base, detections


def find(
    shapes: Mapping[str, base.Shape], spec: ModelSpec, classes: int
) -> dict[str, base.Role] | None:
    """Boxes, labels, scores and masks with a dimension of 1, by name or in torchvision's order."""
    masks = [name for name in base.of_rank(shapes, 5) if shapes[name][2] == 1]
    if len(masks) != 1 or base.is_cropped(shapes[masks[0]], spec):
        return None
    boxes, flat = base.of_rank(shapes, 3), base.of_rank(shapes, 2)
    if len(boxes) != 1 or shapes[boxes[0]][2] != 4 or len(flat) != 2:
        return None
    labels = base.named(flat, "label", "class") or flat[:1]
    scores = [name for name in flat if name not in labels]
    if len(scores) != 1:
        return None
    found = {"boxes": boxes[0], "classes": labels[0], "masks": masks[0], "scores": scores[0]}
    return {role: base.Role(name, shapes[name]) for role, name in found.items()}


def graph(roles: base.Roles, spec: ModelSpec, classes: int) -> base.GraphPart:
    """Scores and labels as they are; masks of the best."""
    return base.GraphPart(
        candidates=detections.candidate_lines(roles),
        masks=[*detections.picked_lines(roles, "masks"), "signal = Sub (picked_masks, half)"],
        count=0,
        constants=detections.constants(roles, first_class=0),
    )


def candidates(
    values: Mapping[str, NDArray[Any]], spec: ModelSpec, classes: int
) -> base.Candidates:
    """The same for one frame."""
    masks = values["masks"].astype(np.float32)
    return base.Candidates(
        scores=detections.scores_of(values),
        classes=values["classes"].astype(np.int64),
        mask=lambda number: masks[number, 0] - np.float32(detections.HALF),
    )
