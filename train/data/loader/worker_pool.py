"""Gives the training loop the batches of each step; worker processes can read ahead.

for batch in feed({"labelled": stream}, range(10, 20)): ...
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterator, Mapping

from torch.utils.data import DataLoader, Dataset

from trocar.train.data.loader.shared_memory import (
    PREFETCH,
    SLOTS,
    SharedMemoryRing,
    start_worker,
    to_shared,
)
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
    """Batches of the given steps in order; they do not depend on the number of workers.

    Args:
        streams: Sources by name.
        steps: The steps.
        workers: Processes that read ahead, forked so that they share caches; 0: this process
            reads.
        pin_memory: For faster copies to a GPU.
    """
    ring = None
    # Batches of unknown size are passed as torch does it.
    size = sum(getattr(source, "batch_bytes", 0) for source in streams.values())
    if workers and size:
        ring = SharedMemoryRing(workers=workers, slots=SLOTS, size=size)
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
            collate_fn=to_shared,
        )
    )


def _start_worker(worker: int, *, ring: SharedMemoryRing | None) -> None:
    # Ctrl-C reaches all processes of the group, and only the training process may react to it. It
    # ends its workers by SIGTERM, for which they must not keep the handler that they inherit.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    start_worker(worker, ring)
