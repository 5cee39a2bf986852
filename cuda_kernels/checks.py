"""Checks of the arguments of the public functions.

    check_side("levels", 300, limit=256)  # ArgumentError

The checks work on NumPy arrays and torch tensors, and import neither package.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from trocar.contract.errors import ArgumentError

MAX_LEVELS = 256
MAX_CLASSES = 64
MODES = ("straight_through", "soft", "hard")

_INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def check_labels(labels: Any) -> None:
    """Accept a label map: ``[B,H,W]`` integers, not empty."""
    _check_array("labels", labels, "[B,H,W]", _INTEGERS)


def check_scores(x: Any) -> None:
    """Accept probabilities or logits: ``[B,C,H,W]`` floats, not empty, up to 64 classes."""
    _check_array("x", x, "[B,C,H,W]", _FLOATS)
    check_side("classes (dimension 1 of x)", x.shape[1], limit=MAX_CLASSES)


def check_side(name: str, side: Any, *, limit: int) -> int:
    """Return the number of levels or classes as an int, from 1 to the limit."""
    try:
        value = operator.index(side)
    except TypeError:
        value = 0
    if not 1 <= value <= limit:
        raise ArgumentError(
            f"the number of {name} is {side!r}, expected a whole number from 1 to {limit}",
            remedy="merge levels before counting: the entropy of a label map only depends on "
            "which labels are equal",
        )
    return value


def check_mode(mode: str) -> None:
    """Accept one of ``MODES``."""
    if mode not in MODES:
        raise ArgumentError(
            f"mode is {mode!r}, expected one of {', '.join(MODES)}",
            remedy="use 'straight_through' to train and 'hard' to log",
        )


def check_valid(x: Any, valid: Any) -> None:
    """Accept None or a mask: ``[B,H,W]`` bool, size and device of the scores."""
    if valid is None:
        return
    if type(valid) is not type(x):
        raise ArgumentError(
            f"x is a {type(x).__name__} and valid a {type(valid).__name__}, expected one kind",
            remedy="convert one of them",
        )
    expected = (x.shape[0], *x.shape[2:])
    if tuple(valid.shape) != expected or _dtype(valid) != "bool":
        raise ArgumentError(
            f"valid is {_dtype(valid)} {list(valid.shape)}, expected bool {list(expected)}",
            remedy="make the mask from the target: valid = target != ignore_index",
        )
    if str(valid.device) != str(x.device):
        raise ArgumentError(
            f"x is on {x.device} and valid on {valid.device}, expected one device",
            remedy="move one with .to(device)",
        )


def check_tensor_cores(x: Any) -> None:
    """Accept scores for ``soft_forward_tensor.cu``: not float64, up to 64 classes."""
    if _dtype(x) == "float64":
        raise ArgumentError(
            "x is float64, and tensor cores round every probability to TF32; expected float32, "
            "float16 or bfloat16",
            remedy="convert it with .float(), or use backend='cuda', which sums in float64",
        )
    if x.shape[1] > MAX_CLASSES:
        raise ArgumentError(
            f"x has {x.shape[1]} classes, the kernel for tensor cores takes at most {MAX_CLASSES}",
            remedy="merge classes before counting",
        )


def check_label_values(labels: Any, levels: int, ignore_index: int | None) -> None:
    """Accept labels ``0..levels-1`` and the ignored one; on a GPU this waits for the device."""
    width = {"uint8": 256, "int8": 128}.get(_dtype(labels), 2**63)
    if levels >= width and _dtype(labels).startswith("u"):
        return
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest >= 0 and highest < levels:
        return
    outside = labels[(labels < 0) | (labels >= levels)]
    if ignore_index is not None:
        outside = outside[outside != ignore_index]
    if len(outside) == 0:
        return
    value = int(outside.max()) if int(outside.max()) >= levels else int(outside.min())
    raise ArgumentError(
        f"a label is {value}, expected 0 to {levels - 1} for {levels} levels",
        remedy=f"raise levels to {value + 1}, or pass ignore_index={value}"
        if value >= levels
        else f"pass ignore_index={value} to leave such pixels out",
    )


def check_finite(found_nan: bool) -> None:
    """Refuse scores if NaN was found among valid pixels."""
    if found_nan:
        raise ArgumentError(
            "x contains NaN, or logits of +inf, at valid pixels",
            remedy="check the step that computed x; the usual cause is too high a learning rate",
        )


def compact_groups(groups: Sequence[int] | None, side: int) -> tuple[int, ...] | None:
    """Number the grey values of the classes 0, 1, 2 ...; None if all are different.

    The entropy depends only on which values are equal, not on the values.
    """
    if groups is None:
        return None
    values = [int(value) for value in groups]
    if len(values) != side:
        raise ArgumentError(
            f"groups has {len(values)} values, expected one for each of {side} classes",
            remedy="give the grey value of every class, in the order of their ids",
        )
    order = {value: number for number, value in enumerate(sorted(set(values)))}
    return None if len(order) == side else tuple(order[value] for value in values)


def _check_array(name: str, array: Any, layout: str, dtypes: tuple[str, ...]) -> None:
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        raise ArgumentError(
            f"{name} is a {type(array).__name__}, expected a NumPy array or torch tensor {layout}",
            remedy="convert it with numpy.asarray or torch.as_tensor",
        )
    rank = layout.count(",") + 1
    if len(array.shape) != rank:
        raise ArgumentError(
            f"{name} has shape {list(array.shape)}, expected {rank} dimensions {layout}",
            remedy=f"add the batch dimension: {name}[None]"
            if len(array.shape) == rank - 1
            else f"arrange it as {layout}",
        )
    if 0 in array.shape:
        raise ArgumentError(
            f"{name} has shape {list(array.shape)}, expected no dimension of size 0",
            remedy="leave empty batches out",
        )
    if _dtype(array) not in dtypes:
        raise ArgumentError(
            f"{name} is {_dtype(array)}, expected one of {', '.join(dtypes)}",
            remedy="convert it, to uint8 if it is a label map, to float32 if it is scores",
        )


def _dtype(array: Any) -> str:
    return str(array.dtype).removeprefix("torch.")
