"""Endless, step-indexed batches of photographs, cached at the network's size.

store = PhotoStore(photos, size=(64, 64), cache_mb=512)
stream = PhotoStream(store, PKSampler(photos.labels, p=8, k=4, seed=0), seed=0, name="total")
stream.batch(120)["image"]            # [32,3,64,64] float32 0..255
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trocar.contract.errors import ArgumentError, ConfigError
from trocar.train.data.classification.sample import PhotoSet
from trocar.train.data.classification.samplers import Sampler
from trocar.train.data.loader.frame_cache import FrameCache
from trocar.train.data.transforms import Augment, AugmentConfig, resize_eval

PHOTO_AUGMENT = AugmentConfig(
    flip_horizontal=0.5, flip_vertical=0.5, scale=(0.8, 1.15), rotate=30.0, shift=0.08
)
"""Augmentation of photographs: instruments lie in any direction."""

AUGMENTS: dict[str, AugmentConfig | None] = {
    "photo": PHOTO_AUGMENT,
    "upright": AugmentConfig(flip_horizontal=0, scale=(0.85, 1.15), rotate=12.0, shift=0.08),
    "none": None,
}
"""Augmentation by name: ``photo``; ``upright``, without mirroring, for what has a right way up."""


class PhotoStore:
    """Photographs at the network's size, resized as the exported graph does.

    Args:
        photos: The set.
        size: Height and width.
        cache_mb: Memory for them in MB; 0 decodes them each time.
    """

    def __init__(self, photos: PhotoSet, *, size: tuple[int, int], cache_mb: int = 0) -> None:
        self.photos, self.size = photos, size
        self.cache = FrameCache(len(photos), megabytes=cache_mb) if cache_mb else None

    def __len__(self) -> int:
        return len(self.photos)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """One photograph ``[h, w, 3]`` uint8, rounded to whole grey levels."""
        cached = None if self.cache is None else self.cache.get(index)
        if cached is not None:
            return cached[0]
        image = resize_eval(self.photos.read(self.photos.items[index]), self.size)
        small = image.numpy().transpose(1, 2, 0).round().clip(0, 255).astype(np.uint8)
        if self.cache is not None:
            self.cache.put(index, np.ascontiguousarray(small), None)
        return np.ascontiguousarray(small)

    def tensor(self, indices: NDArray[np.int64]) -> Tensor:
        """Photographs ``[B, 3, h, w]`` float32 0..255, not augmented."""
        stacked = np.stack([self.pixels(int(index)) for index in indices])
        return torch.from_numpy(stacked.transpose(0, 3, 1, 2).astype(np.float32))


class PhotoStream:
    """Batches of a sampler's photographs, augmented; satisfies `BatchSource`.

    A batch has ``image``, ``label`` int64 ``[B]``, ``name``, ``index`` and ``digest`` int64
    ``[B]``: equal digests mean equal pixels.

    Args:
        store: The photographs.
        sampler: Chooses the photographs of a step.
        seed: The run's seed.
        name: Streams of different names are augmented differently.
        augment: ``None`` for none.
        rank: This process among ``world``.
        world: Number of processes.
        episodes: Whether each process takes its own whole episodes instead of a slice of the batch.
        unit: Photographs that must stay on one process, e.g. K.

    Raises:
        ConfigError: The batch cannot be divided among the processes.
    """

    def __init__(
        self,
        store: PhotoStore,
        sampler: Sampler,
        *,
        seed: int,
        name: str,
        augment: AugmentConfig | None = PHOTO_AUGMENT,
        rank: int = 0,
        world: int = 1,
        episodes: bool = False,
        unit: int = 1,
    ) -> None:
        if not 0 <= rank < world:
            raise ArgumentError(f"process {rank} of {world}", remedy="count from 0")
        self.store, self.sampler = store, sampler
        self.seed = (seed & 0xFFFFFFFF, zlib.crc32(name.encode()))
        self.augment = None if augment is None else Augment(augment, store.size)
        self.rank, self.world, self.episodes = rank, world, episodes
        self.labels = store.photos.labels
        batch = len(sampler.batch_indices(0))
        if not episodes and batch % (world * unit):
            raise ConfigError(
                f"a batch of {batch} photographs cannot be divided among {world} processes in "
                f"groups of {unit}",
                remedy=f"choose a batch that is a multiple of {world * unit}",
            )

    def __len__(self) -> int:
        return max(len(self.sampler), 1)

    def batch_indices(self, step: int) -> tuple[NDArray[np.int64], int]:
        """This process's indices of a step, and the sample index of the first one."""
        if self.episodes:
            number = step * self.world + self.rank
            drawn = self.sampler.batch_indices(number)
            return drawn, number * len(drawn)
        drawn = self.sampler.batch_indices(step)
        share = len(drawn) // self.world
        first = self.rank * share
        return drawn[first : first + share], step * len(drawn) + first

    def batch(self, step: int) -> dict[str, Any]:
        """This process's part of one step's batch."""
        indices, first = self.batch_indices(step)
        images = [self._draw(int(p), first + i) for i, p in enumerate(indices)]
        stacked = torch.stack(images)
        return {
            "image": stacked,
            "label": torch.from_numpy(self.labels[indices]),
            "name": [self.store.photos.items[int(p)].name for p in indices],
            "index": torch.from_numpy(indices.astype(np.int64)),
            "digest": torch.tensor([_digest(image) for image in images], dtype=torch.int64),
        }

    def _draw(self, index: int, draw: int) -> Tensor:
        pixels = self.store.pixels(index)
        if self.augment is None:
            return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))
        words = np.random.SeedSequence((*self.seed, draw, index)).generate_state(1, np.uint64)
        return self.augment(pixels, None, int(words[0]))[0]


def _digest(image: Tensor) -> int:
    digest = hashlib.blake2b(image.contiguous().numpy().tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
