"""Endless streams of batches in which step ``n`` is always the same batch.

    stream = Stream(StreamSpec(frames=train, augment=Augment(AugmentConfig(), (256, 320)),
                               batch_size=8), seed=1)
    for batch in stream.batches(first=120, last=200, workers=2): ...

A batch depends on the seed and the step alone, so a run that resumes at step 120 sees what it would
have seen, whatever the number of workers; and ranks of a distributed run take slices of the same
global batch, so that two processes see what one would.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trocar.contract.errors import ArgumentError, DataError
from trocar.train.data.loader.frame_cache import FrameCache, cached
from trocar.train.data.loader.shared_memory import PREFETCH, SLOTS, Ring, pack, room, start_worker
from trocar.train.data.sample import FrameSet, Sample
from trocar.train.data.transforms import Augment

Before = Callable[[Sample, int], Sample]
"""A change of the decoded frame before augmentation, with the draw's seed, e.g. compositing."""


class Batch(TypedDict, total=False):
    """A batch.

    Attributes:
        image: ``[B, 3, h, w]`` float32, 0..255 RGB.
        mask: ``[B, h, w]`` int64 class ids, 255 = ignored; only of labelled streams.
        name: Names of the frames.
        index: ``[B]`` int64, positions in the set.
    """

    image: Tensor
    mask: Tensor
    name: list[str]
    index: Tensor


@dataclass(frozen=True, kw_only=True)
class StreamSpec:
    """What a stream is made of.

    Attributes:
        frames: The set to draw from.
        augment: Resizing and augmentation.
        batch_size: Frames a step over all ranks together.
        labelled: Whether masks are delivered.
        before: A change of the decoded frame before augmentation; ``None`` for none.
        cache_mb: Memory for decoded frames in MB; 0 keeps none.
    """

    frames: FrameSet
    augment: Augment
    batch_size: int
    labelled: bool = True
    before: Before | None = None
    cache_mb: int = 0


class Stream:
    """A step-indexed stream; see the module.

    Args:
        spec: What it is made of.
        seed: The run's seed.
        name: Streams of one run that bear different names draw differently.
        rank: This process among ``world``.
        world: Number of processes; must divide the batch size.

    Raises:
        DataError: The set is empty, or frames of a labelled stream have no mask.
        ArgumentError: The batch cannot be divided among the processes.
    """

    def __init__(
        self, spec: StreamSpec, *, seed: int, name: str = "", rank: int = 0, world: int = 1
    ) -> None:
        _check(spec, rank, world)
        self.spec = spec
        self.seed = (seed & 0xFFFFFFFF, zlib.crc32(name.encode()))
        self.rank, self.world = rank, world
        self.cache = (
            FrameCache(len(spec.frames), megabytes=spec.cache_mb) if spec.cache_mb else None
        )
        self.dataset = DrawDataset(self)

    def __len__(self) -> int:
        """Steps an epoch: the last, incomplete batch counts as one."""
        return -(-len(self.spec.frames) // self.spec.batch_size)

    @property
    def batch_bytes(self) -> int:
        """Bytes of this rank's part of a batch."""
        return self.spec.batch_size // self.world * frame_bytes(self.spec.augment.size)

    def draws(self, step: int) -> list[int]:
        """Numbers of this rank's draws at a step, counted over the whole run."""
        share = self.spec.batch_size // self.world
        first = step * self.spec.batch_size + self.rank * share
        return list(range(first, first + share))

    def position(self, draw: int) -> int:
        """The frame of a draw: every frame comes once before any comes again."""
        epoch, place = divmod(draw, len(self.spec.frames))
        return int(_order(self.seed, epoch, len(self.spec.frames))[place])

    def draw_seed(self, draw: int) -> int:
        """The seed of a draw's augmentation, from the run's seed, the draw and the frame."""
        words = (*self.seed, draw, self.position(draw))
        return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])

    def batch(self, step: int) -> Batch:
        """This rank's part of one step's batch, read in this process."""
        return read_batch(self.dataset, self.draws(step))

    def batches(
        self, *, first: int = 0, last: int, workers: int = 0, pin_memory: bool = False
    ) -> Iterator[Batch]:
        """Batches of steps ``first`` (included) to ``last`` (not included)."""
        steps = [self.draws(step) for step in range(first, last)]
        return iter(loader(self.dataset, steps, workers=workers, pin_memory=pin_memory))


