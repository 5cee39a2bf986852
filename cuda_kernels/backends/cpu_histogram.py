"""Counting label pairs on the CPU, by as few passes over the pixels as possible.

    joint_counts(labels, HardPlan(((0, 1), (1, 0)), levels=8))  # [B,O,8,8]

Few levels: the labels of some cells near each other are one number in base ``levels + 1``. A
histogram of these numbers, over all places of the window that the cells make, holds the pairs of
every offset between two of them: a window of 2x2 does for the four usual offsets. The map is
flattened and padded with ``levels``, so that a displacement is a step in memory, and pairs that
leave the image show by that label. Many levels: OpenCV's histogram of two maps, offset by offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trocar.cuda_kernels.backends.base import HardPlan
from trocar.cuda_kernels.offsets import Offset

_JOINT_BINS = 2**13  # of a window: more cost more to sum than they save, and 16 bits hold these
_REACH = 8  # offsets beyond are counted alone: a larger window has many places past the border
_EXACT = 2**24  # OpenCV counts in float32


@dataclass(frozen=True)
class Window:
    """Cells whose labels make one number, and the offsets that lie between two of them."""

    cells: tuple[Offset, ...]
    pairs: tuple[tuple[int, int, int], ...]
    """Position of the offset, then the numbers of its two cells."""


def joint_counts(labels: Tensor, plan: HardPlan) -> Tensor:
    """``[B,H,W]`` integers on the CPU to plain counts, ``[B,O,L,L]`` integers."""
    batch, height, width = labels.shape
    exact = torch.int32 if height * width < 2**31 else torch.int64
    counts = torch.zeros((batch, len(plan.offsets), plan.levels, plan.levels), dtype=exact)
    planes = labels.numpy()
    inside = {n: d for n, d in enumerate(plan.offsets) if abs(d[0]) < height and abs(d[1]) < width}
    windows = windows_of(inside, plan.levels + 1)
    pairs = {pair[0]: inside[pair[0]] for w in windows if len(w.cells) == 2 for pair in w.pairs}
    windows = [window for window in windows if len(window.cells) > 2]

    def work(images: range) -> None:
        slider = _Slider(windows, plan, height, width) if windows else None
        for image in images:
            if slider is not None:
                slider.count(planes[image], counts[image])
            if pairs:
                _count_pairs(planes[image], plan, pairs, counts[image])

    # The passes of a window are too short for threads: each waits for the interpreter's lock.
    workers = min(torch.get_num_threads(), batch) if pairs else 1
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, [range(first, batch, workers) for first in range(workers)]))
    else:
        work(range(batch))
    return counts


def windows_of(offsets: Mapping[int, Offset], side: int) -> list[Window]:
    """Few windows that hold all offsets, given by their positions."""
    most = 2
    while side ** (most + 1) <= _JOINT_BINS:
        most += 1
    windows = []
    waiting = dict(offsets)
    while waiting:
        dy, dx = next(iter(waiting.values()))
        cells: list[Offset] = [(0, 0), (dy, dx)]
        near = [d for d in waiting.values() if max(abs(d[0]), abs(d[1])) <= _REACH]
        while (dy, dx) in near and len(cells) < most:
            # The cell that brings most offsets into the window, if any does.
            choices = {
                (y + s * d[0], x + s * d[1]) for d in near for y, x in cells for s in (1, -1)
            }
            gains = {cell: len(_pairs([*cells, cell], waiting)) for cell in sorted(choices)}
            best = max(gains, key=lambda cell: gains[cell])
            if gains[best] == len(_pairs(cells, waiting)):
                break
            cells.append(best)
        pairs = _pairs(cells, waiting)
        windows.append(Window(tuple(cells), pairs))
        for position, _, _ in pairs:
            del waiting[position]
    return windows


def _pairs(cells: list[Offset], offsets: Mapping[int, Offset]) -> tuple[tuple[int, int, int], ...]:
    """The offsets between two of the cells, each once."""
    between = {
        (there[0] - here[0], there[1] - here[1]): (first, second)
        for first, here in enumerate(cells)
        for second, there in enumerate(cells)
        if first != second
    }
    return tuple((n, *between[offset]) for n, offset in offsets.items() if offset in between)


class _Slider:
    """Slides windows over image after image of one size, in the same memory."""

    def __init__(self, windows: list[Window], plan: HardPlan, height: int, width: int) -> None:
        self._windows, self._plan, self._side = windows, plan, plan.levels + 1
        columns = [dx for window in windows for _, dx in window.cells]
        pitch = width + max(columns) - min(columns)
        places = [[dy * pitch + dx for dy, dx in window.cells] for window in windows]
        self._steps = [[place - min(row) for place in row] for row in places]
        self._size = height * pitch
        self._margin = max(max(row) for row in self._steps)
        self._flat = np.full(self._size + 2 * self._margin, plan.levels, np.int16)
        self._codes = np.empty(self._size + self._margin, np.int16)
        own = self._flat[self._margin : self._margin + self._size]
        self._inner = own.reshape(height, pitch)[:, :width]

    def count(self, plane: npt.NDArray[Any], counts: Tensor) -> None:
        """``[H,W]`` to ``[O,L,L]``."""
        levels, ignored = self._plan.levels, self._plan.ignore_index
        np.minimum(_unsigned(plane), levels, out=self._inner, casting="unsafe")
        if ignored is not None and 0 <= ignored < levels:
            self._inner[self._inner == ignored] = levels
        for window, steps in zip(self._windows, self._steps, strict=True):
            bins = self._histogram(steps)
            for position, first, second in window.pairs:
                low, high = sorted((first, second))
                digits = [low, 1, high - low - 1, 1, len(steps) - high - 1]
                found = bins.view([self._side**number for number in digits]).sum((0, 2, 4))
                counts[position] = (found if first == low else found.T)[:-1, :-1]

    def _histogram(self, steps: list[int]) -> Tensor:
        """Count the numbers that the labels at these steps make, at all places of the window."""
        span = max(steps)
        codes = self._codes[: self._size + span]
        for number, step in enumerate(steps):
            # A pair may be inside where other cells of its window are not.
            start = self._margin - span + step
            labels = self._flat[start : start + len(codes)]
            if number == 0:
                codes[:] = labels
            else:
                np.multiply(codes, self._side, out=codes)
                np.add(codes, labels, out=codes)
        # torch counts 16-bit numbers as they are; NumPy would widen them to 64.
        return torch.bincount(torch.from_numpy(codes), minlength=self._side ** len(steps))


def _count_pairs(
    plane: npt.NDArray[Any], plan: HardPlan, offsets: Mapping[int, Offset], counts: Tensor
) -> None:
    """``[H,W]`` to the matrices of ``[O,L,L]`` at the positions of these offsets."""
    levels, ignored = plan.levels, plan.ignore_index
    plane = _unsigned(plane)
    narrow = plane if plane.itemsize == 1 else np.minimum(plane, 255).astype(np.uint8)
    narrow = np.ascontiguousarray(narrow)
    # 256 levels leave none to mark what is no level by.
    mask = (plane < levels).astype(np.uint8) if levels == 256 and plane.itemsize > 1 else None
    height, width = plane.shape
    for position, (dy, dx) in offsets.items():
        rows = max(1, _EXACT // width)
        top, bottom = max(0, -dy), height - max(0, dy)
        left, right = max(0, -dx), width - max(0, dx)
        for first in range(top, bottom, rows):
            last = min(first + rows, bottom)
            here = slice(first, last), slice(left, right)
            there = slice(first + dy, last + dy), slice(left + dx, right + dx)
            found = cv2.calcHist(
                [narrow[here], narrow[there]],
                [0, 1],
                None if mask is None else mask[here] & mask[there],
                [levels, levels],
                [0, levels, 0, levels],
            )
            counts[position] += torch.from_numpy(found).to(counts.dtype)
        if ignored is not None and 0 <= ignored < levels:
            counts[position, ignored] = 0
            counts[position, :, ignored] = 0


def _unsigned(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """As unsigned numbers, negative labels are the largest: beyond every level."""
    if plane.dtype.kind == "u":
        return plane
    plane = plane.astype(np.int16) if plane.itemsize == 1 else plane
    return plane.view(f"u{plane.itemsize}")
