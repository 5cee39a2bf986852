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

_NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


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
    seeds = _entering_shafts(shaft, border_mask, min_pixels)
    if len(seeds) < 2:
        return [mask]
    h, w = mask.shape
    # 0: not assigned yet, -1: outside the region. The frame of -1 makes bounds checks unnecessary.
    owner = np.full((h + 2, w + 2), -1, np.int32)
    owner[1:-1, 1:-1][mask] = 0
    for number, seed in enumerate(seeds, start=1):
        owner[1:-1, 1:-1][seed] = number
    flat = owner.ravel()
    steps = np.array([dy * (w + 2) + dx for dy, dx in _NEIGHBOURS])
    front = np.nonzero(flat > 0)[0]
    while len(front):
        reached = (front[:, None] + steps).ravel()
        claims = np.repeat(flat[front], len(steps))
        is_free = flat[reached] == 0
        reached, claims = reached[is_free], claims[is_free]
        # A pixel that several numbers reach in one round gets the lowest of them.
        order = np.lexsort((claims, reached))
        reached, claims = reached[order], claims[order]
        is_lowest = np.ones(len(reached), np.bool_)
        is_lowest[1:] = reached[1:] != reached[:-1]
        front = reached[is_lowest]
        flat[front] = claims[is_lowest]
    owner_in_mask = owner[1:-1, 1:-1]
    return [owner_in_mask == number for number in range(1, len(seeds) + 1)]


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
