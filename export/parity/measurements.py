"""Small measurements that travel with a bundle: what a fast resize changes, speed, versions.

fast_resize(model, frames, manifest)        # share of labels that stay
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import cv2
import numpy as np

from trocar.contract.manifest import Manifest
from trocar.export.parity.types import Frame, GateFrame, Infer

TIMED_RUNS = 3


def fast_resize(model: Infer, frames: Sequence[GateFrame], manifest: Manifest) -> dict[str, Any]:
    """Share of labels that stay when OpenCV shrinks the frame before the graph does."""
    size = (manifest.input.width, manifest.input.height)
    equal: list[float] = []
    for frame in frames[:4]:
        small = cv2.resize(frame.image, size, interpolation=cv2.INTER_LINEAR)
        key = "labels" if manifest.task == "segmentation" else "scores"
        whole, fast = (model(np.asarray(image)[None])[key][0] for image in (frame.image, small))
        if key == "scores":
            whole, fast = whole.argmax(), fast.argmax()
        equal.append(float(np.mean(whole == fast)))
    return {"equal": float(np.mean(equal)), "least": min(equal), "frames": len(equal)}


def milliseconds(model: Infer, frame: Frame) -> float:
    """Median of three runs of one frame after one that does not count."""
    times = []
    for _ in range(TIMED_RUNS + 1):
        start = time.perf_counter()
        model(frame[None])
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times[1:]))


def versions() -> dict[str, str]:
    """Versions of what took part in the export."""
    found = {"python": platform.python_version()}
    for name in ("torch", "onnx", "onnxruntime-gpu", "onnxruntime", "tensorrt_rtx", "tensorrt"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
