"""Measurements that are stored in a bundle: effect of the fast resize, speed, versions.

fast_resize_drift(model, frames, manifest)["equal"]     # fraction of labels that stay equal
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from importlib import metadata

import cv2
import numpy as np

from trocar.contract.manifest import Manifest
from trocar.export.parity.types import Frame, GateFrame, Infer

TIMED_RUNS = 3


def fast_resize_drift(
    model: Infer, frames: Sequence[GateFrame], manifest: Manifest
) -> dict[str, float]:
    """How labels change when OpenCV resizes the frame before the graph does.

    Returns:
        ``equal`` and ``least``: mean and smallest fraction of equal labels, 0..1; ``frames``: the
        number of frames, 4 at most.
    """
    size = (manifest.input.width, manifest.input.height)
    equal: list[float] = []
    for frame in frames[:4]:
        small = cv2.resize(frame.image, size, interpolation=cv2.INTER_LINEAR)
        key = "labels" if manifest.makes_labels else "scores"
        in_graph, outside = (
            model(np.asarray(image, np.uint8)[None])[key][0] for image in (frame.image, small)
        )
        if key == "scores":
            in_graph, outside = np.asarray(in_graph.argmax()), np.asarray(outside.argmax())
        equal.append(float(np.mean(in_graph == outside)))
    return {"equal": float(np.mean(equal)), "least": min(equal), "frames": len(equal)}


def median_milliseconds(model: Infer, frame: Frame) -> float:
    """Median time of three runs of one ``[H,W,3]`` frame, after one run that does not count."""
    times = []
    for _ in range(TIMED_RUNS + 1):
        start = time.perf_counter()
        model(frame[None])
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times[1:]))


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that took part in the export, by name."""
    versions = {"python": platform.python_version()}
    for name in ("torch", "onnx", "onnxruntime-gpu", "onnxruntime", "tensorrt_rtx", "tensorrt"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
