"""Brings batches to the loop, step by step, read ahead by worker processes where asked.

for batch in feed({"labelled": stream}, range(10, 20)): ...
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterator, Mapping

from torch.utils.data import DataLoader, Dataset

from trocar.train.data.loader.shared_memory import PREFETCH, SLOTS, Ring, pack, start_worker
from trocar.train.methods.protocol import Batch, BatchSource

Batches = Mapping[str, Batch]


class _Steps(Dataset[Batches]):
    """All streams' batches of one step, by the step's number."""

    def __init__(self, streams: Mapping[str, BatchSource]) -> None:
        self.streams = streams

    def __getitem__(self, step: int) -> Batches:
        return {name: source.batch(step) for name, source in self.streams.items()}


def feed(
    streams: Mapping[str, BatchSource],
    steps: range,
    *,
    workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[Batches]:
    """Batches of the given steps in order; the same whatever the number of workers.

    Args:
        streams: Sources by name.
        steps: Steps to deliver.
        workers: Processes that read ahead, forked so that they share caches; 0 reads here.
        pin_memory: For faster copies to a GPU.
    """
    ring = None
    # What a source does not know the size of goes the usual way.
    size = sum(getattr(source, "batch_bytes", 0) for source in streams.values())
    if workers and size:
        ring = Ring(workers=workers, slots=SLOTS, size=size)
    return iter(
        DataLoader(
            _Steps(streams),
            batch_size=None,
            sampler=steps,
            num_workers=workers,
            pin_memory=pin_memory,
            prefetch_factor=PREFETCH if workers else None,
            worker_init_fn=functools.partial(_start_worker, ring=ring) if workers else None,
            multiprocessing_context="fork" if workers else None,
            collate_fn=pack,
        )
    )


def _start_worker(worker: int, *, ring: Ring | None) -> None:
    # Ctrl-C reaches the whole process group; the training process decides when to stop, and it
    # ends its workers by SIGTERM, whose handler they have inherited.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    start_worker(worker, ring)
