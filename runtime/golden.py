"""The golden frame: verifies that this machine computes what the exporter computed.

    replay(backend, manifest, bundle.read("golden.npz"))

The replay is also the warm-up.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import BundleError, ParityError
from trocar.contract.integrity.guard import MIN_COMPARED
from trocar.contract.manifest import MAX_NETWORK_SIDE, Manifest
from trocar.runtime.backends import Backend
from trocar.runtime.instances.golden import (
    check_golden_instances,
    golden_fault,
    golden_instance_faults,
)
from trocar.runtime.instances.outputs import check_instance_outputs

_REQUIRED = {
    "segmentation": ("frame", "labels", "margin"),
    "classification": ("frame", "scores", "margin"),
    "instances": ("frame", "instances", "labels", "classes", "scores", "margin"),
}
MAX_SIDE = 32768
"""Longest side of a golden frame in pixels."""

BF16_MARGIN = 1.0
"""Margin in logits that bfloat16 arithmetic (8 bits of precision) needs in a float32 graph."""

TF32_MARGIN = BF16_MARGIN / 8
"""Margin in logits that TF32 arithmetic (11 bits of precision) needs in a float32 graph."""

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
    infer: Callable[[NDArray[Any]], Mapping[str, NDArray[Any]]] | None = None,
) -> None:
    """Runs the golden frame and compares its labels or its class with the exporter's.

    Args:
        backend: The backend to verify.
        manifest: The bundle's; states the logit margin up to which a difference is a near-tie.
        data: ``golden.npz``.
        margin: Margin in logits instead of the manifest's, for a backend of lower precision.
        batch: How often the frame is repeated in the batch, for an engine whose smallest batch is
            above 1. Every result is compared.
        infer: Runs the golden frame instead of the backend's ``infer``.

    Raises:
        BundleError: ``golden.npz`` lacks an array, its labels are not in the class table, or it
            compares fewer than `MIN_COMPARED` of its pixels.
        ParityError: A pixel above the margin, or the class of an image, differs.
    """
    golden = read_golden(data, manifest.task)
    limit = manifest.golden_margin if margin is None else margin
    if manifest.task == "segmentation":
        is_compared = golden["margin"] > limit
        _check_share(is_compared, limit)
        _check_labels(golden["labels"], manifest, source="golden.npz")
    if manifest.task == "instances":
        check_golden_instances(golden, limit)
        _check_labels(golden["labels"], manifest, source="golden.npz")
    run = backend.infer if infer is None else infer
    outputs = run(np.repeat(golden["frame"][None], batch, axis=0))
    check_shapes(outputs, manifest.task, source=_described(backend))
    if manifest.task == "segmentation":
        for index in range(batch):
            _compare_labels(outputs, golden, is_compared, backend, index)
        _check_labels(outputs["labels"], manifest, source=_described(backend))
        return
    if manifest.task == "instances":
        for index in range(batch):
            one = {name: value[index] for name, value in outputs.items()}
            fault = golden_fault(golden, one, limit)
            if fault:
                raise ParityError(
                    f"{_described(backend)} differs from the exporter on the golden frame: {fault}",
                    remedy=_REMEDY,
                )
        _check_labels(outputs["labels"], manifest, source=_described(backend))
        return
    scores = golden["scores"]
    if not float(scores.max()) - float(scores.min()) > limit:
        raise BundleError(
            f"the golden image proves nothing: no two of its scores differ by more than {limit:g}",
            remedy="train longer and export again, or export at a higher precision",
        )
    for index in range(batch):
        _compare_scores(outputs["scores"][index], golden["scores"], limit, backend)


def check_outputs(outputs: Mapping[str, NDArray[Any]], manifest: Manifest, *, source: str) -> None:
    """Refuses a model whose outputs do not fit the class table.

    Args:
        outputs: The graph's outputs by name, batch first.
        manifest: The model's.
        source: Name used in error messages.

    Raises:
        BundleError: A label is not in the table, or there are more or fewer scores than classes.
    """
    check_shapes(outputs, manifest.task, source=source)
    if manifest.makes_labels:
        _check_labels(outputs["labels"], manifest, source=source)
        return
    scores = outputs["scores"]
    if scores.shape[1] != len(manifest.classes):
        raise BundleError(
            f"{source} returns scores {list(scores.shape)}, but the class table has "
            f"{len(manifest.classes)} classes",
            remedy="export the bundle again",
        )


def check_shapes(outputs: Mapping[str, NDArray[Any]], task: str, *, source: str) -> None:
    """Refuses outputs that are not ``labels [N, h, w]`` uint8, or ``scores [N, K]``.

    Raises:
        BundleError: The main output is missing, or is of another type or shape; or the second one
            does not fit it.
    """
    if task == "instances":
        check_instance_outputs(outputs, source=source)
        return
    name, other = ("labels", "confidence") if task == "segmentation" else ("scores", "embedding")
    main = outputs.get(name)
    if main is None:
        raise BundleError(f"{source} returned no {name}", remedy="export the bundle again")
    rank = 3 if task == "segmentation" else 2
    is_byte = main.dtype == np.uint8
    fits = main.ndim == rank and main.size > 0 and is_byte == (task == "segmentation")
    if task == "segmentation":
        fits = fits and max(main.shape[1:]) <= MAX_NETWORK_SIDE
    if not fits:
        raise BundleError(
            f"{source} returned {name} {main.dtype} {list(main.shape)}, of the wrong type or shape",
            remedy="export the bundle again",
        )
    second = outputs.get(other)
    if second is None:
        return
    if task == "segmentation":
        fits = second.shape == main.shape
    else:
        fits = second.ndim == 2 and second.dtype != np.uint8
    if not fits:
        raise BundleError(
            f"{source} returned {other} {second.dtype} {list(second.shape)}, which does not fit "
            f"{name} {list(main.shape)}",
            remedy="export the bundle again",
        )


def golden_margin(manifest: Manifest, precision: str) -> float:
    """The margin for a backend: the manifest's, or at least that of a lower precision in use."""
    if precision == manifest.precision:
        return manifest.golden_margin
    least = {"bf16": BF16_MARGIN, "tf32": TF32_MARGIN}.get(precision, 0.0)
    return max(manifest.golden_margin, least)


