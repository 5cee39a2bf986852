"""Batches from workers: the same bits, in slots that are used again and never while in use."""

from __future__ import annotations

import functools
import gc
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from trocar.train.data.loader import shared_memory
from trocar.train.data.loader.shared_memory import (
    SharedMemoryRing,
    allocate,
    start_worker,
    to_shared,
)


class Numbers(Dataset[dict[str, Any]]):
    """Batch ``n`` is full of ``n``."""

    def __init__(self, size: int = 1000) -> None:
        self.size = size

    def __getitem__(self, n: int) -> dict[str, Any]:
        image = allocate((2, self.size), torch.float32).fill_(n)
        mask = allocate((2, 7), torch.int64).fill_(n)
        return {"a": {"image": image, "mask": mask, "name": ["x", "y"], "step": n}}


def batches(
    ring: SharedMemoryRing | None, *, count: int = 30, workers: int = 2, size: int = 1000
) -> Any:
    return DataLoader(
        Numbers(size),
        batch_size=None,
        sampler=range(count),  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=to_shared,
        worker_init_fn=functools.partial(start_worker, ring=ring),
        multiprocessing_context="fork",
        prefetch_factor=2,
    )


def right(batch: dict[str, Any], n: int) -> bool:
    inner = batch["a"]
    return (
        inner["image"].shape == (2, 1000)
        and inner["image"].dtype == torch.float32
        and inner["mask"].dtype == torch.int64
        and bool((inner["image"] == n).all() and (inner["mask"] == n).all())
        and inner["name"] == ["x", "y"]
        and inner["step"] == n
    )


def in_ring(ring: SharedMemoryRing, tensor: torch.Tensor) -> bool:
    start = np.frombuffer(ring.memory, np.uint8).ctypes.data
    return start <= tensor.data_ptr() < start + len(ring.memory)


def test_batches_arrive_whole_and_slots_are_used_again() -> None:
    ring = SharedMemoryRing(workers=2, slots=4, size=9000)
    addresses = set()
    for n, batch in enumerate(batches(ring)):
        assert right(batch, n)
        assert in_ring(ring, batch["a"]["image"])
        assert in_ring(ring, batch["a"]["mask"])
        addresses.add(batch["a"]["image"].data_ptr())
    assert len(addresses) <= 8 < 30
    del batch
    gc.collect()
    assert not ring.states.any()


def test_what_is_kept_is_never_written_over() -> None:
    ring = SharedMemoryRing(workers=1, slots=2, size=9000)
    kept = list(batches(ring, workers=1))
    assert all(right(batch, n) for n, batch in enumerate(kept))
    assert sum(in_ring(ring, batch["a"]["image"]) for batch in kept) == 2
    # A view alone keeps its batch's slot.
    view = kept[0]["a"]["mask"][1, 3:]
    assert in_ring(ring, view)
    kept.clear()
    gc.collect()
    assert ring.states.tolist().count(1) == 1
    assert view.tolist() == [0] * 4
    del view
    gc.collect()
    assert not ring.states.any()


@pytest.mark.parametrize("size", [64, 0])
def test_a_batch_larger_than_a_slot_goes_the_usual_way(size: int) -> None:
    ring = SharedMemoryRing(workers=2, slots=2, size=size) if size else None
    for n, batch in enumerate(batches(ring, count=6)):
        assert right(batch, n)


def test_outside_of_workers_nothing_changes() -> None:
    assert shared_memory._worker is None
    batch = Numbers()[3]
    assert to_shared(batch) is batch
    assert right(batch, 3)


def test_a_shared_batch_is_the_batch_again_in_the_receiving_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ring = SharedMemoryRing(workers=1, slots=1, size=9000)
    monkeypatch.setattr(shared_memory, "_worker", shared_memory._Writer(ring, 0))
    shared = to_shared(Numbers()[5])
    assert ring.states.tolist() == [1]
    assert len(pickle.dumps(shared)) < 1000
    assert right(pickle.loads(pickle.dumps(shared)), 5)
    assert to_shared({"name": ["no tensor"]}) == {"name": ["no tensor"]}
