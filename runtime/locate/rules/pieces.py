"""A piece of a label map that may be an instrument, or a fragment of one.

piece = Piece(group, region, border_mask)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import Point
from trocar.runtime.locate.groups import Group
from trocar.runtime.locate.region import Moments, Region


class Measured(Protocol):
    """What the rules need to know of a piece, whether its pixels are here or on a device."""

    @property
    def group(self) -> Group:
        """Its kind."""
        ...

    @property
    def scale(self) -> Point:
        """``(sx, sy)`` frame pixels per label pixel."""
        ...

    @property
    def moments(self) -> Moments:
        """Its moments, in the coordinates of the label map."""
        ...

    @property
    def first(self) -> tuple[int, int]:
        """Row and column of the first pixel."""
        ...

    @property
    def touches_border(self) -> bool:
        """Whether a pixel lies on the border."""
        ...


def size_order(piece: Measured) -> tuple[int, tuple[int, int]]:
    """Sorts by size, largest first, then by first pixel."""
    return -piece.moments.n, piece.first


@dataclass(frozen=True)
class Piece:
    """A region, or a part of one, or several joined fragments.

    Attributes:
        group: Its kind.
        region: Its pixels.
        border_mask: ``[h, w]`` those on the border of the frame or of the field of view.
        fragment_of: ``[h, w]`` uint8 number of each pixel's fragment, from 1; ``None`` for one
            fragment.
    """

    group: Group
    region: Region
    border_mask: NDArray[np.bool_]
    fragment_of: NDArray[np.uint8] | None = None

    @cached_property
    def first(self) -> tuple[int, int]:
        """Row and column of the first pixel."""
        return self.region.top, self.region.left + int(self.region.mask[0].argmax())

    @cached_property
    def touches_border(self) -> bool:
        """Whether a pixel lies on the border."""
        return bool(self.border_mask.any())

    @property
    def scale(self) -> Point:
        """``(sx, sy)`` frame pixels per label pixel."""
        return self.region.scale

    @cached_property
    def moments(self) -> Moments:
        """Its moments, in the coordinates of the label map."""
        m, x0, y0 = self.region.moments, self.region.left, self.region.top
        return Moments(
            n=m.n,
            x=m.x + m.n * x0,
            y=m.y + m.n * y0,
            xx=m.xx + 2 * x0 * m.x + m.n * x0 * x0,
            xy=m.xy + x0 * m.y + y0 * m.x + m.n * x0 * y0,
            yy=m.yy + 2 * y0 * m.y + m.n * y0 * y0,
        )


def united(pieces: Sequence[Piece]) -> Piece:
    """One piece of several fragments of one group; the first gets number 1."""
    regions = [piece.region for piece in pieces]
    top, left = min(r.top for r in regions), min(r.left for r in regions)
    bottom = max(r.top + r.mask.shape[0] for r in regions)
    right = max(r.left + r.mask.shape[1] for r in regions)
    canvas = Region(np.zeros((bottom - top, right - left), np.bool_), top, left, regions[0].scale)
    border_mask = np.zeros_like(canvas.mask)
    fragment_of = np.zeros(canvas.mask.shape, np.uint8)
    for number, piece in enumerate(pieces, start=1):
        h, w = piece.region.mask.shape
        y, x = piece.region.top - top, piece.region.left - left
        place = slice(y, y + h), slice(x, x + w)
        canvas.mask[place] |= piece.region.mask
        border_mask[place] |= piece.border_mask
        fragment_of[place][piece.region.mask] = number
    return Piece(pieces[0].group, canvas, border_mask, fragment_of)
