"""Endless streams of batches in which step ``n`` is always the same batch.

    stream = Stream(StreamSpec(frames=train, augment=Augment(AugmentConfig(), (256, 320)),
                               batch_size=8), seed=1)
    for batch in stream.batches(start=120, stop=200, workers=2): ...

A batch depends only on the seed and the step. So a run that resumes at step 120 gets the batches
that it would have got without the interruption, with any number of workers. The processes of a
distributed run take slices of the same global batch.

A *sample index* counts the samples of a whole run: with batch size 8, step 2 has the sample indices
16 to 23. It decides the frame and, with the seed of the run, the seed of the augmentation.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trocar.contract.errors import ArgumentError, DataError
from trocar.train.data.loader.empty_frames import BatchDraws
from trocar.train.data.loader.frame_cache import FrameCache, cached
from trocar.train.data.loader.instances import InstanceReader, move_instances
from trocar.train.data.loader.shared_memory import (
    PREFETCH,
    SLOTS,
    SharedMemoryRing,
    allocate,
    start_worker,
    to_shared,
)
from trocar.train.data.sample import FrameSet, Sample
from trocar.train.data.transforms import Augment

PreAugment = Callable[[Sample, int], Sample]
"""A change of the decoded frame before augmentation, with the sample's seed, e.g. compositing."""


class Batch(TypedDict, total=False):
    """A batch.

    Attributes:
        image: ``[B, 3, h, w]`` float32, 0..255 RGB.
        mask: ``[B, h, w]`` int64 class ids, 255 = ignored; only of labelled streams.
        outside: ``[B, h, w]`` int64, 255 where augmentation brought the pixel in from outside of
            the frame, else 0; only of unlabelled streams.
        instances: ``[B, h, w]`` uint8, 1 to n for the n instances of a frame, 0 for none; only
            where the stream has them.
        name: Names of the frames.
        index: ``[B]`` int64, indices of the frames in their set.
    """

    image: Tensor
    mask: Tensor
    outside: Tensor
    instances: Tensor
    name: list[str]
    index: Tensor


@dataclass(frozen=True, kw_only=True)
class StreamSpec:
    """What a stream is made of.

    Attributes:
        frames: The set to draw from.
        augment: Resizing and augmentation.
        batch_size: Frames of one step, of all processes together.
        labelled: Whether batches have masks.
        pre_augment: A change of the decoded frame before augmentation; ``None`` for none.
        cache_mb: Memory for decoded frames in MB; 0 disables the cache.
        empty: Indices of frames without instruments. Every batch has some of them, as many as
            their share of the set, at least one; they lie at its beginning.
        repeats: How often each frame is drawn in an epoch, 1 or more; empty for once each.
        instances: Largest number of instances of a frame, where batches have instance maps; 0 for
            batches without them.
    """

    frames: FrameSet
    augment: Augment
    batch_size: int
    labelled: bool = True
    pre_augment: PreAugment | None = None
    cache_mb: int = 0
    empty: tuple[int, ...] = ()
    repeats: tuple[float, ...] = ()
    instances: int = 0


class Stream:
    """A stream whose batches are known by their step; see the module.

    Args:
        spec: What it is made of.
        seed: Seed of the run.
        name: Streams of one run with different names give different samples.
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
        self.draws = BatchDraws.split(
            len(spec.frames), spec.empty, spec.batch_size, factors=spec.repeats
        )
        self.dataset = SampleDataset(self)

    def __len__(self) -> int:
        """Steps of an epoch; an incomplete last batch counts as one."""
        return self.draws.steps

    @property
    def batch_bytes(self) -> int:
        """Bytes of this process's part of a batch."""
        size, instances = self.spec.augment.size, self.spec.instances > 0
        return self.spec.batch_size // self.world * frame_bytes(size, instances=instances)

    def sample_indices(self, step: int) -> list[int]:
        """Sample indices of this process's part of a step."""
        share = self.spec.batch_size // self.world
        start = step * self.spec.batch_size + self.rank * share
        return list(range(start, start + share))

    def frame_index(self, sample_index: int) -> int:
        """The frame of a sample: in an epoch, every frame comes exactly once.

        With `StreamSpec.empty` this holds for the frames with and those without instruments, each
        for itself.
        """
        return self.draws.frame_index(sample_index, self.seed)

    def sample_seed(self, sample_index: int) -> int:
        """The seed of a sample's augmentation."""
        words = (*self.seed, sample_index, self.frame_index(sample_index))
        return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])

    def batch(self, step: int) -> Batch:
        """This process's part of the batch of a step, read in this process."""
        return read_batch(self.dataset, self.sample_indices(step))

    def batches(
        self, *, start: int = 0, stop: int, workers: int = 0, pin_memory: bool = False
    ) -> Iterator[Batch]:
        """Batches of the steps ``start`` (included) to ``stop`` (not included)."""
        steps = [self.sample_indices(step) for step in range(start, stop)]
        return iter(data_loader(self.dataset, steps, workers=workers, pin_memory=pin_memory))