Out = tuple[Tensor, Tensor]
"""Where a frame's image and mask go: a place in each tensor of its batch."""


class DrawDataset(Dataset[Batch]):
    """Draws by number: what a worker process reads."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.augment = stream.spec.augment
        self.read = cached(stream.spec.frames, stream.cache)

    def __getitems__(self, draws: Sequence[int]) -> Batch:
        return read_batch(self, draws)

    def read_into(self, draw: int, out: Out) -> tuple[Tensor, Tensor | None, str, int]:
        """Image, mask, name and position of one draw."""
        spec, position = self.stream.spec, self.stream.position(draw)
        seed = self.stream.draw_seed(draw)
        sample = self.read(position)
        if spec.before is not None:
            sample = spec.before(sample, seed)
        mask = sample.mask if spec.labelled else None
        image, labels = spec.augment(sample.image, mask, seed, out=out)
        return image, labels, sample.name, position


class FrameDataset(Dataset[Batch]):
    """A set's frames in order, resized and not augmented: for validation."""

    def __init__(self, frames: FrameSet, augment: Augment, cache: FrameCache | None = None) -> None:
        self.frames, self.augment = frames, augment
        self.read = cached(frames, cache)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        return read_batch(self, positions)

    def read_into(self, position: int, out: Out) -> tuple[Tensor, Tensor | None, str, int]:
        """Image, mask, name and position of one frame."""
        sample = self.read(position)
        image, labels = self.augment(sample.image, sample.mask, 0, out=out)
        return image, labels, sample.name, position


def loader(
    dataset: DrawDataset | FrameDataset,
    batches: Sequence[list[int]],
    *,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Batch]:
    """A DataLoader over given batches of indices.

    Workers are forked: they share the frame cache, and start without importing torch again.
    """
    ring = None
    if workers and len(batches):
        size = max(map(len, batches)) * frame_bytes(dataset.augment.size)
        ring = Ring(workers=workers, slots=SLOTS, size=size)
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=pack,
        pin_memory=pin_memory,
        worker_init_fn=functools.partial(start_worker, ring=ring) if workers else None,
        multiprocessing_context="fork" if workers else None,
        prefetch_factor=PREFETCH if workers else None,
        # Without one of its own, each loader would draw from the global generator.
        generator=torch.Generator(),
    )


def frame_bytes(size: tuple[int, int]) -> int:
    """Bytes of one frame of a batch, image float32 and mask int64."""
    return size[0] * size[1] * (3 * 4 + 8)


def read_batch(dataset: DrawDataset | FrameDataset, numbers: Sequence[int]) -> Batch:
    """Reads frames straight into the tensors of their batch; it has masks where all frames do."""
    size = dataset.augment.size
    images = room((len(numbers), 3, *size), torch.float32)
    masks = room((len(numbers), *size), torch.int64)  # costs nothing where no mask is written
    read = [dataset.read_into(number, (images[i], masks[i])) for i, number in enumerate(numbers)]
    batch = Batch(
        image=images,
        name=[name for _, _, name, _ in read],
        index=torch.tensor([position for _, _, _, position in read], dtype=torch.int64),
    )
    if all(mask is not None for _, mask, _, _ in read):
        batch["mask"] = masks
    return batch


@functools.lru_cache(maxsize=8)
def _order(seed: tuple[int, int], epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((*seed, epoch)).permutation(count)


def _check(spec: StreamSpec, rank: int, world: int) -> None:
    if not len(spec.frames):
        raise DataError(
            f"{spec.frames.name} at {spec.frames.root} has no frames to draw from",
            remedy="name a set or split that has some",
        )
    bare = [item for item in spec.frames.items if not item.labelled]
    if spec.labelled and bare:
        raise DataError(
            f"{len(bare)} frames of {spec.frames.root} have no mask, the first is {bare[0].image}",
            remedy="give them masks, or pass them as --unlabelled",
        )
    if spec.batch_size < 1 or spec.batch_size % world or not 0 <= rank < world:
        raise ArgumentError(
            f"a batch of {spec.batch_size} cannot be divided among {world} processes "
            f"(this is number {rank})",
            remedy=f"choose a batch size that is a multiple of {world}",
        )
