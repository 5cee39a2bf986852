"""The true time of capture, printed into a picture as black and white squares.

stamp(image, 1_234_567)
read_stamp(image)              # 1234567, or None where it cannot be read
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 16
"""Pixels of a square; a codec of usual quality keeps it."""

BITS = 40
_CHECK = 8
_ROW = 16


def stamp(image: NDArray[np.uint8], milliseconds: int) -> None:
    """Prints a time into the upper left corner, 256x48 pixels, in place."""
    value = milliseconds << _CHECK | _checksum(milliseconds)
    for index in range(BITS + _CHECK):
        row, column = divmod(index, _ROW)
        bit = value >> (BITS + _CHECK - 1 - index) & 1
        image[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE] = 235 * bit


def read_stamp(image: NDArray[np.uint8]) -> int | None:
    """The time in milliseconds, ``None`` where the picture is damaged."""
    value = 0
    for index in range(BITS + _CHECK):
        row, column = divmod(index, _ROW)
        square = image[
            row * SIDE + 4 : (row + 1) * SIDE - 4, column * SIDE + 4 : (column + 1) * SIDE - 4
        ]
        value = value << 1 | int(square.mean() > 118)
    milliseconds, check = value >> _CHECK, value & (1 << _CHECK) - 1
    return milliseconds if check == _checksum(milliseconds) else None


def _checksum(value: int) -> int:
    # From 1 to 251: a picture that is all black or all white is no time.
    return 1 + value * 0x9E3779B1 % 251
