"""Chooses the photographs of a step: at random, balanced, P classes × K samples, or episodes.

    sampler = PKSampler(photos.labels, p=16, k=4, seed=0)
    sampler.batch_indices(step=120)          # indices in the set, [P*K]

The choice depends only on the seed and the step, so that a resumed run gets the same batches.
Sources: PK, Hermans et al., "In Defense of the Triplet Loss", 2017; episodes, Vinyals et al.,
"Matching Networks for One Shot Learning", NeurIPS 2016.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ConfigError, DataError

Indices = NDArray[np.int64]


class Sampler(Protocol):
    """Indices of the photographs of a step, which depend only on the step."""

    def __len__(self) -> int:
        """Steps of about one pass over the set."""
        ...

    def batch_indices(self, step: int) -> Indices:
        """Indices in the set ``[B]`` of the global batch of a step."""
        ...


class RandomSampler:
    """In an epoch, every photograph comes exactly once.

    Args:
        labels: Class of each photograph ``[N]``.
        batch: Photographs per step.
        seed: Of the order.
        within: Classes to draw from; default: all.

    Raises:
        DataError: There is nothing to draw from.
    """

    def __init__(
        self, labels: Indices, *, batch: int, seed: int, within: Indices | None = None
    ) -> None:
        self.indices = _indices_within(labels, within)
        self.batch, self.seed = batch, seed

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch)

    def batch_indices(self, step: int) -> Indices:
        """See `Sampler.batch_indices`."""
        numbers = np.arange(step * self.batch, (step + 1) * self.batch)
        epochs, places = np.divmod(numbers, len(self.indices))
        orders = {int(e): _order(self.seed, int(e), len(self.indices)) for e in np.unique(epochs)}
        chosen = [orders[int(e)][p] for e, p in zip(epochs, places, strict=True)]
        return self.indices[np.array(chosen, np.int64)]


class BalancedSampler:
    """All classes have the same probability, however many photographs they have.

    Args:
        labels: Class of each photograph ``[N]``.
        batch: Photographs per step.
        seed: Of the draws.
    """

    def __init__(self, labels: Indices, *, batch: int, seed: int) -> None:
        self.classes = _by_class(labels)
        self.batch, self.seed, self.count = batch, seed, len(labels)

    def __len__(self) -> int:
        return -(-self.count // self.batch)

    def batch_indices(self, step: int) -> Indices:
        """See `Sampler.batch_indices`."""
        rng = np.random.default_rng((self.seed, step, 1))
        chosen = rng.integers(len(self.classes), size=self.batch)
        return np.array([rng.choice(self.classes[i]) for i in chosen], np.int64)


class PKSampler:
    """P different classes, K photographs of each, class by class.

    A class with K photographs or more gives K different ones. A smaller class gives all of its
    photographs, then some again, drawn with replacement; their augmentation differs.

    Args:
        labels: Class of each photograph ``[N]``.
        p: Classes per step.
        k: Photographs per class.
        seed: Of the draws.
        within: Classes to draw from; default: all.

    Raises:
        ConfigError: There are fewer than P classes, or K is more than any class has.
    """

    def __init__(
        self, labels: Indices, *, p: int, k: int, seed: int, within: Indices | None = None
    ) -> None:
        indices = _indices_within(labels, within)
        self.classes = _by_class(labels, indices)
        largest = max(len(members) for members in self.classes)
        if p > len(self.classes):
            raise ConfigError(
                f"P is {p}, but there are {len(self.classes)} classes to draw from",
                remedy=f"set --p to {len(self.classes)} or less",
            )
        if k > largest:
            raise ConfigError(
                f"K is {k}, but the largest class has {largest} photograph(s)",
                remedy=f"set --k to {largest} or less, or add photographs",
            )
        self.p, self.k, self.seed, self.count = p, k, seed, len(indices)

    def __len__(self) -> int:
        return -(-self.count // (self.p * self.k))

    def batch_indices(self, step: int) -> Indices:
        """See `Sampler.batch_indices`; ``[P*K]``, the K of one class side by side."""
        rng = np.random.default_rng((self.seed, step, 2))
        chosen = rng.choice(len(self.classes), self.p, replace=False)
        return np.concatenate([self._members(self.classes[i], rng) for i in chosen])

    def _members(self, members: Indices, rng: np.random.Generator) -> Indices:
        own = rng.permutation(members)[: self.k]
        extra = rng.choice(members, self.k - len(own), replace=True)
        return np.concatenate([own, extra]).astype(np.int64)


@dataclass(frozen=True)
class Episode:
    """One N-way K-shot task.

    Attributes:
        classes: Class ids ``[N]``.
        support: Indices ``[N, K]``.
        query: Indices ``[N, Q]``; none of them in ``support``.
    """

    classes: Indices
    support: Indices
    query: Indices


class EpisodeSampler:
    """N-way K-shot episodes.

    Args:
        labels: Class of each photograph ``[N]``.
        ways: Classes per episode.
        shots: Support photographs per class.
        queries: Query photographs per class; classes with fewer left are not drawn.
        seed: Of the draws.
        within: Classes to draw from; default: all.

    Raises:
        DataError: Too few classes have enough photographs.
    """

    def __init__(
        self,
        labels: Indices,
        *,
        ways: int,
        shots: int,
        queries: int,
        seed: int,
        within: Indices | None = None,
    ) -> None:
        everything = _by_class(labels, _indices_within(labels, within))
        self.classes = [m for m in everything if len(m) >= shots + queries]
        self.labels = labels
        if len(self.classes) < ways or ways < 2:
            largest = max(len(members) for members in everything)
            raise DataError(
                f"{ways}-way {shots}-shot episodes with {queries} queries need {max(ways, 2)} "
                f"classes of {shots + queries} photographs; {len(self.classes)} of "
                f"{len(everything)} have as many (the largest has {largest})",
                remedy="lower the ways, shots or queries, or add photographs",
            )
        self.ways, self.shots, self.queries, self.seed = ways, shots, queries, seed
        self.count = sum(len(members) for members in self.classes)

    def __len__(self) -> int:
        return -(-self.count // (self.ways * (self.shots + self.queries)))

    def episode(self, number: int) -> Episode:
        """The episode of a number; it depends only on the seed and the number."""
        rng = np.random.default_rng((self.seed, number, 3))
        chosen = rng.choice(len(self.classes), self.ways, replace=False)
        each = self.shots + self.queries
        drawn = np.stack([rng.permutation(self.classes[i])[:each] for i in chosen])
        return Episode(
            classes=self.labels[drawn[:, 0]],
            support=drawn[:, : self.shots],
            query=drawn[:, self.shots :],
        )

    def batch_indices(self, step: int) -> Indices:
        """The episode of a step as one list: the supports class by class, then the queries."""
        episode = self.episode(step)
        return np.concatenate([episode.support.reshape(-1), episode.query.reshape(-1)])


def _indices_within(labels: Indices, within: Indices | None) -> Indices:
    chosen = np.arange(len(labels)) if within is None else np.flatnonzero(np.isin(labels, within))
    if not len(chosen):
        raise DataError(
            "there are no photographs to draw from", remedy="name a set with photographs"
        )
    return chosen.astype(np.int64)


def _by_class(labels: Indices, indices: Indices | None = None) -> list[Indices]:
    chosen = np.arange(len(labels)) if indices is None else indices
    return [chosen[labels[chosen] == label] for label in np.unique(labels[chosen])]


@functools.lru_cache(maxsize=8)
def _order(seed: int, epoch: int, count: int) -> Indices:
    return np.random.default_rng((seed, epoch, 0)).permutation(count).astype(np.int64)
