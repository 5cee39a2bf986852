"""The number of a picture, written above it so that it survives lossy compression.

    sent = stamped(picture, 1234)            # 32 rows more, even sides
    number_of(sent)                          # 1234; None where it cannot be read

A video track has no field for a number. What stands in the picture itself cannot come apart from
it, whatever the network, the decoder and the browser leave out. `static/webrtc.js` reads it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 16
"""Side of the square of one bit, in pixels: that of a macroblock."""

COLUMNS = 16
"""Bits of a row."""

HEIGHT = 2 * BLOCK
"""Rows above the picture: 24 bits of the number, 8 of its check."""

NUMBERS = 1 << 24
"""Numbers begin again at 0 after so many pictures."""

_WIDTH = COLUMNS * BLOCK
_DARK, _BRIGHT = 16, 235


def stamped(picture: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """A copy with the number above it.

    Args:
        picture: ``[H, W, 3]`` uint8 RGB.
        number: 0 or above; what is written is its remainder by `NUMBERS`.

    Returns:
        ``[H', W', 3]`` uint8: `HEIGHT` rows, then the picture; black fills up to even sides of
        256 pixels across or more.
    """
    height, width = picture.shape[:2]
    size = HEIGHT + height + height % 2, max(_WIDTH, width + width % 2)
    sent = np.zeros((*size, 3), np.uint8)
    sent[HEIGHT : HEIGHT + height, :width] = picture
    number %= NUMBERS
    word = number << 8 | _check(number)
    bits = np.array([word >> bit & 1 for bit in range(2 * COLUMNS)], np.uint8)
    blocks = (bits * (_BRIGHT - _DARK) + _DARK).reshape(2, COLUMNS)
    sent[:HEIGHT, :_WIDTH] = blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)[..., None]
    return sent


def number_of(sent: NDArray[np.uint8]) -> int | None:
    """The number that stands above a picture; ``None`` where it is damaged.

    Args:
        sent: ``[H, W, 3]`` uint8 RGB, decoded.
    """
    if sent.shape[0] < HEIGHT or sent.shape[1] < _WIDTH:
        return None
    green = sent[:HEIGHT, :_WIDTH, 1].reshape(2, BLOCK, COLUMNS, BLOCK)
    inner = green[:, BLOCK // 4 : -BLOCK // 4, :, BLOCK // 4 : -BLOCK // 4]
    bits = (inner.mean(axis=(1, 3)) > (_DARK + _BRIGHT) / 2).ravel()
    word = sum(1 << bit for bit in range(2 * COLUMNS) if bits[bit])
    number = word >> 8
    return number if word & 255 == _check(number) else None


def _check(number: int) -> int:
    """Eight bits that depend on all of the number's."""
    return (number * 0x9E3779B1 & 0xFFFFFFFF) >> 24
