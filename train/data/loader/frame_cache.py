"""A cache of decoded frames of bounded size, shared by all loader workers.

cache = FrameCache(len(frames), megabytes=2048); read = cached(frames, cache)

Frames are added until the cache is full and are never removed. Each epoch has a new random order:
if the oldest frame made room for the newest, nearly every frame would be removed before its next
use.
"""

from __future__ import annotations

import mmap
import multiprocessing
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError
from trocar.train.data.sample import FrameSet, Item, Sample

_EMPTY, _FULL = 0, 1
_FIELDS = 5  # state, offset, height, width, number of maps: mask, and instances


class FrameCache:
    """Decoded frames in anonymous shared memory; a forked worker reads what another one stored.

    Args:
        count: Number of frames of the set.
        megabytes: Upper limit of the memory. The system provides memory only as it is filled.

    Raises:
        ArgumentError: A limit below 0.
    """

    def __init__(self, count: int, *, megabytes: int) -> None:
        if megabytes < 0:
            raise ArgumentError(
                f"the cache size is {megabytes} MB, expected 0 or more",
                remedy="pass 0 to disable the cache",
            )
        self.capacity = megabytes << 20
        self._arena = mmap.mmap(-1, max(self.capacity, 1))
        self._index = np.frombuffer(
            mmap.mmap(-1, 8 * (_FIELDS * count + 1)), np.int64
        )  # the last entry is the number of bytes in use
        self._rows = self._index[:-1].reshape(count, _FIELDS)
        self._lock = multiprocessing.get_context("fork").Lock()

    @property
    def used(self) -> int:
        """Bytes in use."""
        return int(self._index[-1])

    def __len__(self) -> int:
        return int((self._rows[:, 0] == _FULL).sum())

    def get(self, index: int) -> tuple[NDArray[np.uint8], ...] | None:
        """Image and maps of a frame, as read-only views; ``None`` where it is not cached."""
        state, offset, height, width, count = (int(v) for v in self._rows[index])
        if state != _FULL:
            return None
        image = self._view(offset, (height, width, 3))
        starts = (offset + image.size + number * height * width for number in range(count))
        return image, *(self._view(start, (height, width)) for start in starts)

    def put(self, index: int, image: NDArray[np.uint8], *maps: NDArray[np.uint8] | None) -> bool:
        """Stores a frame if there is space left; returns whether it did.

        Args:
            index: Of the frame.
            image: ``[H, W, 3]``.
            maps: ``[H, W]`` mask, and instances behind it; ``None`` is left out.
        """
        given = [one for one in maps if one is not None]
        size = image.size + sum(one.size for one in given)
        with self._lock:
            offset = self.used
            if self._rows[index, 0] == _FULL or offset + size > self.capacity:
                return False
            self._index[-1] = offset + size
        stored = np.frombuffer(self._arena, np.uint8, size, offset)
        np.concatenate([part.reshape(-1) for part in (image, *given)], out=stored)
        height, width = image.shape[:2]
        self._rows[index, 1:] = (offset, height, width, len(given))
        self._rows[index, 0] = _FULL  # last, so that no reader gets an incomplete frame
        return True

    def _view(self, offset: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        view = np.frombuffer(self._arena, np.uint8, int(np.prod(shape)), offset).reshape(shape)
        view.flags.writeable = False
        return view


def cached(
    frames: FrameSet,
    cache: FrameCache | None,
    read_item: Callable[[Item], Sample] | None = None,
) -> Callable[[int], Sample]:
    """A function that reads a frame by its index, from the cache where possible.

    Args:
        frames: The set.
        cache: ``None`` to read always.
        read_item: How a frame is read; ``None`` for ``frames.read``.
    """
    from_disk = read_item or frames.read

    def read(index: int) -> Sample:
        item = frames.items[index]
        hit = None if cache is None else cache.get(index)
        if hit is not None:
            image, mask, instances = (*hit, None, None)[:3]
            assert image is not None
            return Sample(name=item.name, image=image, mask=mask, instances=instances)
        sample = from_disk(item)
        if cache is not None:
            cache.put(index, sample.image, sample.mask, sample.instances)
        return sample

    return read
