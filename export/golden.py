"""The golden frame: every runtime replays it when it opens a bundle.

frame = golden_frame(report, frames)
data = golden_npz(frame, model, with_logits, task="segmentation")     # bytes of golden.npz
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ParityError
from trocar.contract.integrity.guard import MIN_COMPARED
from trocar.contract.manifest import Manifest
from trocar.export.parity.types import Frame, GateFrame, Infer, Output, ParityReport

MAX_SIDE = 960
"""Longest side of a golden frame in pixels."""


def golden_frame(report: ParityReport, frames: Sequence[GateFrame]) -> Frame:
    """The first frame with the most instances or predicted classes, resized to `MAX_SIDE` at most.

    Returns:
        ``[H,W,3]`` uint8 RGB.
    """
    classes = {
        str(row["name"]): (int(row.get("pairs", 0)), len(row["classes"])) for row in report.frames
    }
    chosen = max(frames, key=lambda frame: classes.get(frame.name, (0, 0))).image
    height, width = chosen.shape[:2]
    longest = max(height, width)
    if longest <= MAX_SIDE:
        return np.ascontiguousarray(chosen)
    scale = MAX_SIDE / longest
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(chosen, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small, np.uint8)


def least_score(manifest: Manifest) -> float:
    """Smallest score of an instance model's instances; 0 for other models."""
    return float(manifest.extra.get("instances", {}).get("score", 0.0))


def golden_npz(
    frame: Frame,
    model: Infer,
    with_logits: Infer,
    *,
    task: str,
    golden_margin: float = 0.0,
    lowest: float = 0.0,
) -> bytes:
    """Bytes of ``golden.npz``: the frame, the model's outputs and the top-1/top-2 margins.

    Args:
        frame: ``[H,W,3]`` uint8 RGB.
        model: The model of the bundle.
        with_logits: The same with a ``logits`` output (for classifiers the model itself).
        task: ``segmentation``, ``classification`` or ``instances``.
        golden_margin: Logit margin above which pixels (or classes) are compared; for instances the
            distance of a score from the smallest one.
        lowest: Smallest score of an instance.

    Raises:
        ParityError: Too little of the frame lies above the margin; a runtime would refuse it.
    """
    outputs = {name: value[0] for name, value in model(frame[None]).items()}
    arrays: dict[str, Output] = {"frame": frame}
    if task == "segmentation":
        arrays["labels"] = outputs["labels"].astype(np.uint8)
        arrays["margin"] = _margin(with_logits(frame[None])["logits"][0])
        arrays["confidence"] = outputs["confidence"]
    elif task == "instances":
        arrays |= _instances(outputs, lowest)
    else:
        arrays |= {name: value.astype(np.float32) for name, value in outputs.items()}
        arrays["margin"] = _margin(outputs["scores"])
    _check_proof(arrays, task, golden_margin)
    buffer = io.BytesIO()
    # Little-endian, C order, uncompressed: C++ reads it without a library.
    np.savez(
        buffer,
        allow_pickle=False,
        **{name: _little_endian(array) for name, array in arrays.items()},
    )
    return buffer.getvalue()


def _check_proof(arrays: Mapping[str, Output], task: str, limit: float) -> None:
    if task == "segmentation":
        share = float((arrays["margin"] > limit).mean())
        found, enough = f"{share:.1%} of its pixels are", share >= MIN_COMPARED
    elif task == "instances":
        shown = np.bincount(arrays["instances"].ravel(), minlength=256)[1:][: len(arrays["margin"])]
        found = "no instance is"
        enough = bool(((arrays["margin"] > limit) & (shown > 0)).any())
    else:
        scores = arrays["scores"]
        found, enough = "no class is", bool(scores.max() - scores.min() > limit)
    if not enough:
        what = "smallest score, expected one" if task == "instances" else "logits, expected"
        least = "" if task == "instances" else f" {MIN_COMPARED:.0%}"
        raise ParityError(
            f"the golden frame would prove too little: {found} above the margin of {limit:g} "
            f"{what}{least}",
            remedy="train longer, or export at a higher precision",
        )


def _instances(outputs: Mapping[str, Output], least_score: float) -> dict[str, Output]:
    """The map, and classes, scores and margins of the instances that there are."""
    scores = outputs["scores"].astype(np.float32)
    count = int((scores > 0).sum())
    return {
        "instances": outputs["instances"].astype(np.uint8),
        "labels": outputs["labels"].astype(np.uint8),
        "classes": outputs["classes"][:count].astype(np.uint8),
        "scores": scores[:count],
        "margin": (scores[:count] - np.float32(least_score)).astype(np.float32),
    }


def _margin(logits: Output) -> NDArray[np.float32]:
    """Best minus second-best along the first axis."""
    values = np.asarray(logits, np.float32)
    if len(values) < 2:
        return np.zeros(values.shape[1:], np.float32)
    top = np.partition(values, -2, axis=0)[-2:]
    return np.asarray(top[1] - top[0], np.float32)


def _little_endian(array: Output) -> Output:
    return np.array(array, dtype=array.dtype.newbyteorder("<"), order="C")
