"""What an output of an external model means: logits, probabilities or labels, and their layout.

form = classify_output(value, classes=3, task="segmentation", name="y", ops=("Softmax",))
logits = logits_of(value, form, classes=3)               # [N,K,h,w] float32
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError

Kind: TypeAlias = Literal["logits", "probabilities", "one_logit", "one_probability", "labels"]

MIN_PROBABILITY = 1e-6
"""Smaller probabilities count as this one, so that their logarithm is finite in float16 too."""

LABEL_LOGIT = 20.0
"""Logit of the class of a label map; the others are 0, so the confidence is 1."""

SIGMOIDS = ("Sigmoid", "HardSigmoid")
LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "BatchNormalization")
"""Operators whose values are logits, also where all of them happen to be in 0..1."""


@dataclass(frozen=True, kw_only=True)
class OutputForm:
    """What an output means.

    Attributes:
        kind: ``one_logit`` and ``one_probability`` are one channel for the second of two classes.
        channels_last: Whether the classes are the last dimension, not the second.
    """

    kind: Kind = "logits"
    channels_last: bool = False


def classify_output(
    value: NDArray[Any], *, classes: int, task: str, name: str, ops: Collection[str] = ()
) -> OutputForm:
    """Tells what an output means, from its type, shape and values.

    Args:
        value: The output for some images, ``[N,...]``.
        classes: Rows of the class table.
        task: ``segmentation`` or ``classification``.
        name: The output, for errors, e.g. ``theirs.onnx: output y``.
        ops: ONNX operators that make the output's values.

    Raises:
        ArgumentError: It fits the class table in no way, or in two.
    """
    shape = value.shape
    is_label_type = np.issubdtype(value.dtype, np.integer) or value.dtype == bool
    if task == "segmentation" and (is_label_type or "ArgMax" in ops):
        return _label_map(value, classes, name)
    if is_label_type or not np.issubdtype(value.dtype, np.floating):
        raise ArgumentError(
            f"{name} is {value.dtype} {list(shape)}, expected floating-point scores of "
            f"{classes} classes",
            remedy="export the network without its arg-max, so that it returns the scores",
        )
    channels_last = _channels_last(shape, classes, task, name)
    channels = _channels(shape, channels_last)
    if not np.isfinite(value).all():
        raise ArgumentError(
            f"{name} has values that are not finite on real frames",
            remedy="correct mean, std and normalise in the input spec, or export in float32",
        )
    return OutputForm(kind=_kind(value, channels, channels_last, ops), channels_last=channels_last)


def logits_of(value: NDArray[Any], form: OutputForm, *, classes: int) -> NDArray[np.float32]:
    """Logits ``[N,K,h,w]``, or scores ``[N,K]``, whose softmax is what the output states."""
    if form.kind == "labels":
        labels = label_planes(value)
        hot = labels[:, None] == np.arange(classes).reshape(1, classes, 1, 1)
        certain: NDArray[np.float32] = hot.astype(np.float32) * np.float32(LABEL_LOGIT)
        return certain
    scores: NDArray[np.float32] = value.astype(np.float32)
    if form.channels_last:
        scores = np.moveaxis(scores, -1, 1)
    if form.kind == "one_logit":
        return np.concatenate([np.zeros_like(scores), scores], 1)
    if form.kind == "one_probability":
        scores = np.concatenate([1 - scores, scores], 1)
    if form.kind in ("probabilities", "one_probability"):
        scores = np.log(np.clip(scores, MIN_PROBABILITY, 1), dtype=np.float32)
    return scores


def label_planes(value: NDArray[Any]) -> NDArray[np.int64]:
    """A label map ``[N,1,h,w]``, ``[N,h,w,1]`` or ``[N,h,w]`` as ``[N,h,w]``."""
    if value.ndim == 4:
        value = value[:, 0] if value.shape[1] == 1 else value[..., 0]
    return value.astype(np.int64)


def _label_map(value: NDArray[Any], classes: int, name: str) -> OutputForm:
    shape = value.shape
    if len(shape) != 3 and not (len(shape) == 4 and 1 in (shape[1], shape[3])):
        raise ArgumentError(
            f"{name} is {value.dtype} {list(shape)}, expected a label map [N, h, w] or logits "
            f"[N, {classes}, h, w]",
            remedy="export the network without its arg-max, so that it returns the logits",
        )
    largest, smallest = int(value.max()), int(value.min())
    if largest >= classes or smallest < 0:
        raise ArgumentError(
            f"{name} is a label map with labels {smallest}..{largest}; the class table has "
            f"{classes} classes, 0..{classes - 1}",
            remedy="give the class table that the network was trained with",
        )
    return OutputForm(kind="labels", channels_last=len(shape) == 4 and shape[1] != 1)


def _channels(shape: tuple[int, ...], channels_last: bool) -> int:
    return shape[-1] if channels_last else shape[1]


def _channels_last(shape: tuple[int, ...], classes: int, task: str, name: str) -> bool:
    """Whether the classes are the last dimension; refuses shapes that do not fit the table."""
    fitting = (classes, 1) if classes == 2 else (classes,)
    rank = 4 if task == "segmentation" else 2
    if len(shape) == rank and rank == 2 and shape[1] in fitting:
        return False
    if len(shape) == rank and rank == 4:
        first, last = shape[1] in fitting, shape[3] in fitting
        if first and last:
            raise ArgumentError(
                f"{name} has shape {list(shape)}: both the second and the last dimension could be "
                f"the {classes} classes",
                remedy=f"export it as [N, {classes}, h, w] with h and w larger than {classes}",
            )
        if first or last:
            return last
    wanted = f"[N, {classes}, h, w]" if rank == 4 else f"[N, {classes}]"
    if len(shape) != rank:
        raise ArgumentError(
            f"{name} has shape {list(shape)}, expected {wanted}",
            remedy="name another output in the input spec, or correct its task",
        )
    hint = " (one channel stands for two classes only)" if shape[1] == 1 else ""
    raise ArgumentError(
        f"{name} has {shape[1]} channels (shape {list(shape)}); the class table has "
        f"{classes} classes{hint}",
        remedy="give the class table that the network was trained with",
    )


def _kind(value: NDArray[Any], channels: int, channels_last: bool, ops: Collection[str]) -> Kind:
    in_unit_range = value.min() >= -1e-3 and value.max() <= 1 + 1e-3
    if any(op in LINEAR for op in ops):
        return "one_logit" if channels == 1 else "logits"
    if channels == 1:
        return "one_probability" if in_unit_range else "one_logit"
    axis = -1 if channels_last else 1
    sums = value.astype(np.float64).sum(axis)
    if in_unit_range and (np.abs(sums - 1).max() < 0.02 or any(op in SIGMOIDS for op in ops)):
        return "probabilities"
    return "logits"
