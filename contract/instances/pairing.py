"""Pairs the instances of two maps by the overlap of their pixels.

    pairs = pair_instances(first, second, min_iou=0.5)
    [(pair.first, pair.second, pair.iou) for pair in pairs]

Whoever compares two models, or a model with the truth, pairs in this way. A pair above an IoU of
0.5 is the only one that either can have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError


@dataclass(frozen=True)
class Pair:
    """Two instances that are the same.

    Attributes:
        first: Number in the first map, from 1.
        second: Number in the second map, from 1.
        iou: Intersection over union of their pixels, 0..1.
        differing: Pixels that only one of them has.
    """

    first: int
    second: int
    iou: float
    differing: int


def overlaps(
    first: NDArray[np.uint8], second: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pixels that instances share, and their IoU.

    Args:
        first: ``[h,w]`` numbers of instances, 0 for none.
        second: ``[h,w]`` likewise.

    Returns:
        ``[256,256]`` numbers of pixels by first and second number, 0 included, and ``[256,256]``
        IoU, 0 for number 0.

    Raises:
        ArgumentError: The maps differ in size.
    """
    if first.shape != second.shape:
        raise ArgumentError(
            f"maps of instances are {list(first.shape)} and {list(second.shape)}",
            remedy="compare maps of the same frame and size",
        )
    flat = first.ravel().astype(np.int64) * 256 + second.ravel()
    both = np.bincount(flat, minlength=65536).reshape(256, 256)
    union = both.sum(1)[:, None] + both.sum(0)[None] - both
    iou = np.divide(both, union, out=np.zeros((256, 256)), where=union > 0)
    iou[0], iou[:, 0] = 0, 0
    return both, iou


def pair_instances(
    first: NDArray[np.uint8], second: NDArray[np.uint8], *, min_iou: float
) -> tuple[Pair, ...]:
    """The pairs with the largest IoU, each instance in one pair at most.

    Args:
        first: ``[h,w]`` numbers of instances, 0 for none.
        second: ``[h,w]`` likewise.
        min_iou: Smallest IoU of a pair.

    Returns:
        Pairs in the order of the first numbers.

    >>> pair_instances(np.array([[1, 1, 2]], np.uint8), np.array([[2, 2, 0]], np.uint8), min_iou=.5)
    (Pair(first=1, second=2, iou=1.0, differing=0),)
    """
    both, iou = overlaps(first, second)
    one, other = np.nonzero(iou >= max(min_iou, 1e-9))
    taken_first: set[int] = set()
    taken_second: set[int] = set()
    pairs = []
    for place in np.lexsort((other, one, -iou[one, other])):
        a, b = int(one[place]), int(other[place])
        if a in taken_first or b in taken_second:
            continue
        taken_first.add(a)
        taken_second.add(b)
        shared = int(both[a, b])
        differing = int(both[a].sum() + both[:, b].sum()) - 2 * shared
        pairs.append(Pair(a, b, float(iou[a, b]), differing))
    return tuple(sorted(pairs, key=lambda pair: pair.first))
