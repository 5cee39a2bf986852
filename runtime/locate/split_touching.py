"""Takes touching instruments apart where their shafts are known.

    pieces = separate(mask, shaft, touching, 160)

Two instruments of one type that touch make one region. With a part mask their shafts still enter
the view in two places: each shaft claims what is nearest to it, walking inside the region.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def separate(
    mask: NDArray[np.bool_],
    shaft: NDArray[np.bool_],
    touching: NDArray[np.bool_],
    least: int,
) -> list[NDArray[np.bool_]]:
    """Splits a region among the shafts that enter it.

    Args:
        mask: ``[h, w]`` the region.
        shaft: Its shaft pixels.
        touching: Its pixels on the border of the view.
        least: Pixels that a shaft must have.

    Returns:
        Masks that cover the region, in raster order of their shafts' first pixels; the region
        itself when fewer than two shafts enter.
    """
    seeds = _entering_shafts(shaft, touching, least)
    if len(seeds) < 2:
        return [mask]
    h, w = mask.shape
    # Owner 0: nobody yet; -1: not of the region. A frame of -1 spares bounds checks.
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
        free = flat[reached] == 0
        reached, claims = reached[free], claims[free]
        # All of one round arrive together: a pixel goes to the lowest number that reaches it.
        order = np.lexsort((claims, reached))
        reached, claims = reached[order], claims[order]
        first = np.ones(len(reached), np.bool_)
        first[1:] = reached[1:] != reached[:-1]
        front = reached[first]
        flat[front] = claims[first]
    owned = owner[1:-1, 1:-1]
    return [owned == number for number in range(1, len(seeds) + 1)]


def _entering_shafts(
    shaft: NDArray[np.bool_], touching: NDArray[np.bool_], least: int
) -> list[NDArray[np.bool_]]:
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(shaft).view(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    flat = numbers.ravel()
    seeds = []
    for i in range(1, count):
        if stats[i, 4] >= least:
            seed: NDArray[np.bool_] = numbers == i
            if (seed & touching).any():
                seeds.append((int((flat == i).argmax()), seed))
    return [seed for _, seed in sorted(seeds, key=lambda pair: pair[0])]
