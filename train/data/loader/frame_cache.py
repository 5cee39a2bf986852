"""A cache of decoded frames that all loader workers share, bounded in memory.

cache = FrameCache(len(frames), megabytes=2048); read = cached(frames, cache)

It fills once and then keeps what it has. Frames come in a new random order each epoch, and under
that order throwing out the oldest frame would throw out nearly every frame before its next use.
"""

from __future__ import annotations

import mmap
import multiprocessing
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError
from trocar.train.data.sample import FrameSet, Sample

_EMPTY, _FULL = 0, 1
_FIELDS = 5  # state, offset, height, width, whether there is a mask


class FrameCache:
    """Decoded frames in anonymous shared memory; a forked worker sees what another put there.

    Args:
        count: Number of frames of the set.
        megabytes: Bound of the memory; it is taken from the system only as it fills.

    Raises:
        ArgumentError: A bound below 0.
    """

    def __init__(self, count: int, *, megabytes: int) -> None:
        if megabytes < 0:
            raise ArgumentError(
                f"a cache of {megabytes} MB was asked for", remedy="give 0 (none) or more"
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

    def get(self, position: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None] | None:
        """Image and mask at a position, as read-only views; ``None`` where nothing is kept."""
        state, offset, height, width, masked = (int(v) for v in self._rows[position])
        if state != _FULL:
            return None
        image = self._view(offset, (height, width, 3))
        mask = self._view(offset + image.size, (height, width)) if masked else None
        return image, mask

    def put(self, position: int, image: NDArray[np.uint8], mask: NDArray[np.uint8] | None) -> bool:
        """Keeps a frame if there is room; says whether it did."""
        size = image.size + (0 if mask is None else mask.size)
        with self._lock:
            offset = self.used
            if self._rows[position, 0] == _FULL or offset + size > self.capacity:
                return False
            self._index[-1] = offset + size
        room = np.frombuffer(self._arena, np.uint8, size, offset)
        room[: image.size] = image.reshape(-1)
        if mask is not None:
            room[image.size :] = mask.reshape(-1)
        height, width = image.shape[:2]
        self._rows[position, 1:] = (offset, height, width, mask is not None)
        self._rows[position, 0] = _FULL  # last: a reader never sees a half-written frame
        return True

    def _view(self, offset: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        view = np.frombuffer(self._arena, np.uint8, int(np.prod(shape)), offset).reshape(shape)
        view.flags.writeable = False
        return view


def cached(frames: FrameSet, cache: FrameCache | None) -> Callable[[int], Sample]:
    """A reader of a set's frames by position that looks into the cache first."""

    def read(position: int) -> Sample:
        item = frames.items[position]
        kept = None if cache is None else cache.get(position)
        if kept is not None:
            return Sample(name=item.name, image=kept[0], mask=kept[1])
        sample = frames.read(item)
        if cache is not None:
            cache.put(position, sample.image, sample.mask)
        return sample

    return read
