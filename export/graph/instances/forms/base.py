"""What a form of instance model states: its outputs, its part of the graph, the same in NumPy.

    form.find(shapes, spec, 4)             # {"boxes": Role(…), …}, or None
    part = form.graph(roles, spec, 4)

A form is a module of this folder with the functions of `Form`. The graph and NumPy are written
separately, so a wrong graph shows as a difference in the parity gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trocar.export.graph.input_spec import ModelSpec

Shape: TypeAlias = tuple[int, ...]
"""Shape of an output for one frame, batch first."""

Float: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Role:
    """An output of the network by what it means.

    Attributes:
        output: Its name in the file.
        shape: Its shape for one frame, batch first.
    """

    output: str
    shape: Shape


Roles: TypeAlias = Mapping[str, Role]
"""Outputs by the name of their meaning, in a fixed order."""


@dataclass(frozen=True, kw_only=True)
class GraphPart:
    """Nodes of a form as ONNX text.

    Attributes:
        candidates: From the outputs, named by their roles, to ``cand_scores`` ``[N,Q]`` float32
            and ``cand_classes`` ``[N,Q]`` int64 rows of the class table.
        masks: From ``picked`` ``[N,M]``, the numbers of the best candidates, to ``signal``
            ``[N,M,h,w]`` float32, above 0 inside of a mask.
        crop: Whether ``masks`` makes ``crop`` ``[N,M,4]`` too: boxes x0, y0, x1, y1 in pixels of
            the network's input, outside of which a mask has no pixel.
        count: Number of candidates; 0 where it differs from frame to frame. ``masks`` must then
            take the number Q too, which is no candidate.
        constants: Constant tensors by name.
    """

    candidates: Sequence[str]
    masks: Sequence[str]
    count: int
    crop: bool = False
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Candidates of one frame, in NumPy.

    Attributes:
        scores: ``[Q]`` float32; below 0 for those that were suppressed.
        classes: ``[Q]`` rows of the class table.
        mask: From the number of a candidate to its mask ``[h,w]``, above 0 inside.
        boxes: ``[Q,4]`` in pixels of the network's input, outside of which a mask has no pixel;
            ``None`` for no limit.
    """

    scores: Float
    classes: NDArray[np.int64]
    mask: Callable[[int], Float]
    boxes: Float | None = None


class Form(Protocol):
    """A form of instance model.

    Attributes:
        __doc__: Its first line says for people what it is.
    """

    def find(
        self, shapes: Mapping[str, Shape], spec: ModelSpec, classes: int
    ) -> dict[str, Role] | None:
        """The outputs by their roles; ``None`` where a file is of another form."""
        ...

    def graph(self, roles: Roles, spec: ModelSpec, classes: int) -> GraphPart:
        """Its part of the graph."""
        ...

    def candidates(
        self, values: Mapping[str, NDArray[Any]], spec: ModelSpec, classes: int
    ) -> Candidates:
        """The same for one frame, without the batch dimension, in NumPy."""
        ...


def of_rank(shapes: Mapping[str, Shape], rank: int) -> list[str]:
    """Names of the outputs with so many dimensions, the batch included."""
    return [name for name, shape in shapes.items() if len(shape) == rank]


def named(names: Sequence[str], *parts: str) -> list[str]:
    """Those names that contain one of the parts, in small letters.

    >>> named(["pred_boxes", "pred_logits"], "box", "dets")
    ['pred_boxes']
    """
    return [name for name in names if any(part in name.lower() for part in parts)]


def may_be_cropped(shape: Shape) -> bool:
    """Whether masks of this shape can be those inside of boxes: square, 7 to 112 pixels."""
    return shape[-1] == shape[-2] and 7 <= shape[-1] <= 112


def is_cropped(shape: Shape, spec: ModelSpec) -> bool:
    """Whether masks of this shape are inside of boxes, and not over the whole image.

    >>> is_cropped((1, 100, 28, 28), ModelSpec(height=640, width=640))
    True
    >>> is_cropped((1, 100, 80, 80), ModelSpec(height=640, width=640))
    False
    """
    return may_be_cropped(shape) and mask_stride(shape, spec) is None


def mask_stride(shape: Shape, spec: ModelSpec) -> int | None:
    """Pixels of the input to one pixel of masks ``[...,h,w]``; ``None`` where they do not fit."""
    height, width = shape[-2:]
    for stride in (1, 2, 4, 8, 16, 32):
        if (-(-spec.height // stride), -(-spec.width // stride)) == (height, width):
            return stride
    return None


def sigmoid(values: NDArray[Any]) -> Float:
    """``1 / (1 + exp(-x))`` in float32, without overflow."""
    x = np.asarray(values, np.float32)
    power = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + power), power / (1 + power)), np.float32)