Out = tuple[Tensor, Tensor, Tensor | None]
"""The slices of a batch's image, mask and any instance tensors that one frame is written into."""


class SampleDataset(Dataset[Batch]):
    """Samples by sample index: what a worker process reads."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.augment = stream.spec.augment
        self.labels: Literal["mask", "outside"] = "mask" if stream.spec.labelled else "outside"
        spec = stream.spec
        self.instances = spec.instances > 0
        with_instances = InstanceReader(spec.frames, most=spec.instances)
        self.read = cached(spec.frames, stream.cache, with_instances if self.instances else None)

    def __getitems__(self, sample_indices: Sequence[int]) -> Batch:
        return read_batch(self, sample_indices)

    def read_into(self, sample_index: int, out: Out) -> tuple[Tensor, Tensor | None, str, int]:
        """Image, mask, name and frame index of one sample."""
        spec, index = self.stream.spec, self.stream.frame_index(sample_index)
        seed = self.stream.sample_seed(sample_index)
        sample = self.read(index)
        if spec.pre_augment is not None:
            sample = spec.pre_augment(sample, seed)
        # Without labels the warp of an empty map still tells which pixels it brought in.
        mask = sample.mask if spec.labelled else np.zeros(sample.image.shape[:2], np.uint8)
        image, labels = spec.augment(sample.image, mask, seed, out=out[:2])
        if out[2] is not None and sample.instances is not None:
            move_instances(spec.augment, sample.instances, seed, out=out[2])
        return image, labels, sample.name, index


class FrameDataset(Dataset[Batch]):
    """The frames of a set in order, resized and not augmented: for validation."""

    labels: Literal["mask"] = "mask"
    instances = False

    def __init__(self, frames: FrameSet, augment: Augment, cache: FrameCache | None = None) -> None:
        self.frames, self.augment = frames, augment
        self.read = cached(frames, cache)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return read_batch(self, indices)

    def read_into(self, index: int, out: Out) -> tuple[Tensor, Tensor | None, str, int]:
        """Image, mask, name and index of one frame."""
        sample = self.read(index)
        image, labels = self.augment(sample.image, sample.mask, 0, out=out[:2])
        return image, labels, sample.name, index


def data_loader(
    dataset: SampleDataset | FrameDataset,
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
        each = frame_bytes(dataset.augment.size, instances=dataset.instances)
        size = max(map(len, batches)) * each
        ring = SharedMemoryRing(workers=workers, slots=SLOTS, size=size)
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=to_shared,
        pin_memory=pin_memory,
        worker_init_fn=functools.partial(start_worker, ring=ring) if workers else None,
        multiprocessing_context="fork" if workers else None,
        prefetch_factor=PREFETCH if workers else None,
        # Without a generator of its own, each loader would draw from the global one.
        generator=torch.Generator(),
    )


def frame_bytes(size: tuple[int, int], *, instances: bool = False) -> int:
    """Bytes of one frame of a batch: image float32, mask int64 and any instances uint8."""
    return size[0] * size[1] * (3 * 4 + 8 + instances)


def read_batch(dataset: SampleDataset | FrameDataset, indices: Sequence[int]) -> Batch:
    """Reads frames straight into the tensors of their batch; it has masks if all frames do."""
    size = dataset.augment.size
    images = allocate((len(indices), 3, *size), torch.float32)
    masks = allocate((len(indices), *size), torch.int64)  # costs nothing if no mask is written
    numbers = allocate((len(indices), *size), torch.uint8) if dataset.instances else None
    read = [
        dataset.read_into(index, (images[i], masks[i], None if numbers is None else numbers[i]))
        for i, index in enumerate(indices)
    ]
    batch = Batch(
        image=images,
        name=[name for _, _, name, _ in read],
        index=torch.tensor([frame_index for _, _, _, frame_index in read], dtype=torch.int64),
    )
    if all(mask is not None for _, mask, _, _ in read):
        batch[dataset.labels] = masks
    if numbers is not None:
        batch["instances"] = numbers
    return batch


def _check(spec: StreamSpec, rank: int, world: int) -> None:
    if not len(spec.frames):
        raise DataError(
            f"{spec.frames.name} in {spec.frames.root} has no frames to draw from",
            remedy="name a set or split that has frames",
        )
    unmasked = [item for item in spec.frames.items if not item.labelled]
    if spec.labelled and unmasked:
        raise DataError(
            f"{len(unmasked)} frames of {spec.frames.root} have no mask, the first is "
            f"{unmasked[0].image}",
            remedy="add their masks, or pass the frames as --unlabelled",
        )
    if spec.batch_size < 1 or spec.batch_size % world or not 0 <= rank < world:
        raise ArgumentError(
            f"a batch of {spec.batch_size} cannot be divided among {world} processes "
            f"(this is number {rank})",
            remedy=f"choose a batch size that is a multiple of {world}",
        )
