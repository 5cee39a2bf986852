"""What is no instrument is not one: strips, low scores, specks, and the best N.

    chosen = select(pieces, confidence, frame, options)

Section 3b of ``docs/location.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from trocar.contract.location import LocationOptions
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.measures import mean_confidence
from trocar.runtime.locate.region import Region
from trocar.runtime.locate.rules.pieces import Piece


@dataclass(frozen=True)
class Scored:
    """A piece and its mean confidence, 0..1."""

    piece: Piece
    score: float

    @property
    def pixels(self) -> int:
        """Number of its pixels."""
        return self.piece.region.moments.n


def select(
    pieces: Sequence[Piece],
    confidence: NDArray[Any] | None,
    frame_size: tuple[int, int],
    options: LocationOptions,
    *,
    view: FieldOfView | None,
) -> list[Scored]:
    """The pieces that are instruments, with their scores.

    Args:
        pieces: Regions, parts and joined fragments of one label map.
        confidence: ``[h, w]`` floating 0..1 or uint8 0..255, or ``None``.
        frame_size: ``(height, width)`` of the frame.
        options: Limits.
        view: The endoscope's field of view; ``None`` for the full frame.
    """
    depth = options.strip_depth * min(frame_size)
    chosen = [
        Scored(piece, mean_confidence(confidence, piece.region))
        for piece in pieces
        if depth == 0 or is_deep(piece.region, depth, frame_size, view)
    ]
    chosen = [one for one in chosen if one.score >= options.min_score]
    smallest = options.min_relative_area * max((one.pixels for one in chosen), default=0)
    chosen = [one for one in chosen if one.pixels >= smallest]
    if options.max_instruments and len(chosen) > options.max_instruments:
        chosen = sorted(chosen, key=_best_first)[: options.max_instruments]
    return chosen


def is_deep(
    region: Region, depth: float, frame_size: tuple[int, int], view: FieldOfView | None
) -> bool:
    """Whether a pixel lies deeper in the frame, and in the field of view, than ``depth``.

    >>> region = Region(np.ones((3, 40), np.bool_), 0, 0, (1.0, 1.0))
    >>> is_deep(region, 2.0, (100, 100), None), is_deep(region, 3.0, (100, 100), None)
    (True, False)
    """
    x, y = region.column_centres(), region.row_centres()
    rows = (y > depth) & (frame_size[0] - y > depth)
    columns = (x > depth) & (frame_size[1] - x > depth)
    deep = region.mask[rows][:, columns]
    if view is None or not deep.any():
        return bool(deep.any())
    inner = view.radius - depth
    if inner <= 0:
        return False
    dx, dy = x[columns] - view.x, y[rows] - view.y
    near = (dx * dx)[None, :] + (dy * dy)[:, None] < inner * inner
    return bool((deep & near).any())


def _best_first(one: Scored) -> tuple[float, int, tuple[int, int]]:
    return -(one.score * one.pixels), -one.pixels, one.piece.first