def read_golden(data: bytes, task: str) -> dict[str, NDArray[Any]]:
    """Reads ``golden.npz``; pickled objects in it are refused, not executed.

    Raises:
        BundleError: It is truncated, or arrays are missing or of the wrong type or shape.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it is compressed")
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
    if max(frame.shape) > MAX_SIDE:
        raise BundleError(
            f"the golden frame is {list(frame.shape)}, expected sides of at most {MAX_SIDE}",
            remedy="export the bundle again",
        )
    faults = _array_faults(golden, task)
    if faults:
        raise BundleError(
            f"golden.npz contains {'; '.join(faults)}", remedy="export the bundle again"
        )
    return golden


def _array_faults(golden: Mapping[str, NDArray[Any]], task: str) -> list[str]:
    """What the arrays are not; the C++ runtime refuses the same."""
    margin = golden["margin"]
    if margin.dtype.kind != "f":
        return ["margins that are not numbers"]
    if not np.isfinite(margin).all():
        return ["margins that are not finite"]
    if task == "instances":
        return golden_instance_faults(golden)
    if task == "segmentation":
        labels = golden["labels"]
        if labels.dtype != np.uint8 or labels.shape != margin.shape or labels.size == 0:
            return ["labels and margins of different sizes, or labels that are not uint8"]
        return []
    scores = golden["scores"]
    if scores.dtype.kind != "f" or scores.size == 0 or margin.size != 1:
        return ["scores that are not numbers"]
    return [] if np.isfinite(scores).all() else ["scores that are not finite"]


def _check_share(is_compared: NDArray[np.bool_], limit: float) -> None:
    """Refuses a golden frame that proves too little."""
    count, share = int(is_compared.sum()), float(is_compared.mean())
    if share < MIN_COMPARED:
        raise BundleError(
            f"the golden frame proves too little: {count} of {is_compared.size} pixels have a "
            f"margin above {limit:g}, expected at least {MIN_COMPARED:.0%}",
            remedy="train longer and export again, or export at a higher precision",
        )


def _check_labels(labels: NDArray[Any], manifest: Manifest, *, source: str) -> None:
    highest = int(labels.max(initial=0))
    if highest >= len(manifest.classes):
        raise BundleError(
            f"{source} has label {highest}, but the class table ends at "
            f"{len(manifest.classes) - 1}",
            remedy="export the bundle again with the class table of the training",
        )


def _compare_scores(
    scores: NDArray[Any], expected: NDArray[Any], limit: float, backend: Backend
) -> None:
    """Refuses a class whose score at export was more than the margin below the best one."""
    if len(scores) != len(expected):
        raise ParityError(
            f"{_described(backend)} returned {len(scores)} scores for the golden frame, expected "
            f"{len(expected)}",
            remedy="export the bundle again",
        )
    got, best = int(scores.argmax()), int(expected.argmax())
    if float(expected[best]) - float(expected[got]) > limit:
        raise ParityError(
            f"{_described(backend)} gives the golden frame class {got}, the exporter class {best}",
            remedy=_REMEDY,
        )


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
