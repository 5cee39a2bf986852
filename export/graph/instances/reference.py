"""The outputs of an instance model in NumPy and OpenCV: what the graph must return.

outputs = instances_of(values, recognised, spec, classes=4, frame_size=(1080, 1920))
outputs["instances"], outputs["scores"], outputs["count"]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.export.graph.input_spec import ModelSpec
from trocar.export.graph.instances.forms.base import Candidates
from trocar.export.graph.instances.placement import content_of
from trocar.export.graph.instances.recognise import Recognised


def instances_of(
    values: Mapping[str, NDArray[Any]],
    recognised: Recognised,
    spec: ModelSpec,
    *,
    classes: int,
    frame_size: tuple[int, int],
) -> dict[str, NDArray[Any]]:
    """Outputs for one frame, without the batch dimension.

    Args:
        values: The network's outputs for the frame by role, without the batch dimension.
        recognised: What they are.
        spec: Limits and size.
        classes: Rows of the class table.
        frame_size: ``(height, width)`` of the frame.
    """
    found = recognised.form.candidates(values, spec, classes)
    least = np.float32(spec.score)
    ranked = np.argsort(-found.scores, kind="stable")[: spec.max_instances].tolist()
    best = [int(number) for number in ranked if found.scores[number] >= least]
    masks = {number: mask_at_size(found, number, spec, frame_size) for number in best}
    empty = [number for number in best if not masks[number].any()]
    kept = [number for number in best if number not in empty]
    kept.sort(key=lambda number: (-found.scores[number], int(masks[number].argmax())))
    instances = np.zeros((spec.height, spec.width), np.uint8)
    for place in range(len(kept), 0, -1):
        instances[masks[kept[place - 1]]] = place
    most = spec.max_instances
    outputs: dict[str, NDArray[Any]] = {
        "classes": np.zeros(most, np.uint8),
        "scores": np.zeros(most, np.float32),
        "boxes": np.zeros((most, 4), np.float32),
    }
    for place, number in enumerate(kept):
        x, y, w, h = cv2.boundingRect(masks[number].view(np.uint8))
        outputs["classes"][place] = found.classes[number]
        outputs["scores"][place] = found.scores[number]
        outputs["boxes"][place] = (x, y, x + w, y + h)
    class_of = np.concatenate([[0], outputs["classes"]]).astype(np.uint8)
    over = int((found.scores >= least).sum()) - len(empty)
    return {
        "instances": instances,
        "labels": class_of[instances],
        **outputs,
        "count": np.array(over, np.int32),
    }


def mask_at_size(
    found: Candidates, number: int, spec: ModelSpec, frame_size: tuple[int, int]
) -> NDArray[np.bool_]:
    """The mask of a candidate at the size of the map, which covers the frame."""
    size = (spec.width, spec.height)
    signal: NDArray[Any] = np.asarray(cv2.resize(found.mask(number), size), np.float32)
    if found.boxes is not None:
        x0, y0, x1, y1 = found.boxes[number]
        columns, rows = np.arange(spec.width) + 0.5, np.arange(spec.height) + 0.5
        inside = ((columns >= x0) & (columns < x1))[None] & ((rows >= y0) & (rows < y1))[:, None]
        signal = np.where(inside, signal, -np.abs(signal))
    if spec.resize != "stretch":
        top, left, height, width = content_of(frame_size, spec)
        signal = cv2.resize(signal[top : top + height, left : left + width], size)
    return np.asarray(signal > 0)
