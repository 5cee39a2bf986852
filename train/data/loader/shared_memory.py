"""A ring of shared memory in which worker processes give batches to the training process.

    ring = SharedMemoryRing(workers=2, slots=4, size=batch_bytes)   # before the workers are forked
    start_worker(0, ring)                                           # in a worker
    image = allocate((8, 3, 256, 320), torch.float32)               # in a worker, which fills it
    return to_shared({"image": image})                              # the training process gets it

Without the ring, torch puts each tensor into a new file of shared memory, and the system must find
and clear its pages each time. `benchmarks/loader.py` measures what that costs; the figures are in
docs/data.md. The ring also needs no space in ``/dev/shm``, which is small in containers.

A slot is free again when the last tensor in it has been deleted. A batch that is larger than a
slot, or finds no free slot, is passed as torch does it.
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
"""Slots of a worker: the batches read ahead, the one in training and the one that arrives next."""
_ALIGN = 64
_FREE, _TAKEN = 0, 1
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # names of glibc's mallopt
_NUMBERS = itertools.count()
_RINGS: weakref.WeakValueDictionary[int, SharedMemoryRing] = weakref.WeakValueDictionary()
_worker: _Writer | None = None


class SharedMemoryRing:
    """Anonymous shared memory, divided into slots of one batch each.

    Args:
        workers: Processes that will write. Each has its own slots, so that none waits.
        slots: Slots of each worker.
        size: Bytes of a batch. The system provides memory only as it is written to.
    """

    def __init__(self, *, workers: int, slots: int, size: int) -> None:
        self.slots = slots
        self.size = -(-size // _ALIGN) * _ALIGN + 4 * _ALIGN
        self.memory = mmap.mmap(-1, workers * slots * self.size)
        # Only the worker marks its slot as taken, and only the receiver marks it as free.
        self.states = np.frombuffer(mmap.mmap(-1, workers * slots), np.uint8)
        self.states.flags.writeable = True
        self.number = next(_NUMBERS)
        _RINGS[self.number] = self

    def slot_bytes(self, slot: int) -> Any:
        """The memory of a slot, as a ctypes array."""
        return (ctypes.c_char * self.size).from_buffer(self.memory, slot * self.size)

    def release(self, slot: int) -> None:
        """Marks a slot as free."""
        self.states[slot] = _FREE


@dataclass(frozen=True)
class _Offset:
    """The position of a tensor in its slot."""

    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class _SharedBatch:
    """A batch whose large tensors lie in a slot; unpickling it gives the batch itself."""

    ring: int
    slot: int
    batch: Any

    def __reduce__(self) -> tuple[Any, tuple[int, int, Any]]:
        return _from_shared, (self.ring, self.slot, self.batch)


class _Writer:
    """The ring as one worker uses it."""

    def __init__(self, ring: SharedMemoryRing, worker: int) -> None:
        self.ring = ring
        self.own_slots = range(worker * ring.slots, (worker + 1) * ring.slots)
        self.offsets: dict[int, _Offset] = {}
        self.slot: int | None = None
        self.used = 0

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
        """A tensor in the slot of the current batch; ``None`` where it does not fit."""
        if self.slot is None:
            free = [slot for slot in self.own_slots if self.ring.states[slot] == _FREE]
            if not free:
                return None
            self.slot, self.used = free[0], 0
        offset = _Offset(self.used, shape, dtype)
        tensor = _tensor_at(np.frombuffer(self.ring.slot_bytes(self.slot), np.uint8), offset)
        if tensor is not None:
            self.used += -(-tensor.nbytes // _ALIGN) * _ALIGN
            self.offsets[tensor.data_ptr()] = offset
        return tensor

    def to_shared(self, batch: Any) -> Any:
        """Ends the current batch; see the function `to_shared`."""
        offsets, slot = self.offsets, self.slot
        self.offsets, self.slot = {}, None
        if slot is None or not offsets:
            return batch
        self.ring.states[slot] = _TAKEN
        return _SharedBatch(self.ring.number, slot, _with_offsets(batch, offsets))


def start_worker(worker: int, ring: SharedMemoryRing | None = None) -> None:
    """Sets up a forked worker process: one thread, allocator settings, its slots of the ring.

    Args:
        worker: Number of the worker, from 0.
        ring: ``None``: batches are passed as torch does it.
    """
    global _worker
    # OpenCV's threads do not survive a fork, and the workers run in parallel anyway. 0 disables
    # the threads; 1 would try to end them first, and hang.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    try:
        # Frames of several megabytes are allocated all the time: memory that the process keeps
        # need not be cleared by the system for each of them.
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_TRIM_THRESHOLD, 256 << 20)
    except (OSError, AttributeError, TypeError):
        pass  # not glibc: slower, but correct
    _worker = None if ring is None else _Writer(ring, worker)


def allocate(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor; in a worker with a ring it is in the ring if it fits."""
    shared = None if _worker is None else _worker.allocate(shape, dtype)
    return torch.empty(shape, dtype=dtype) if shared is None else shared


def to_shared(batch: Any) -> Any:
    """Replaces the tensors of the ring in a worker's batch by their offsets, for the queue.

    In any other process, and for a batch without such tensors, the batch is returned as it is.
    """
    return batch if _worker is None else _worker.to_shared(batch)


def _with_offsets(batch: Any, offsets: dict[int, _Offset]) -> Any:
    if isinstance(batch, Tensor):
        return offsets.get(batch.data_ptr(), batch)
    if isinstance(batch, dict):
        return {key: _with_offsets(value, offsets) for key, value in batch.items()}
    return batch


def _from_shared(ring: int, slot: int, batch: Any) -> Any:
    """The batch with its tensors; pickle calls this in the receiving process."""
    source = _RINGS[ring]
    memory = source.slot_bytes(slot)
    # All tensors refer to this object, so that it is deleted with the last of them.
    finalizer = weakref.finalize(memory, source.release, slot)
    finalizer.atexit = False
    return _with_tensors(batch, np.frombuffer(memory, np.uint8))


def _with_tensors(batch: Any, memory: Any) -> Any:
    if isinstance(batch, _Offset):
        return _tensor_at(memory, batch)
    if isinstance(batch, dict):
        return {key: _with_tensors(value, memory) for key, value in batch.items()}
    return batch


def _tensor_at(memory: Any, at: _Offset) -> Tensor | None:
    """The tensor at an offset of a slot; ``None`` where it does not fit."""
    count = int(np.prod(at.shape)) * at.dtype.itemsize
    if not count or at.offset + count > len(memory):
        return None
    piece = torch.from_numpy(memory[at.offset : at.offset + count])
    return piece.view(at.dtype).view(at.shape)
