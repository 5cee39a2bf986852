"""The golden frame: what every runtime replays on opening a bundle.

frame = golden_frame(report, frames)
data = golden_npz(frame, model, twin, task="segmentation")     # bytes of golden.npz
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.export.parity.types import Frame, GateFrame, Infer, ParityReport

LONGEST_SIDE = 960


def golden_frame(report: ParityReport, frames: Sequence[GateFrame]) -> Frame:
    """The frame with most classes, the first of equals: ``[H,W,3]`` uint8, 960 pixels at most."""
    classes = {str(row["name"]): len(row["classes"]) for row in report.frames}
    best = max(frames, key=lambda frame: classes.get(frame.name, 0))
    height, width = best.image.shape[:2]
    longest = max(height, width)
    if longest <= LONGEST_SIDE:
        return np.ascontiguousarray(best.image)
    scale = LONGEST_SIDE / longest
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(best.image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small, np.uint8)


def golden_npz(frame: Frame, model: Infer, twin: Infer, *, task: str) -> bytes:
    """Bytes of ``golden.npz``: the frame, the model's outputs and the top-1/top-2 margins.

    Args:
        frame: ``[H,W,3]`` uint8.
        model: The model of the bundle.
        twin: The same with ``logits`` (for classifiers the model itself).
        task: ``segmentation`` or ``classification``.
    """
    answer = {name: value[0] for name, value in model(frame[None]).items()}
    if task == "segmentation":
        arrays = {
            "labels": answer["labels"].astype(np.uint8),
            "margin": _margin(twin(frame[None])["logits"][0]),
            "confidence": answer["confidence"],
        }
    else:
        arrays = {name: value.astype(np.float32) for name, value in answer.items()}
        arrays["margin"] = _margin(answer["scores"])
    buffer = io.BytesIO()
    everything: dict[str, Any] = {"frame": frame, **arrays}
    # Little-endian, C order, uncompressed: C++ reads it without a library.
    np.savez(buffer, allow_pickle=False, **{n: _plain(array) for n, array in everything.items()})
    return buffer.getvalue()


def _margin(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Best minus second-best along the first axis."""
    values = np.asarray(logits, np.float32)
    if len(values) < 2:
        return np.zeros(values.shape[1:], np.float32)
    top = np.partition(values, -2, axis=0)[-2:]
    return np.asarray(top[1] - top[0], np.float32)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    return np.array(array, dtype=array.dtype.newbyteorder("<"), order="C")
