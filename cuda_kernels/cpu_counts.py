"""Counting label pairs on the CPU, by as few passes over the pixels as possible.

    joint_counts(labels, HardPlan(((0, 1), (1, 0)), levels=8))  # [B,O,8,8]

A pixel and its partners at several offsets are one number in base ``levels + 1``; one histogram of
these numbers, summed over all digits but two, is the matrix of every one of the offsets.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trocar.cuda_kernels.engine import HardPlan
from trocar.cuda_kernels.offsets import Offset

_BINS = 2**16  # what numbers of 16 bits tell apart
_JOINT_BINS = 2**13  # of joint histograms: more cost more to sum over than they save
_REACH = 8  # offsets beyond are counted alone: the map is padded by the largest that is not


def joint_counts(labels: Tensor, plan: HardPlan) -> Tensor:
    """``[B,H,W]`` integers on the CPU to plain counts, ``[B,O,L,L]`` int64."""
    shape = (labels.shape[0], len(plan.offsets), plan.levels, plan.levels)
    counts = torch.zeros(shape, dtype=torch.int64)
    planes = labels.numpy()

    def work(image: int) -> None:
        _count_image(planes[image], plan, counts[image])

    workers = min(torch.get_num_threads(), len(planes))
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(len(planes))))
    else:
        for image in range(len(planes)):
            work(image)
    return counts


def _count_image(plane: npt.NDArray[Any], plan: HardPlan, counts: Tensor) -> None:
    outside = (plane < 0) | (plane >= plan.levels)
    if plan.ignore_index is not None:
        outside |= plane == plan.ignore_index
    # 256 levels without one for "outside" just fit 16 bits.
    whole = plan.levels**2 == _BINS and not outside.any()
    side = plan.levels if whole else plan.levels + 1
    level = plane.astype(np.uint16 if side**2 <= _BINS else np.int32)
    if not whole:
        level[outside] = plan.levels
    for positions, offsets in _groups(plan.offsets, side, plane.shape):
        if whole or len(offsets) == 1:
            joint = _cropped(level, offsets[0], side)
        else:
            joint = _padded(level, offsets, side, plan.levels)
        # torch counts 32-bit numbers at half the cost of NumPy, which widens them to 64.
        bins = torch.bincount(
            torch.from_numpy(joint.astype(np.int32)).view(-1), minlength=side ** (1 + len(offsets))
        ).view((side,) * (1 + len(offsets)))
        for digit, position in enumerate(positions, 1):
            others = [d for d in range(1, bins.ndim) if d != digit]
            pairs = bins.sum(others) if others else bins
            counts[position] = pairs[: plan.levels, : plan.levels]


def _groups(
    offsets: tuple[Offset, ...], side: int, shape: tuple[int, ...]
) -> Iterator[tuple[list[int], list[Offset]]]:
    """Offsets that are counted together; those that reach beyond the image count nothing."""
    together = 1
    while side ** (together + 2) <= _JOINT_BINS and together < 4:
        together += 1
    waiting: list[int] = []
    for position, (dy, dx) in enumerate(offsets):
        if abs(dy) >= shape[0] or abs(dx) >= shape[1]:
            continue
        if max(abs(dy), abs(dx)) > _REACH:
            yield [position], [(dy, dx)]
            continue
        waiting.append(position)
        if len(waiting) == together:
            yield waiting, [offsets[p] for p in waiting]
            waiting = []
    if waiting:
        yield waiting, [offsets[p] for p in waiting]


def _cropped(level: npt.NDArray[Any], offset: Offset, side: int) -> npt.NDArray[Any]:
    (dy, dx), (height, width) = offset, level.shape
    top, left = max(0, -dy), max(0, -dx)
    bottom, right = height - max(0, dy), width - max(0, dx)
    joint: npt.NDArray[Any] = level[top:bottom, left:right] * level.dtype.type(side)
    joint += level[top + dy : bottom + dy, left + dx : right + dx]
    return joint


def _padded(
    level: npt.NDArray[Any], offsets: list[Offset], side: int, empty: int
) -> npt.NDArray[Any]:
    height, width = level.shape
    reach = max(max(abs(dy), abs(dx)) for dy, dx in offsets)
    padded = np.pad(level, reach, constant_values=empty)
    joint: npt.NDArray[Any] = level.copy()
    for dy, dx in offsets:
        joint *= level.dtype.type(side)
        joint += padded[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
    return joint
