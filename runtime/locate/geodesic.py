"""The geodesic farthest point: the pixels of a region that a walk inside it reaches last.

    is_end = farthest_pixels(y, x, is_seed)

A breadth-first search in rounds. Rounds alternate between eight and four neighbours, which comes
close to Euclidean distance. Each round is a few shifts of one long Python integer that holds the
mask, one bit a pixel; a round takes about a microsecond. Section 6 of ``docs/location.md``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def farthest_pixels(
    y: NDArray[np.int64], x: NDArray[np.int64], is_seed: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Finds the pixels that the search reaches last.

    Args:
        y: ``[N]`` rows of the region's pixels, in raster order.
        x: ``[N]`` their columns.
        is_seed: ``[N]`` whether the search starts at the pixel.

    Returns:
        ``[N]`` whether one of the last rounds reached the pixel. The number of these rounds is 0.3
        of the region's mean width, and at least 2. All pixels, if no round reaches a new pixel.
    """
    top, left = int(y.min()), int(x.min())
    height = int(y.max()) - top + 1
    # One empty column keeps the end of a row from touching the beginning of the next row.
    width = int(x.max()) - left + 2
    index = (y - top) * width + (x - left)
    region, reached = _bits(index, height * width), _bits(index[is_seed], height * width)
    rounds = [reached]
    last = 0
    while True:
        if len(rounds) % 2:
            row = reached | reached << 1 | reached >> 1
            reached = (row | row << width | row >> width) & region
        else:
            reached = (
                reached | reached << 1 | reached >> 1 | reached << width | reached >> width
            ) & region
        if reached != rounds[-1]:
            last = len(rounds)
        elif len(rounds) % 2:
            break
        rounds.append(reached)
    if not last:
        return np.ones(len(y), np.bool_)
    num_last = max(2, 3 * len(y) // (10 * (last + 2)))
    ends = rounds[last] & ~rounds[max(0, last - num_last)]
    num_bytes = (height * width + 7) // 8
    packed = np.frombuffer(ends.to_bytes(num_bytes, "little"), np.uint8)
    is_end: NDArray[np.bool_] = np.unpackbits(packed, bitorder="little")[index] != 0
    return is_end


def _bits(index: NDArray[np.int64], count: int) -> int:
    """An integer of ``count`` bits in which the bits at these indices are 1."""
    canvas = np.zeros(count, np.uint8)
    canvas[index] = 1
    return int.from_bytes(np.packbits(canvas, bitorder="little").tobytes(), "little")
