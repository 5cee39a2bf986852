"""Offsets between the two pixels of a pair.

offsets_from(1, (0, 45, 90, 135))  # ((0, 1), (1, 1), (1, 0), (1, -1))
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from trocar.contract.errors import ArgumentError

Offset = tuple[int, int]
"""``(dy, dx)`` in pixels; rows run down and columns to the right."""

DEFAULT_OFFSETS: tuple[Offset, ...] = ((0, 1), (1, 1), (1, 0), (1, -1))
"""Distance 1 at 0, 45, 90 and 135 degrees."""


def offsets_from(
    distance: int | Sequence[int], angles: Sequence[float] = (0, 45, 90, 135)
) -> tuple[Offset, ...]:
    """Turn distances and angles into offsets, with the rounding of scikit-image.

    Args:
        distance: One distance in pixels, or several; at least 1 each.
        angles: Angles in degrees, measured from the positive x axis towards the rows below.

    Returns:
        ``(dy, dx)`` for every distance and, within it, every angle. A distance of 3 at 45 degrees
        rounds to ``(2, 2)``.

    Raises:
        ArgumentError: A distance is below 1, or there is no distance or no angle.
    """
    distances = (distance,) if isinstance(distance, int) else tuple(distance)
    if not distances or not len(angles):
        raise ArgumentError(
            f"offsets need a distance and an angle, got {len(distances)} distances and "
            f"{len(angles)} angles",
            remedy="give at least one distance and one angle",
        )
    for value in distances:
        if value < 1:
            raise ArgumentError(
                f"a distance is {value}, expected at least 1",
                remedy="give distances in whole pixels from 1 up",
            )
    return tuple(
        (
            _rounded(math.sin(math.radians(angle)) * value),
            _rounded(math.cos(math.radians(angle)) * value),
        )
        for value in distances
        for angle in angles
    )


def check_offsets(offsets: Iterable[Sequence[int]]) -> tuple[Offset, ...]:
    """Return the offsets as tuples of ints.

    Raises:
        ArgumentError: There is no offset, or one is not a pair of whole numbers below 2**31.
    """
    pairs: list[Offset] = []
    for index, offset in enumerate(offsets):
        try:
            dy, dx = (int(part) for part in offset)
            exact = dy == offset[0] and dx == offset[1]
        except (TypeError, ValueError):
            exact = False
        if not exact:
            raise ArgumentError(
                f"offset {index} is {offset!r}, expected a pair of whole numbers (dy, dx)",
                remedy="give offsets such as (0, 1); offsets_from(distance, angles) computes them",
            )
        if max(abs(dy), abs(dx)) >= 2**31:
            raise ArgumentError(
                f"offset {index} is {offset!r}, expected numbers below 2**31 in size",
                remedy="give offsets in pixels, such as (0, 1)",
            )
        pairs.append((dy, dx))
    if not pairs:
        raise ArgumentError(
            "there are no offsets, expected at least one",
            remedy="leave offsets out for the default four, or give pairs (dy, dx)",
        )
    return tuple(pairs)


def _rounded(value: float) -> int:
    """Round half away from zero, by adding a half, as scikit-image does."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))
