"""The golden frame: verifies that this machine computes what the exporter computed.

    replay(backend, manifest, bundle.read("golden.npz"))

The replay is also the warm-up.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import BundleError, ParityError
from trocar.contract.manifest import Manifest
from trocar.runtime.backends import Backend

_REQUIRED = {
    "segmentation": ("frame", "labels", "margin"),
    "classification": ("frame", "scores", "margin"),
}
BF16_MARGIN = 1.0
"""Margin in logits that bfloat16 arithmetic (8 bits of precision) needs in a float32 graph."""

_UNREADABLE = (
    ValueError, KeyError, TypeError, OSError, EOFError, OverflowError, MemoryError, RuntimeError,
    SyntaxError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_REMEDY = "run `trocar benchmark` on this bundle, or export it again for this machine"


def replay(
    backend: Backend,
    manifest: Manifest,
    data: bytes,
    *,
    margin: float | None = None,
    batch: int = 1,
) -> None:
    """Runs the golden frame and compares its labels or its class with the exporter's.

    Args:
        backend: The backend to verify.
        manifest: The bundle's; states the logit margin up to which a difference is a near-tie.
        data: ``golden.npz``.
        margin: Margin in logits instead of the manifest's, for a backend of lower precision.
        batch: How often the frame is repeated in the batch, for an engine whose smallest batch is
            above 1. Every result is compared.

    Raises:
        BundleError: ``golden.npz`` lacks an array.
        ParityError: A pixel above the margin, or the class of an image, differs.
    """
    golden = read_golden(data, manifest.task)
    outputs = backend.infer(np.repeat(golden["frame"][None], batch, axis=0))
    limit = manifest.golden_margin if margin is None else margin
    is_compared = golden["margin"] > limit
    for index in range(batch):
        if manifest.task == "segmentation":
            _compare_labels(outputs, golden, is_compared, backend, index)
        elif bool(is_compared):
            got, expected = int(outputs["scores"][index].argmax()), int(golden["scores"].argmax())
            if got != expected:
                raise ParityError(
                    f"{_described(backend)} gives the golden frame class {got}, the exporter class "
                    f"{expected}",
                    remedy=_REMEDY,
                )


def golden_margin(manifest: Manifest, precision: str) -> float:
    """The margin for a backend: the manifest's, or at least bfloat16's in bfloat16 arithmetic."""
    if precision == "bf16" and manifest.precision != "bf16":
        return max(manifest.golden_margin, BF16_MARGIN)
    return manifest.golden_margin


def read_golden(data: bytes, task: str) -> dict[str, NDArray[Any]]:
    """Reads ``golden.npz``; pickled objects in it are refused, not executed.

    Raises:
        BundleError: It is truncated, or arrays are missing or of the wrong type or shape.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            golden = {name: file[name] for name in file.files}
    except _UNREADABLE as error:
        raise BundleError(
            f"golden.npz cannot be read: {error}", remedy="export the bundle again"
        ) from error
    missing = [name for name in _REQUIRED[task] if name not in golden]
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
    outputs: Mapping[str, NDArray[Any]],
    golden: Mapping[str, NDArray[Any]],
    is_compared: NDArray[np.bool_],
    backend: Backend,
    index: int,
) -> None:
    labels = outputs["labels"][index] if "labels" in outputs else None
    if labels is None or labels.shape != golden["labels"].shape:
        raise ParityError(
            f"{_described(backend)} returned "
            f"{'no labels' if labels is None else f'labels {list(labels.shape)}'} for the golden "
            f"frame, expected labels {list(golden['labels'].shape)}",
            remedy="export the bundle again",
        )
    mismatches = int(((labels != golden["labels"]) & is_compared).sum())
    if mismatches:
        raise ParityError(
            f"{_described(backend)} differs from the exporter on {mismatches} of {labels.size} "
            "pixels of the golden frame that are not near-ties, expected 0",
            remedy=_REMEDY,
        )


def _described(backend: Backend) -> str:
    return f"{backend.name} on {backend.device} ({backend.precision})"
