"""The golden frame of an instance model: every instance of the exporter must be found again.

    fault = golden_fault(golden, outputs, 0.004)        # empty where all are there

An instance whose score is nearer to the smallest score than the margin is a near-tie and is not
compared. The C++ runtime compares in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import BundleError
from trocar.contract.instances.pairing import overlaps

MIN_IOU = 0.9
"""Smallest IoU of an instance with the exporter's."""

KNOWN_IOU = 0.5
"""Smallest IoU by which an instance is one that the exporter had too."""


def golden_instance_faults(golden: Mapping[str, NDArray[Any]]) -> list[str]:
    """What the arrays are not; the C++ runtime refuses the same."""
    instances, labels = golden["instances"], golden["labels"]
    if any(m.dtype != np.uint8 or m.ndim != 2 for m in (instances, labels)) or (
        instances.shape != labels.shape or instances.size == 0
    ):
        return ["instances and labels of different sizes, or of another type than uint8"]
    scores, margin, classes = golden["scores"], golden["margin"], golden["classes"]
    if scores.dtype.kind != "f" or not np.isfinite(scores).all():
        return ["scores that are not finite numbers"]
    if classes.dtype != np.uint8 or not classes.shape == scores.shape == margin.shape:
        return ["classes, scores and margins of different sizes"]
    if scores.ndim != 1 or int(instances.max()) > len(scores):
        return ["instances without a score"]
    return []


def check_golden_instances(golden: Mapping[str, NDArray[Any]], limit: float) -> None:
    """Refuses a golden frame that proves nothing.

    Raises:
        BundleError: No instance with a pixel has a margin above the limit.
    """
    if not _compared(golden, limit):
        raise BundleError(
            f"the golden frame proves nothing: no instance has a margin above {limit:g}",
            remedy="export again with frames on which the model finds instances",
        )


def golden_fault(
    golden: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]], limit: float
) -> str:
    """What differs from the exporter, in words; empty where nothing does.

    Args:
        golden: Arrays of ``golden.npz``.
        outputs: Outputs for its frame, without the batch dimension.
        limit: Margin of scores.
    """
    if outputs["instances"].shape != golden["instances"].shape:
        return (
            f"instances {list(outputs['instances'].shape)}, expected "
            f"{list(golden['instances'].shape)}"
        )
    _, iou = overlaps(golden["instances"], outputs["instances"])
    for number in _compared(golden, limit):
        other = int(iou[number].argmax())
        if iou[number, other] < MIN_IOU:
            return f"instance {number} has an IoU of {iou[number, other]:.3f}, expected {MIN_IOU}"
        if outputs["classes"][other - 1] != golden["classes"][number - 1]:
            return f"instance {number} has another class"
        difference = abs(float(outputs["scores"][other - 1]) - float(golden["scores"][number - 1]))
        if not difference <= limit:
            return f"the score of instance {number} differs by {difference:.4g}, expected {limit:g}"
    least = float(golden["scores"][0]) - float(golden["margin"][0])
    for other in np.flatnonzero(iou.max(0) < KNOWN_IOU).tolist():
        is_shown = other > 0 and bool((outputs["instances"] == other).any())
        if is_shown and float(outputs["scores"][other - 1]) - least > limit:
            return f"instance {other} is one that the exporter did not have"
    return ""


def _compared(golden: Mapping[str, NDArray[Any]], limit: float) -> list[int]:
    """Numbers of the instances that are compared."""
    pixels = np.bincount(golden["instances"].ravel(), minlength=256)
    margin = golden["margin"]
    return [n for n in range(1, len(margin) + 1) if margin[n - 1] > limit and pixels[n] > 0]
