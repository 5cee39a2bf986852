"""Hands batches from worker processes to the process that trains, in memory that is used again.

    ring = Ring(workers=2, slots=4, size=batch_bytes)     # before the workers are forked
    start_worker(0, ring)                                 # in a worker
    image = room((8, 3, 256, 320), torch.float32)         # in a worker; fill it
    return pack({"image": image})                         # in a worker; arrives as the batch

A batch that goes the usual way lies in shared memory of its own, whose pages the system must find
and clear each time: for 1080p frames that took a tenth of a worker's time. The ring also needs
nothing of ``/dev/shm``, which containers keep small. A slot is free again when the last tensor on
it has died; where none is free, or a batch is larger than a slot, it goes the usual way.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import weakref
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

PREFETCH = 2
"""Batches that a worker reads ahead."""
SLOTS = PREFETCH + 2
"""Slots a worker: what it reads ahead, and what is being trained on while the next arrives."""
_ALIGN = 64
_FREE, _TAKEN = 0, 1
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # names of glibc's mallopt
_NUMBERS = itertools.count()
_RINGS: weakref.WeakValueDictionary[int, Ring] = weakref.WeakValueDictionary()
_worker: _Writer | None = None


class Ring:
    """Anonymous shared memory, cut into slots of one batch each.

    Args:
        workers: Processes that will write; each has slots of its own, so that none waits.
        slots: Slots a worker.
        size: Bytes of a batch; memory is taken from the system only as it is written to.
    """

    def __init__(self, *, workers: int, slots: int, size: int) -> None:
        self.slots = slots
        self.size = -(-size // _ALIGN) * _ALIGN + 4 * _ALIGN
        self.memory = mmap.mmap(-1, workers * slots * self.size)
        # Of a worker's slot only the worker says "taken", and only the receiver says "free".
        self.states = np.frombuffer(mmap.mmap(-1, workers * slots), np.uint8)
        self.states.flags.writeable = True
        self.number = next(_NUMBERS)
        _RINGS[self.number] = self

    def block(self, slot: int) -> Any:
        """The bytes of a slot."""
        return (ctypes.c_char * self.size).from_buffer(self.memory, slot * self.size)

    def release(self, slot: int) -> None:
        """Gives a slot back to its worker."""
        self.states[slot] = _FREE


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in its slot."""

    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class _Parcel:
    """A batch whose large tensors lie in a slot; unpickled, it is the batch again."""

    ring: int
    slot: int
    batch: Any

    def __reduce__(self) -> tuple[Any, tuple[int, int, Any]]:
        return _unpack, (self.ring, self.slot, self.batch)


class _Writer:
    """A worker's end of the ring."""

    def __init__(self, ring: Ring, worker: int) -> None:
        self.ring = ring
        self.mine = range(worker * ring.slots, (worker + 1) * ring.slots)
        self.places: dict[int, _Place] = {}
        self.slot: int | None = None
        self.used = 0

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
        """An uninitialised tensor in the slot of the batch under way; ``None``: no room."""
        if self.slot is None:
            free = [slot for slot in self.mine if self.ring.states[slot] == _FREE]
            if not free:
                return None
            self.slot, self.used = free[0], 0
        place = _Place(self.used, shape, dtype)
        tensor = _tensor(np.frombuffer(self.ring.block(self.slot), np.uint8), place)
        if tensor is not None:
            self.used += -(-tensor.nbytes // _ALIGN) * _ALIGN
            self.places[tensor.data_ptr()] = place
        return tensor

    def pack(self, batch: Any) -> Any:
        """Ends the batch under way; see `pack`."""
        places, slot = self.places, self.slot
        self.places, self.slot = {}, None
        if slot is None or not places:
            return batch
        self.ring.states[slot] = _TAKEN
        return _Parcel(self.ring.number, slot, _replaced(batch, places))


def start_worker(worker: int, ring: Ring | None = None) -> None:
    """Sets up a freshly forked worker: one thread, memory that is kept, its end of the ring."""
    global _worker
    # OpenCV's pool does not survive a fork, and workers are the parallelism. 0 switches it off;
    # 1 would try to end it first, and hang.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    try:
        # Decoded frames come and go by megabytes: kept pages need not be cleared for each anew.
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_TRIM_THRESHOLD, 256 << 20)
    except (OSError, AttributeError, TypeError):
        pass  # not glibc: slower, nothing else
    _worker = None if ring is None else _Writer(ring, worker)


def room(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor; in a worker it lies in the memory that is handed over."""
    made = None if _worker is None else _worker.room(shape, dtype)
    return torch.empty(shape, dtype=dtype) if made is None else made


def pack(batch: Any) -> Any:
    """Makes a worker's batch ready to be handed over; in any other process it stays as it is."""
    return batch if _worker is None else _worker.pack(batch)


def _replaced(batch: Any, places: dict[int, _Place]) -> Any:
    if isinstance(batch, Tensor):
        return places.get(batch.data_ptr(), batch)
    if isinstance(batch, dict):
        return {key: _replaced(value, places) for key, value in batch.items()}
    return batch


def _unpack(ring: int, slot: int, batch: Any) -> Any:
    """Runs where the batch arrives."""
    source = _RINGS[ring]
    block = source.block(slot)
    # All tensors hold the block, so that it dies with the last of them.
    ending = weakref.finalize(block, source.release, slot)
    ending.atexit = False
    return _restored(batch, np.frombuffer(block, np.uint8))


def _restored(batch: Any, memory: Any) -> Any:
    if isinstance(batch, _Place):
        return _tensor(memory, batch)
    if isinstance(batch, dict):
        return {key: _restored(value, memory) for key, value in batch.items()}
    return batch


def _tensor(memory: Any, place: _Place) -> Tensor | None:
    """The tensor at a place of a slot; ``None`` where it does not fit."""
    count = int(np.prod(place.shape)) * place.dtype.itemsize
    if not count or place.offset + count > len(memory):
        return None
    piece = torch.from_numpy(memory[place.offset : place.offset + count])
    return piece.view(place.dtype).view(place.shape)
