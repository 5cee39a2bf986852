"""Counts of label pairs on the CPU, with few passes over the pixels.

    joint_counts(labels, HardPlan(((0, 1), (1, 0)), levels=8))  # [B,O,8,8]

Few levels: the labels of a small window of pixels form one number in base ``levels + 1``. The
histogram of these numbers over all positions of the window contains the pairs of every offset
between two cells of the window. A window of 2x2 is enough for the four default offsets. The map is
flattened and padded with ``levels``, so that an offset is a constant distance in memory, and a pair
that leaves the image contains that label. Many levels: OpenCV's histogram of two maps, one offset
at a time.
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

_MAX_BINS = 2**13  # of a window; more bins take longer to sum than they save, and these fit int16
_MAX_REACH = 8  # larger offsets get a window of two cells, because large windows cross the border
_MAX_EXACT = 2**24  # OpenCV counts in float32, exact up to this


@dataclass(frozen=True)
class Window:
    """Cells whose labels form one number, and the offsets between two of them."""

    cells: tuple[Offset, ...]
    pairs: tuple[tuple[int, int, int], ...]
    """Index of the offset, then the indices of its two cells."""


def joint_counts(labels: Tensor, plan: HardPlan) -> Tensor:
    """``[B,H,W]`` integers on the CPU to plain counts, ``[B,O,L,L]`` integers."""
    batch, height, width = labels.shape
    dtype = torch.int32 if height * width < 2**31 else torch.int64
    counts = torch.zeros((batch, len(plan.offsets), plan.levels, plan.levels), dtype=dtype)
    planes = labels.numpy()
    inside = {n: d for n, d in enumerate(plan.offsets) if abs(d[0]) < height and abs(d[1]) < width}
    windows = windows_of(inside, plan.levels + 1)
    pairs = {pair[0]: inside[pair[0]] for w in windows if len(w.cells) == 2 for pair in w.pairs}
    windows = [window for window in windows if len(window.cells) > 2]

    def work(images: range) -> None:
        counter = _WindowCounter(windows, plan, height, width) if windows else None
        for image in images:
            if counter is not None:
                counter.count(planes[image], counts[image])
            if pairs:
                _count_pairs(planes[image], plan, pairs, counts[image])

    # Threads do not help windows: their passes are short, and each waits for the interpreter lock.
    workers = min(torch.get_num_threads(), batch) if pairs else 1
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, [range(first, batch, workers) for first in range(workers)]))
    else:
        work(range(batch))
    return counts


def windows_of(offsets: Mapping[int, Offset], side: int) -> list[Window]:
    """Choose few windows that contain all offsets, which are given by index.

    Args:
        offsets: Index to ``(dy, dx)``.
        side: Base of the numbers, ``levels + 1``.
    """
    max_cells = 2
    while side ** (max_cells + 1) <= _MAX_BINS:
        max_cells += 1
    windows = []
    waiting = dict(offsets)
    while waiting:
        dy, dx = next(iter(waiting.values()))
        cells: list[Offset] = [(0, 0), (dy, dx)]
        near = [d for d in waiting.values() if max(abs(d[0]), abs(d[1])) <= _MAX_REACH]
        while (dy, dx) in near and len(cells) < max_cells:
            # Add the cell that brings the most further offsets into the window.
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
    """Offsets between two of the cells, each once."""
    between = {
        (b[0] - a[0], b[1] - a[1]): (first, second)
        for first, a in enumerate(cells)
        for second, b in enumerate(cells)
        if first != second
    }
    return tuple((n, *between[offset]) for n, offset in offsets.items() if offset in between)


class _WindowCounter:
    """Counts windows in images of one size, reusing its buffers."""

    def __init__(self, windows: list[Window], plan: HardPlan, height: int, width: int) -> None:
        self._windows, self._plan, self._side = windows, plan, plan.levels + 1
        columns = [dx for window in windows for _, dx in window.cells]
        pitch = width + max(columns) - min(columns)
        indices = [[dy * pitch + dx for dy, dx in window.cells] for window in windows]
        self._steps = [[index - min(row) for index in row] for row in indices]
        self._size = height * pitch
        self._margin = max(max(row) for row in self._steps)
        self._flat = np.full(self._size + 2 * self._margin, plan.levels, np.int16)
        self._codes = np.empty(self._size + self._margin, np.int16)
        padded = self._flat[self._margin : self._margin + self._size]
        self._inner = padded.reshape(height, pitch)[:, :width]

    def count(self, plane: npt.NDArray[Any], counts: Tensor) -> None:
        """``[H,W]`` to ``[O,L,L]``."""
        levels, ignored = self._plan.levels, self._plan.ignore_index
        np.minimum(_unsigned(plane), levels, out=self._inner, casting="unsafe")
        if ignored is not None and 0 <= ignored < levels:
            self._inner[self._inner == ignored] = levels
        for window, steps in zip(self._windows, self._steps, strict=True):
            bins = self._histogram(steps)
            for index, first, second in window.pairs:
                low, high = sorted((first, second))
                digits = [low, 1, high - low - 1, 1, len(steps) - high - 1]
                matrix = bins.view([self._side**number for number in digits]).sum((0, 2, 4))
                counts[index] = (matrix if first == low else matrix.T)[:-1, :-1]

    def _histogram(self, steps: list[int]) -> Tensor:
        """Histogram of the numbers that the labels at these steps form, over all positions."""
        span = max(steps)
        codes = self._codes[: self._size + span]
        for number, step in enumerate(steps):
            # A pair may be inside the image while other cells of its window are outside.
            start = self._margin - span + step
            labels = self._flat[start : start + len(codes)]
            if number == 0:
                codes[:] = labels
            else:
                np.multiply(codes, self._side, out=codes)
                np.add(codes, labels, out=codes)
        # torch.bincount reads int16 directly; NumPy would convert to int64 first.
        return torch.bincount(torch.from_numpy(codes), minlength=self._side ** len(steps))


def _count_pairs(
    plane: npt.NDArray[Any], plan: HardPlan, offsets: Mapping[int, Offset], counts: Tensor
) -> None:
    """``[H,W]`` to the matrices of ``[O,L,L]`` at the indices of these offsets."""
    levels, ignored = plan.levels, plan.ignore_index
    plane = _unsigned(plane)
    labels = plane if plane.itemsize == 1 else np.minimum(plane, 255).astype(np.uint8)
    labels = np.ascontiguousarray(labels)
    # With 256 levels, no uint8 value is left for labels outside the range, hence the mask.
    mask = (plane < levels).astype(np.uint8) if levels == 256 and plane.itemsize > 1 else None
    height, width = plane.shape
    for index, (dy, dx) in offsets.items():
        rows = max(1, _MAX_EXACT // width)
        top, bottom = max(0, -dy), height - max(0, dy)
        left, right = max(0, -dx), width - max(0, dx)
        for first in range(top, bottom, rows):
            last = min(first + rows, bottom)
            pixels = slice(first, last), slice(left, right)
            neighbours = slice(first + dy, last + dy), slice(left + dx, right + dx)
            histogram = cv2.calcHist(
                [labels[pixels], labels[neighbours]],
                [0, 1],
                None if mask is None else mask[pixels] & mask[neighbours],
                [levels, levels],
                [0, levels, 0, levels],
            )
            counts[index] += torch.from_numpy(histogram).to(counts.dtype)
        if ignored is not None and 0 <= ignored < levels:
            counts[index, ignored] = 0
            counts[index, :, ignored] = 0


def _unsigned(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """View labels as unsigned, so that negative labels are larger than every level."""
    if plane.dtype.kind == "u":
        return plane
    plane = plane.astype(np.int16) if plane.itemsize == 1 else plane
    return plane.view(f"u{plane.itemsize}")
