"""What goes to the kernels of location and what comes back: lookup tables, places, records.

    lookup = class_lookup(groups)
    places = pixel_places((512, 640), (1080, 1920), border=2)

``docs/location.md`` states the numbers; `trocar.runtime.locate` computes the same ones on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError

REGIONS, BORDERS, SHAFTS = range(3)
"""Planes of the table: regions, the parts of their border, their shafts."""

SHAFT, TIP, ELSE_TIP = 1, 2, 4
"""Kinds of a class."""

_GROUP_BITS = 16

FIELDS = (
    *("root", "plane", "key", "region", "pixels", "x", "y", "xx", "xy", "yy"),
    *("left", "right", "bottom", "confidence", "border_pixels", "deepest"),
)
"""Columns of a record, as in ``kernels/location.cuh``."""

RECORD = np.dtype([(name, np.int64) for name in FIELDS])
"""One component.

``root`` is its first pixel, ``row * width + column``; ``region`` the root of its region; ``key``
the group's number from 1, or a part's; ``x`` to ``yy`` sums over its pixels; ``left``, ``right``
and ``bottom`` its first and last columns and its last row; ``confidence`` a sum, of
float values in units of 2⁻²⁴; ``border_pixels`` those on the border of the view; ``deepest`` the
largest depth of a pixel, see `depth_of`. Borders have no sums of products, columns, confidence,
border pixels and depth; shafts have none of these but border pixels.
"""


class GroupClasses(Protocol):
    """Class ids of one kind of instrument: of all its parts, and of parts with a meaning."""

    @property
    def ids(self) -> tuple[int, ...]:
        """All of them."""
        ...

    @property
    def shaft_ids(self) -> tuple[int, ...]:
        """Shafts."""
        ...

    @property
    def tip_ids(self) -> tuple[int, ...]:
        """Parts that end in a tip."""
        ...

    @property
    def else_tip_ids(self) -> tuple[int, ...]:
        """Parts that end in a tip where no tip part is seen."""
        ...


class Circle(Protocol):
    """The field of view, in frame pixels."""

    @property
    def x(self) -> float:
        """Column of the centre."""
        ...

    @property
    def y(self) -> float:
        """Row of the centre."""
        ...

    @property
    def radius(self) -> float:
        """The radius."""
        ...


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the pixels of a label map lie.

    Attributes:
        size: ``(height, width)`` of the label map.
        border: Width of the frame's border in label pixels.
        has_view: Whether there is a field of view.
        numbers: ``[3 * (height + width) + 3]`` float64, as ``places_of`` in the kernels reads them.
    """

    size: tuple[int, int]
    border: int
    has_view: bool
    numbers: NDArray[np.float64] = field(repr=False)


def class_lookup(groups: Sequence[GroupClasses]) -> NDArray[np.int32]:
    """``[256]`` number of each class's group from 1, 0 for none; its kinds are the upper bits."""
    lookup = np.zeros(256, np.int32)
    for number, group in enumerate(groups, start=1):
        for kind, ids in (
            (SHAFT, group.shaft_ids),
            (TIP, group.tip_ids),
            (ELSE_TIP, group.else_tip_ids),
        ):
            for i in ids:
                lookup[i] |= kind << _GROUP_BITS
        for i in group.ids:
            lookup[i] |= number
    return lookup


def pixel_places(
    size: tuple[int, int],
    frame_size: tuple[int, int],
    *,
    border: int,
    view: Circle | None = None,
    view_border: float = 0.0,
) -> Places:
    """Centres, depths and squared distances of columns and rows, in frame pixels.

    Args:
        size: ``(height, width)`` of the label map.
        frame_size: ``(height, width)`` of the frame.
        border: Width of the frame's border in label pixels.
        view: The field of view; ``None`` for the full frame.
        view_border: Width of its border in frame pixels.

    Raises:
        ArgumentError: A map of 2³¹ pixels or more, or of none.
    """
    h, w = size
    if not 0 < h * w < 2**31:
        raise ArgumentError(
            f"a label map of {h}x{w} has {h * w} pixels, the kernels take 1 to 2**31 - 1",
            remedy="pass the label map at the network's size",
        )
    x = (np.arange(w) + 0.5) * (frame_size[1] / w)
    y = (np.arange(h) + 0.5) * (frame_size[0] / h)
    depths = np.minimum(x, frame_size[1] - x), np.minimum(y, frame_size[0] - y)
    dx, dy = (np.zeros(w), np.zeros(h)) if view is None else (x - view.x, y - view.y)
    limits = (0.0, 0.0, 0.0)
    if view is not None:
        inner = view.radius - view_border
        limits = (view.radius, view.radius * view.radius, inner * inner)
    numbers = np.concatenate([x, y, dx * dx, dy * dy, *depths, np.array(limits)])
    return Places(size=size, border=border, has_view=view is not None, numbers=numbers)


def depth_of(bits: int) -> float:
    """The depth in frame pixels that a record's ``deepest`` stands for.

    >>> depth_of(int(np.float64(2.5).view(np.int64)))
    2.5
    """
    value = np.int64(bits)
    return float((value ^ np.int64(0x7FFFFFFFFFFFFFFF) if bits < 0 else value).view(np.float64))
