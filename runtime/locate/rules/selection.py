"""What is no instrument is not one: strips, low scores, specks, and the best N.

    chosen = select(pieces, confidence, frame_size, options, view=None)

Section 3b of ``docs/location.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from trocar.contract.location import LocationOptions
from trocar.contract.results import Point
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.measures import axis_of, length_of, mean_confidence
from trocar.runtime.locate.region import Moments, Region
from trocar.runtime.locate.rules.pieces import Measured, Piece

P = TypeVar("P", bound=Measured)

MIN_RATIO = 3.0
"""Ratio of the length of a strip to its depth."""


@dataclass(frozen=True)
class Scored(Generic[P]):
    """A piece and its mean confidence, 0..1."""

    piece: P
    score: float

    @property
    def pixels(self) -> int:
        """Number of its pixels."""
        return self.piece.moments.n


def select(
    pieces: Sequence[Piece],
    confidence: NDArray[Any] | None,
    frame_size: tuple[int, int],
    options: LocationOptions,
    *,
    view: FieldOfView | None,
) -> list[Scored[Piece]]:
    """The pieces that are instruments, with their scores.

    Args:
        pieces: Regions, parts and joined fragments of one label map.
        confidence: ``[h, w]`` floating 0..1 or uint8 0..255, or ``None``.
        frame_size: ``(height, width)`` of the frame.
        options: Limits.
        view: The endoscope's field of view; ``None`` for the full frame.
    """
    most = options.strip_depth * min(frame_size)
    scored = [
        Scored(piece, mean_confidence(confidence, piece.region))
        for piece in pieces
        if most == 0 or not is_strip(piece.region, most, frame_size, view)
    ]
    return best_of(scored, options)


def best_of(scored: Sequence[Scored[P]], options: LocationOptions) -> list[Scored[P]]:
    """Those whose score and size suffice, the best of them where there are too many."""
    limit = score_limit(
        options.min_score,
        relative=options.relative_score,
        best=max((one.score for one in scored), default=0.0),
    )
    chosen = [one for one in scored if one.score >= limit]
    smallest = options.min_relative_area * max((one.pixels for one in chosen), default=0)
    chosen = [one for one in chosen if one.piece.touches_border or one.pixels >= smallest]
    if options.max_instruments and len(chosen) > options.max_instruments:
        chosen = sorted(chosen, key=_best_first)[: options.max_instruments]
    return chosen


def score_limit(least: float, *, relative: float, best: float) -> float:
    """The score that an instrument needs in a frame: less where the best one is not sure either.

    Args:
        least: The limit where the best score is high.
        relative: Fraction of the best score that is enough too; 0 for none.
        best: Best score of the frame.

    >>> [round(score_limit(0.6, relative=0.75, best=best), 3) for best in (0.9, 0.7, 0.3)]
    [0.6, 0.525, 0.4]
    """
    if relative == 0:
        return least
    return max(least * 2 / 3, min(least, relative * best))


def is_strip(
    region: Region, most: float, frame_size: tuple[int, int], view: FieldOfView | None
) -> bool:
    """Whether a region lies along the border of the frame or of the field of view.

    Args:
        region: The region.
        most: Largest depth of a strip, in frame pixels, above 0.
        frame_size: ``(height, width)`` of the frame.
        view: The endoscope's field of view; ``None`` for the full frame.

    >>> region = Region(np.ones((3, 40), np.bool_), 0, 0, (1.0, 1.0))
    >>> is_strip(region, 2.0, (100, 100), None), is_strip(region, 2.5, (100, 100), None)
    (False, True)
    """
    runs = region.run_lengths
    x, y = region.column_centres(), region.row_centres()
    # Most regions have a deep pixel where a row is nearest to the centre of the view.
    middle = (frame_size[1] / 2 if view is None else view.x) / region.scale[0] - region.left
    nearest = np.clip(int(middle), runs.begin, runs.end - 1)
    if _depths(x[nearest], y[runs.y], frame_size, view).max() > most:
        return False
    deepest = float(_depths(x[None, :], y[:, None], frame_size, view)[region.mask].max())
    if deepest > most:
        return False
    return is_long(region.moments, region.scale, deepest)


def is_long(moments: Moments, scale: Point, deepest: float) -> bool:
    """Whether a region whose deepest pixel has this depth is long enough for a strip."""
    return length_of(axis_of(moments, scale), scale) >= MIN_RATIO * deepest


def _depths(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    frame_size: tuple[int, int],
    view: FieldOfView | None,
) -> NDArray[np.float64]:
    """Distances of pixels from the nearest border."""
    depth = np.minimum(np.minimum(x, frame_size[1] - x), np.minimum(y, frame_size[0] - y))
    if view is not None:
        dx, dy = x - view.x, y - view.y
        depth = np.minimum(depth, view.radius - np.sqrt(dx * dx + dy * dy))
    return depth


def _best_first(one: Scored[P]) -> tuple[float, int, tuple[int, int]]:
    return -(one.score * one.pixels), -one.pixels, one.piece.first
