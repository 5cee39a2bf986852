"""Class and mask queries: MaskFormer, Mask2Former, RF-DETR-Seg; no suppression.

    roles = find({"logits": (1, 100, 4), "masks": (1, 100, 96, 96)}, spec, classes=4)

Each query has class logits and a mask of logits. With one class logit more than the table has
instruments the last one means "no object", and the score is the softmax times the mean
probability of the mask's pixels (Cheng et al., Per-Pixel Classification is Not All You Need,
NeurIPS 2021). Otherwise, or where the file returns boxes too, the score is the largest sigmoid.
With one sigmoid more than classes the spec says which one no class has: files of RF-DETR for
COCO leave the first one unused, those that were trained on other classes the last one. A query
makes one instance, of its best class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.export.graph.input_spec import ModelSpec
from trocar.export.graph.instances.forms import base

_SMALL = 1e-6


def find(
    shapes: Mapping[str, base.Shape], spec: ModelSpec, classes: int
) -> dict[str, base.Role] | None:
    """Logits ``[N,Q,C]`` and masks ``[N,Q,h,w]`` of the same number of queries."""
    # Other maps, such as features, have no class logits for each of their planes.
    planes = {shapes[name][1] for name in base.of_rank(shapes, 3)}
    masks = [name for name in base.of_rank(shapes, 4) if shapes[name][1] in planes]
    if len(masks) > 1:
        masks = base.named(masks, "mask")
    if len(masks) != 1:
        return None
    queries = shapes[masks[0]][1]
    rest = [name for name in base.of_rank(shapes, 3) if shapes[name][1] == queries]
    # With four classes boxes and logits have the same size: then the name decides.
    boxes = base.named([name for name in rest if shapes[name][2] == 4], "box", "dets")
    logits = [n for n in rest if n not in boxes and shapes[n][2] in (classes - 1, classes)]
    boxes = boxes or [n for n in rest if n not in logits and shapes[n][2] == 4]
    if len(logits) != 1 or len(boxes) > 1:
        return None
    found = {"logits": logits[0], "masks": masks[0], **({"boxes": boxes[0]} if boxes else {})}
    return {role: base.Role(name, shapes[name]) for role, name in found.items()}


def graph(roles: base.Roles, spec: ModelSpec, classes: int) -> base.GraphPart:
    """Scores of all queries; masks of the best."""
    last = roles["logits"].shape[2]
    first = 0 if spec.unused == "last" else last - (classes - 1)
    if uses_softmax(last, "boxes" in roles, spec, classes):
        lines = [
            "shares = Softmax <axis = 2> (own_logits)",
            "real = Slice (shares, from_first, to_last, axis_2)",
            "best = ReduceMax <keepdims = 0> (real, axis_2)",
            "pixel_shares = Sigmoid (own_masks)",
            "in_mask = Greater (own_masks, zero)",
            "weights = Cast <to = 1> (in_mask)",
            "weighted = Mul (pixel_shares, weights)",
            "weighted_sum = ReduceSum <keepdims = 0> (weighted, axes_2_3)",
            "weight_sum = ReduceSum <keepdims = 0> (weights, axes_2_3)",
            "some_weight = Add (weight_sum, small)",
            "quality = Div (weighted_sum, some_weight)",
            "cand_scores = Mul (best, quality)",
        ]
    else:
        lines = [
            "shares = Sigmoid (own_logits)",
            "real = Slice (shares, from_class, to_end, axis_2)",
            "cand_scores = ReduceMax <keepdims = 0> (real, axis_2)",
        ]
    return base.GraphPart(
        candidates=[
            *lines,
            "which = ArgMax <axis = 2, keepdims = 0> (real)",
            "cand_classes = Add (which, one_class)",
        ],
        masks=[
            "picked_rows = Unsqueeze (picked, axis_2)",
            "signal = GatherND <batch_dims = 1> (own_masks, picked_rows)",
        ],
        count=roles["logits"].shape[1],
        constants={
            "from_first": np.array([0], np.int64),
            "to_last": np.array([last - 1], np.int64),
            "from_class": np.array([first], np.int64),
            "to_end": np.array([first + classes - 1], np.int64),
            "axis_2": np.array([2], np.int64),
            "axes_2_3": np.array([2, 3], np.int64),
            "small": np.array(_SMALL, np.float32),
            "one_class": np.array(1, np.int64),
        },
    )


def candidates(
    values: Mapping[str, NDArray[Any]], spec: ModelSpec, classes: int
) -> base.Candidates:
    """The same for one frame: ``logits`` ``[Q,C]`` and ``masks`` ``[Q,h,w]``."""
    logits = values["logits"].astype(np.float32)
    masks = values["masks"].astype(np.float32)
    if uses_softmax(logits.shape[1], "boxes" in values, spec, classes):
        powers = np.exp(logits - logits.max(1, keepdims=True))
        shares = (powers / powers.sum(1, keepdims=True))[:, :-1]
        inside = masks > 0
        quality = (base.sigmoid(masks) * inside).sum((1, 2)) / (inside.sum((1, 2)) + _SMALL)
    else:
        real = logits[:, : classes - 1] if spec.unused == "last" else logits[:, -(classes - 1) :]
        shares = base.sigmoid(real)
        quality = np.ones(len(logits))
    return base.Candidates(
        scores=np.asarray(shares.max(1) * quality, np.float32),
        classes=shares.argmax(1) + 1,
        mask=lambda number: masks[number],
    )


def uses_softmax(last: int, has_boxes: bool, spec: ModelSpec, classes: int) -> bool:
    """Whether the last of the class logits means "no object"."""
    if spec.activation:
        return spec.activation == "softmax"
    return last == classes and not has_boxes
