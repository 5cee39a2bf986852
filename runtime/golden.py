"""The golden frame: a bundle's own proof that this machine computes what the exporter did.

    replay(backend, manifest, bundle.read("golden.npz"))

It is the warm-up too.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import BundleError, ParityError
from trocar.contract.manifest import Manifest
from trocar.runtime.backends import Backend

_NEEDED = {
    "segmentation": ("frame", "labels", "margin"),
    "classification": ("frame", "scores", "margin"),
}
BF16_MARGIN = 1.0
"""Logits: what bfloat16 arithmetic, with its eight bits, may move in a float32 graph."""

_REMEDY = "run `trocar benchmark` on this bundle, or export it again for this machine"


def replay(
    backend: Backend,
    manifest: Manifest,
    data: bytes,
    *,
    margin: float | None = None,
    batch: int = 1,
) -> None:
    """Runs the golden frame and compares what must be equal.

    Args:
        backend: What will run the frames.
        manifest: Of the bundle; states the margin below which a difference is a near-tie.
        data: ``golden.npz``.
        margin: Another margin, for a backend of less precision than the graph.
        batch: How often the frame is repeated, for an engine that takes no single frame; every
            answer must be right.

    Raises:
        BundleError: ``golden.npz`` does not hold what it must.
        ParityError: A pixel above the margin, or the class of an image, came out different.
    """
    golden = read_golden(data, manifest.task)
    given = backend.infer(np.repeat(golden["frame"][None], batch, axis=0))
    limit = manifest.golden_margin if margin is None else margin
    sure = golden["margin"] > limit
    for index in range(batch):
        if manifest.task == "segmentation":
            _compare_labels(given, golden, sure, backend, index)
        elif bool(sure):
            got, expected = int(given["scores"][index].argmax()), int(golden["scores"].argmax())
            if got != expected:
                raise ParityError(
                    f"{_what(backend)} calls the golden frame class {got}, the exporter {expected}",
                    remedy=_REMEDY,
                )


def golden_margin(manifest: Manifest, precision: str) -> float:
    """The margin for a backend: the manifest's, or bfloat16's where a backend was asked for it."""
    if precision == "bf16" and manifest.precision != "bf16":
        return max(manifest.golden_margin, BF16_MARGIN)
    return manifest.golden_margin


def read_golden(data: bytes, task: str) -> dict[str, NDArray[Any]]:
    """Reads ``golden.npz`` without running anything that it might hold.

    Raises:
        BundleError: It is truncated, or arrays are missing or of the wrong type or shape.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            golden = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"golden.npz cannot be read: {error}", remedy="export the bundle again"
        ) from error
    missing = [name for name in _NEEDED[task] if name not in golden]
    if missing:
        raise BundleError(
            f"golden.npz lacks {', '.join(missing)}", remedy="export the bundle again"
        )
    frame = golden["frame"]
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise BundleError(
            f"the golden frame is {frame.dtype} {list(frame.shape)}, expected uint8 [H, W, 3]",
            remedy="export the bundle again",
        )
    if task == "segmentation" and golden["labels"].shape != golden["margin"].shape:
        raise BundleError(
            "golden.npz holds labels and margins of different sizes",
            remedy="export the bundle again",
        )
    return golden


def _compare_labels(
    given: Mapping[str, NDArray[Any]],
    golden: Mapping[str, NDArray[Any]],
    sure: NDArray[np.bool_],
    backend: Backend,
    index: int,
) -> None:
    labels = given["labels"][index] if "labels" in given else None
    if labels is None or labels.shape != golden["labels"].shape:
        raise ParityError(
            f"{_what(backend)} gives {'no labels' if labels is None else list(labels.shape)} for "
            f"the golden frame, expected labels {list(golden['labels'].shape)}",
            remedy="export the bundle again",
        )
    wrong = int(((labels != golden["labels"]) & sure).sum())
    if wrong:
        raise ParityError(
            f"{_what(backend)} differs from the exporter on {wrong} of {labels.size} pixels of the "
            "golden frame that are no near-ties, expected 0",
            remedy=_REMEDY,
        )


def _what(backend: Backend) -> str:
    return f"{backend.name} on {backend.device} ({backend.precision})"
