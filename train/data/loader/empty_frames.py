"""Frames without instruments: which they are, and how every batch gets some of them.

    draws = BatchDraws.split(200, frames_without_instruments(frames), batch_size=8)
    draws.frame_index(0, seed=(1, 2))

A set with few frames without instruments gives many batches that hold none, and a network that is
not told often enough that there may be nothing finds something everywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX
from trocar.train.data.sample import FrameSet, Item

MAX_FRAMES = 1000
"""Frames that are looked through, at equal distances; more would delay the start too long."""


def frames_without_instruments(
    frames: FrameSet, *, max_frames: int = MAX_FRAMES, threads: int = 2
) -> tuple[int, ...]:
    """Indices of the frames whose masks show no instrument and no ignored pixel.

    Args:
        frames: Labelled frames; each is read once.
        max_frames: Frames that are looked through.
        threads: Frames that are read at once.

    Raises:
        DataError: A frame or its mask cannot be read.
    """
    instruments = np.array([row.id for row in frames.table if row.instrument] + [IGNORE_INDEX])
    if len(instruments) == 1:
        return ()
    step = max(1, -(-len(frames) // max_frames))
    indices = range(0, len(frames), step)

    def is_empty(item: Item) -> bool:
        mask = frames.read(item).mask
        return mask is not None and not np.isin(mask, instruments).any()

    with ThreadPoolExecutor(threads, thread_name_prefix="trocar-masks") as pool:
        found = list(pool.map(is_empty, (frames.items[index] for index in indices)))
    return tuple(index for index, empty in zip(indices, found, strict=True) if empty)


class Repeats:
    """How often each frame is drawn in an epoch, on average.

    Args:
        factors: One number of 1 or more for each frame.
    """

    def __init__(self, factors: Sequence[float]) -> None:
        self.factors = np.array(factors, dtype=np.float64)
        self.total = round(float(self.factors.sum()))


@dataclass(frozen=True)
class BatchDraws:
    """Which frame each sample index of a stream draws.

    Attributes:
        batch_size: Samples of a step.
        first: Samples at the beginning of each batch that are drawn from ``empty``.
        empty: Indices of frames without instruments; of no meaning if ``first`` is 0.
        rest: Indices that the other samples are drawn from.
        repeats: How often each of ``rest`` is drawn in an epoch; ``None`` for once each.
    """

    batch_size: int
    first: int
    empty: tuple[int, ...]
    rest: tuple[int, ...]
    repeats: Repeats | None = None

    @classmethod
    def split(
        cls,
        count: int,
        empty: tuple[int, ...],
        batch_size: int,
        factors: tuple[float, ...] = (),
    ) -> BatchDraws:
        """The draws of a set of ``count`` frames.

        A batch gets as many empty frames as their share of the set, at least one and at most all
        but one. A batch of one, or a set of empty frames alone, is drawn as it comes.

        Args:
            count: Frames of the set.
            empty: Indices of the frames without instruments.
            batch_size: Samples of a step.
            factors: How often each frame of the set is drawn in an epoch; empty for once each.
        """
        others = sorted(set(range(count)) - set(empty))
        if not empty or not others or batch_size < 2:
            first, empty, others = 0, (), list(range(count))
        else:
            first = min(max(round(batch_size * len(empty) / count), 1), batch_size - 1)
        own = [factors[index] for index in others] if factors else []
        repeats = Repeats(own) if any(factor != 1 for factor in own) else None
        return cls(batch_size, first, empty, tuple(others), repeats)

    @property
    def steps(self) -> int:
        """Steps in which every frame of ``rest`` comes once, or as often as its factor says."""
        drawn = len(self.rest) if self.repeats is None else self.repeats.total
        return -(-drawn // (self.batch_size - self.first))

    def frame_index(self, sample_index: int, seed: tuple[int, int]) -> int:
        """The frame of a sample, from the seed of the run and the index alone."""
        step, position = divmod(sample_index, self.batch_size)
        if position < self.first:
            return _nth(self.empty, step * self.first + position, (*seed, 1))
        place = step * (self.batch_size - self.first) + position - self.first
        if self.repeats is None:
            return _nth(self.rest, place, seed)
        epoch, position = divmod(place, self.repeats.total)
        return self.rest[int(_repeated(self.repeats, seed, epoch)[position])]


def _nth(indices: tuple[int, ...], place: int, seed: tuple[int, ...]) -> int:
    """The draw number ``place`` from an endless row of permutations."""
    epoch, position = divmod(place, len(indices))
    return indices[int(_order(seed, epoch, len(indices))[position])]


@functools.lru_cache(maxsize=16)
def _order(seed: tuple[int, ...], epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((*seed, epoch)).permutation(count)


@functools.lru_cache(maxsize=16)
def _repeated(repeats: Repeats, seed: tuple[int, ...], epoch: int) -> NDArray[np.int64]:
    """An epoch's order: a frame of factor 2.4 comes two or three times, 2.4 times on average."""
    rng = np.random.default_rng((*seed, epoch))
    order = rng.permutation(len(repeats.factors))
    ends = np.cumsum(repeats.factors[order])
    places = (rng.random() + np.arange(repeats.total)) * (ends[-1] / repeats.total)
    drawn = order[np.searchsorted(ends, places, side="right").clip(max=len(order) - 1)]
    return rng.permutation(drawn)
