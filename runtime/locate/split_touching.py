"""Splits a region of touching instruments, if a part mask shows their shafts.

    parts = split_touching(mask, shaft, border_mask, min_pixels=160)

Two touching instruments of one type form one region. Their shafts still enter the view at two
places. Every shaft takes the pixels that are nearest to it inside the region. Section 3 of
``docs/location.md``.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.runtime.locate.region import connected_components


def split_touching(
    mask: NDArray[np.bool_],
    shaft: NDArray[np.bool_],
    border_mask: NDArray[np.bool_],
    *,
    min_pixels: int,
) -> list[NDArray[np.bool_]]:
    """Splits a region among the shafts that enter the view in it.

    Args:
        mask: ``[h, w]`` the region.
        shaft: ``[h, w]`` its shaft pixels.
        border_mask: ``[h, w]`` its pixels on the border of the view.
        min_pixels: Smallest shaft, in pixels.

    Returns:
        Masks ``[h, w]`` that cover the region, in raster order of the first pixels of their shafts.
        The region itself if fewer than two shafts enter.
    """
    if not _may_enter_twice(shaft & border_mask):
        return [mask]
    seeds = _entering_shafts(shaft, border_mask, min_pixels)
    if len(seeds) < 2:
        return [mask]
    owner = np.zeros(mask.shape, np.int32)
    for number, seed in enumerate(seeds, start=1):
        owner[seed] = number
    _assign(mask & (owner == 0), owner, len(seeds))
    return [owner == number for number in range(1, len(seeds) + 1)]


def _assign(free: NDArray[np.bool_], owner: NDArray[np.int32], count: int) -> None:
    """Writes the number of the nearest shaft into the free pixels of ``owner``, in place.

    Each round is a few shifts of long Python integers that hold a mask each, one bit a pixel.
    """
    left, top, width, height = cv2.boundingRect(free.view(np.uint8))
    if not width:
        return
    # One more pixel on each side, for the shafts beside the free pixels. The empty column on the
    # right keeps the end of a row from touching the beginning of the next row.
    y, x = max(0, top - 1), max(0, left - 1)
    place = slice(y, top + height + 1), slice(x, left + width + 1)
    part = owner[place]
    pitch = part.shape[1] + 1
    rest = _bits(free[place])
    fronts = [_bits(part == number) for number in range(1, count + 1)]
    reached = [0] * count
    while rest and any(fronts):
        for k, front in enumerate(fronts):
            row = front | front << 1 | front >> 1
            # Of several numbers that reach a pixel in one round the smallest gets it.
            fronts[k] = (row | row << pitch | row >> pitch) & rest
            rest ^= fronts[k]
            reached[k] |= fronts[k]
    for number, bits in enumerate(reached, start=1):
        if bits:
            part[_mask_of(bits, part.shape)] = number


def _bits(mask: NDArray[np.bool_]) -> int:
    """An integer with one bit a pixel; rows have an empty column on the right."""
    canvas = np.zeros((mask.shape[0], mask.shape[1] + 1), np.bool_)
    canvas[:, :-1] = mask
    return int.from_bytes(np.packbits(canvas, bitorder="little").tobytes(), "little")


def _mask_of(bits: int, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask that `_bits` made an integer of."""
    count = size[0] * (size[1] + 1)
    packed = np.frombuffer(bits.to_bytes((count + 7) // 8, "little"), np.uint8)
    flat = np.unpackbits(packed, count=count, bitorder="little").view(np.bool_)
    mask: NDArray[np.bool_] = flat.reshape(size[0], size[1] + 1)[:, :-1]
    return mask


def _may_enter_twice(on_border: NDArray[np.bool_]) -> bool:
    """Whether the shaft pixels on the border are at two places: two shafts that enter are."""
    x, y, w, h = cv2.boundingRect(on_border.view(np.uint8))
    return w > 0 and connected_components(on_border[y : y + h, x : x + w])[0] > 2


def _entering_shafts(
    shaft: NDArray[np.bool_], border_mask: NDArray[np.bool_], min_pixels: int
) -> list[NDArray[np.bool_]]:
    """Components of the shaft pixels that are large enough and have a border pixel."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(shaft).view(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    seed_of_first_pixel: dict[tuple[int, int], NDArray[np.bool_]] = {}
    for x, y, w, h, area, label in np.column_stack([stats, np.arange(count)])[1:].tolist():
        if area < min_pixels:
            continue
        place = slice(y, y + h), slice(x, x + w)
        part = labels[place] == label
        if (part & border_mask[place]).any():
            seed = np.zeros_like(border_mask)
            seed[place] = part
            seed_of_first_pixel[(y, x + int(part[0].argmax()))] = seed
    return [seed_of_first_pixel[first] for first in sorted(seed_of_first_pixel)]
