"""Masks as COCO run lengths: counts down the columns, compressed to text.

    text = compressed_from_mask(mask)                 # e.g. "11b0"
    mask = mask_from_compressed(text, (480, 640))

The text is the one of ``pycocotools``: differences of every second count, in groups of five bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError

_REMEDY = "copy the file again from where it was made"


def counts_of(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs down the columns; the first one is of pixels outside.

    >>> counts_of(np.array([[False, True], [True, True]]))
    [1, 3]
    """
    flat = np.asarray(mask, np.bool_).T.ravel()
    if not flat.size:
        return []
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    counts: list[int] = np.diff(bounds).tolist()
    return [0, *counts] if flat[0] else counts


def compressed_from_mask(mask: NDArray[np.bool_]) -> str:
    """The compressed text of a mask ``[h,w]``."""
    counts = counts_of(mask)
    text = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            group = value & 0x1F
            value >>= 5
            more = value != -1 if group & 0x10 else value != 0
            text.append(chr((group | 0x20 if more else group) + 48))
    return "".join(text)


def mask_from_compressed(text: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask ``[h,w]`` of a compressed text.

    Args:
        text: Run lengths.
        size: ``(height, width)``.

    Raises:
        DataError: The text is no run lengths of a mask of that size.
    """
    counts: list[int] = []
    place = 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            group = ord(text[place]) - 48 if place < len(text) else -1
            if not 0 <= group < 64 or shift > 60:
                raise DataError("run lengths of a mask are damaged", remedy=_REMEDY)
            value |= (group & 0x1F) << shift
            more = bool(group & 0x20)
            place, shift = place + 1, shift + 5
            if not more and group & 0x10:
                value |= -1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    pixels = size[0] * size[1]
    if sum(counts) != pixels or any(count < 0 for count in counts):
        raise DataError(
            f"run lengths of a mask cover {sum(counts)} pixels, expected {pixels}", remedy=_REMEDY
        )
    values = np.arange(len(counts)) % 2 == 1
    mask: NDArray[np.bool_] = np.repeat(values, counts).reshape(size[1], size[0]).T
    return mask
