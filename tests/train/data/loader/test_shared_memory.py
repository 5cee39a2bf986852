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

from trocar.train.data.loader import shared_memory as handover
from trocar.train.data.loader.shared_memory import Ring, pack, room, start_worker


class Numbers(Dataset[dict[str, Any]]):
    """Batch ``n`` is full of ``n``."""

    def __init__(self, size: int = 1000) -> None:
        self.size = size

    def __getitem__(self, n: int) -> dict[str, Any]:
        image = room((2, self.size), torch.float32).fill_(n)
        mask = room((2, 7), torch.int64).fill_(n)
        return {"a": {"image": image, "mask": mask, "name": ["x", "y"], "step": n}}


def batches(ring: Ring | None, *, count: int = 30, workers: int = 2, size: int = 1000) -> Any:
    return DataLoader(
        Numbers(size),
        batch_size=None,
        sampler=range(count),  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=pack,
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


def in_ring(ring: Ring, tensor: torch.Tensor) -> bool:
    start = np.frombuffer(ring.memory, np.uint8).ctypes.data
    return start <= tensor.data_ptr() < start + len(ring.memory)


def test_batches_arrive_whole_and_slots_are_used_again() -> None:
    ring = Ring(workers=2, slots=4, size=9000)
    places = set()
    for n, batch in enumerate(batches(ring)):
        assert right(batch, n)
        assert in_ring(ring, batch["a"]["image"])
        assert in_ring(ring, batch["a"]["mask"])
        places.add(batch["a"]["image"].data_ptr())
    assert len(places) <= 8 < 30
    del batch
    gc.collect()
    assert not ring.states.any()


def test_what_is_kept_is_never_written_over() -> None:
    ring = Ring(workers=1, slots=2, size=9000)
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
    ring = Ring(workers=2, slots=2, size=size) if size else None
    for n, batch in enumerate(batches(ring, count=6)):
        assert right(batch, n)


def test_outside_of_workers_nothing_changes() -> None:
    assert handover._worker is None
    batch = Numbers()[3]
    assert pack(batch) is batch
    assert right(batch, 3)


def test_a_parcel_is_the_batch_again_where_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring(workers=1, slots=1, size=9000)
    monkeypatch.setattr(handover, "_worker", handover._Writer(ring, 0))
    parcel = pack(Numbers()[5])
    assert ring.states.tolist() == [1]
    assert len(pickle.dumps(parcel)) < 1000
    assert right(pickle.loads(pickle.dumps(parcel)), 5)
    assert pack({"name": ["no tensor"]}) == {"name": ["no tensor"]}
