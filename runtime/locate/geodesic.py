"""The far end of a shape by walking inside it: past a hook's bend, where no straight line leads.

members = far_end(y, x, begin)

Rounds go to eight and to four neighbours in turn, which comes close to true distance. A round is a
handful of shifts of one long Python integer that holds the whole picture: a microsecond each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def far_end(
    y: NDArray[np.int64], x: NDArray[np.int64], begin: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Finds what is reached last.

    Args:
        y: Rows of the shape's pixels, in raster order.
        x: Their columns.
        begin: Which of them the walk begins at.

    Returns:
        Which pixels the last rounds reached: as many rounds as 0.3 of the shape's mean width, and
        two at least. All of them, where the walk leads nowhere.
    """
    top, left = int(y.min()), int(x.min())
    height = int(y.max()) - top + 1
    # An empty column, so that a row's end is no neighbour of the next row's beginning.
    width = int(x.max()) - left + 2
    at = (y - top) * width + (x - left)
    shape, reached = _bits(at, height * width), _bits(at[begin], height * width)
    layers = [reached]
    last = 0
    while True:
        if len(layers) % 2:
            row = reached | reached << 1 | reached >> 1
            reached = (row | row << width | row >> width) & shape
        else:
            reached = (
                reached | reached << 1 | reached >> 1 | reached << width | reached >> width
            ) & shape
        if reached != layers[-1]:
            last = len(layers)
        elif len(layers) % 2:
            break
        layers.append(reached)
    if not last:
        return np.ones(len(y), np.bool_)
    back = max(2, 3 * len(y) // (10 * (last + 2)))
    ends = layers[last] & ~layers[max(0, last - back)]
    size = (height * width + 7) // 8
    flat = np.frombuffer(ends.to_bytes(size, "little"), np.uint8)
    chosen: NDArray[np.bool_] = np.unpackbits(flat, bitorder="little")[at] != 0
    return chosen


def _bits(at: NDArray[np.int64], count: int) -> int:
    canvas = np.zeros(count, np.uint8)
    canvas[at] = 1
    return int.from_bytes(np.packbits(canvas, bitorder="little").tobytes(), "little")
