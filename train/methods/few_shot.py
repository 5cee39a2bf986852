"""Few-shot classification by local features: episodes now, classes enrolled from photographs later.

    trocar train few-shot PHOTOS --out runs/few

Source: Tianyi Cloud, 2023. A region's first similarity is its mean cosine to the global features of
the same class's other photographs, its second that to all other classes' photographs. Attention
over regions is ``softmax(tau_a (s1 − s2))``, and the best region is the local feature. A
photograph's vector concatenates global and local feature. A class's prototype is the weighted sum
of its photographs' vectors, where a photograph that differs from the others weighs less.
``logit_c = tau (s3 − s4)``: third similarity to the prototype of c, fourth the mean of those to the
others.

Departures:
- A query's class is unknown, so its local feature is computed once for each class.
- The supports are classified too, each by prototypes made without it.
- Channels are standardised. The global part of a vector is the whole map, which has positions
  (``--no-whole-map``: the mean of its cells).
- The choice of a region has no gradient (``--attention-gradient through``: that of the attention).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trocar.contract.config import require
from trocar.contract.errors import ConfigError, DataError
from trocar.contract.manifest import Manifest
from trocar.train.data.classification.samplers import EpisodeSampler
from trocar.train.data.classification.streams import AUGMENTS, PhotoStore, PhotoStream
from trocar.train.methods.protocol import Batch, BatchSource, ModelSpec, Progress, TrainData
from trocar.train.metrics.classification import interval, unknown_threshold
from trocar.train.metrics.embeddings import classifier_manifest, draw_predictions, run_over
from trocar.train.networks.class_prototypes import membership_of
from trocar.train.networks.few_shot.baselines import (
    local_descriptor_logits,
    prototype_logits,
)
from trocar.train.networks.few_shot.network import FewShotNetwork, FewShotNetworkConfig


@dataclass(frozen=True, kw_only=True)
class FewShotConfig(FewShotNetworkConfig):
    """Few-shot classification by local features.

    Attributes:
        comparison: local (this method), proto (nearest class mean) or dn4 (local descriptors).
        ways: Classes of an episode.
        shots: Support photographs of each class.
        queries: Query photographs of each class.
        held_out: Share of the classes that is not trained on and is scored on; 0 scores on the
            validation photographs of all classes.
        test_share: Share of the classes that is neither trained on nor chooses the best
            checkpoint; their episodes give test_accuracy.
        episodes: Episodes of an evaluation.
        w_support: Weight of the loss of supports, each against prototypes made without it.
        supports: Maximum number of photographs of each class that the model stores.
    """

    comparison: Literal["local", "proto", "dn4"] = "local"
    ways: int = 5
    shots: int = 5
    queries: int = 15
    held_out: float = 0.25
    test_share: float = 0.0
    episodes: int = 600
    w_support: float = 0.5
    supports: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (self.ways >= 2, "ways must be 2 or more"),
            (self.shots >= 1, "shots must be 1 or more"),
            (self.queries >= 1, "queries must be 1 or more"),
            (0 <= self.held_out < 1, "held_out must be 0..1"),
            (0 <= self.test_share < 1, "test_share must be 0..1"),
            (
                not self.test_share or self.held_out > 0,
                "test_share needs held_out above 0: classes that choose the best checkpoint",
            ),
            (self.episodes >= 1, "episodes must be 1 or more"),
            (self.w_support >= 0, "w_support must be 0 or more"),
            (self.supports >= 1, "supports must be 1 or more"),
        )


class FewShot:
    """See the module."""

    name = "few-shot"
    task = "classification"
    Config = FewShotConfig
    required_data = ()
    optional_data = ()
    monitor = "episode_accuracy"

    def __init__(self, config: FewShotConfig) -> None:
        self.config = config
        self.logged: dict[str, Tensor | float] = {}
        self.notes: list[str] = []

    def streams(self, data: TrainData) -> Mapping[str, BatchSource]:
        """``episode``: the supports class by class, then the queries."""
        config, photos = self.config, data.labelled
        base, self.novel = split_classes(
            np.flatnonzero(photos.counts), share=config.held_out, ways=config.ways, seed=data.seed
        )
        base, self.tested = split_classes(
            base, share=config.test_share, ways=config.ways, seed=data.seed, flag="--test-share"
        )
        self.train = PhotoStore(photos, size=config.size, cache_mb=data.cache_mb)
        self.validation = PhotoStore(data.validation, size=config.size, cache_mb=data.cache_mb)
        # Too few photographs to be scored on are an error now, not after training.
        tested = data.validation.labels
        if len(self.novel):
            tested = np.concatenate([tested, photos.labels])
        self._test_sampler(tested, self.novel, 0)
        if len(self.tested):
            self._test_sampler(tested, self.tested, 1)
        sampler = EpisodeSampler(
            photos.labels, ways=config.ways, shots=config.shots, queries=config.queries,
            seed=data.seed, within=base,
        )  # fmt: skip
        return {
            "episode": PhotoStream(
                self.train, sampler, seed=data.seed, name="episode", rank=data.rank,
                world=data.world, augment=AUGMENTS[self.config.augment], episodes=True,
            )
        }  # fmt: skip

    def build(self, spec: ModelSpec) -> nn.Module:
        """The network, with buffers for the supports that it will store."""
        self.spec = spec
        self.network = FewShotNetwork(
            self.config,
            input=spec.input,
            classes=len(spec.classes),
            supports=self.config.supports,
        )
        return self.network

    def losses(self, batch: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``query`` and, from two shots on, ``support``."""
        config, network = self.config, self.network
        features = network.features(batch["episode"]["image"]).float()
        ways, count = config.ways, config.ways * config.shots
        support, query = features[:count], features[count:]
        class_ids = torch.arange(ways, device=features.device)
        owners = class_ids.repeat_interleave(config.shots)
        membership = membership_of(owners, ways)
        logits = self._compare(query, support, membership)
        truth = class_ids.repeat_interleave(config.queries)
        terms = {"query": functional.cross_entropy(logits, truth)}
        self.logged = {
            "accuracy": (logits.argmax(1) == truth).float().mean().detach(),
            "tau": network.temperature.detach(),
        }
        if config.comparison == "local" and config.shots > 1 and config.w_support:
            left_out = network.leave_one_out(support, membership)
            terms["support"] = config.w_support * functional.cross_entropy(left_out, owners)
        return terms

    def after_step(self, progress: Progress) -> None:
        """Nothing to do."""

    def evaluate(self, data: TrainData) -> dict[str, float]:
        """Scores on episodes of classes that were not trained on; updates the stored supports.

        ``episode_accuracy`` and ``episode_interval`` (half-width, 95 %). The best checkpoint is
        chosen by these episodes, so that its figure is the best of several looks at them; where
        ``test_share`` is above 0, ``test_accuracy`` and ``test_interval`` are of other classes.
        Where the comparison is ``local`` also ``accuracy`` over all classes of the validation
        photographs.
        """
        config, labels = self.config, self.validation.photos.labels
        (pool,) = run_over(self.network, self.validation, self.network.features)
        pool_labels = labels
        unseen = np.concatenate([self.novel, self.tested])
        if len(unseen):
            # Nothing of these classes was trained on: their training photographs serve too.
            more = np.flatnonzero(np.isin(self.train.photos.labels, unseen))
            pool = np.concatenate([pool, self._features(more)])
            pool_labels = np.concatenate([labels, self.train.photos.labels[more]])
        accuracies = self.episode_accuracies(pool, pool_labels, within=self.novel)
        mean, half = interval(accuracies)
        scores = {"episode_accuracy": mean, "episode_interval": half}
        if len(self.tested):
            tested = self.episode_accuracies(pool, pool_labels, within=self.tested, seed=1)
            scores["test_accuracy"], scores["test_interval"] = interval(tested)
        if config.comparison == "local":
            self._store_supports()
            answers, _ = run_over(self.network, self.validation, self.network)
            scores["accuracy"] = float((answers.argmax(1) == labels).mean())
            self.network.threshold.fill_(
                unknown_threshold(answers, labels, scale=float(self.network.temperature.detach()))
            )
        return scores

    def episode_accuracies(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        *,
        within: NDArray[np.int64] | None = None,
        seed: int = 0,
    ) -> NDArray[np.float64]:
        """Accuracy of each test episode over features ``[N,C,M]`` that are computed already.

        Raises:
            DataError: Too few classes have enough photographs.
        """
        config = self.config
        sampler = self._test_sampler(labels, within, seed)
        device = self.network.temperature.device
        table = torch.from_numpy(features).to(device)
        class_ids = torch.arange(config.ways, device=device)
        membership = membership_of(class_ids.repeat_interleave(config.shots), config.ways)
        training = self.network.training
        self.network.eval()
        accuracies = []
        for number in range(config.episodes):
            episode = sampler.episode(number)
            with torch.no_grad():
                logits = self._compare(
                    table[episode.query.reshape(-1)],
                    table[episode.support.reshape(-1)],
                    membership,
                )
            truth = class_ids.repeat_interleave(episode.query.shape[1])
            accuracies.append(float((logits.argmax(1) == truth).float().mean()))
        self.network.train(training)
        return np.array(accuracies)

    def save_predictions(self, data: TrainData, path: Path) -> None:
        """Photographs, classes and predictions."""
        if self.config.comparison == "local":
            scores, _ = run_over(self.network, self.validation, self.network)
            draw_predictions(self.validation, scores.argmax(1), path)

    def deployable(self) -> tuple[nn.Module, Manifest]:
        """The network with the supports of its classes.

        Raises:
            ConfigError: The comparison is one of the baselines, which cannot be exported.
        """
        if self.config.comparison != "local":
            raise ConfigError(
                f"comparison {self.config.comparison} is a baseline, which cannot be exported",
                remedy="train with --comparison local",
            )
        return self.network, classifier_manifest(
            self.spec,
            method=self.name,
            kind=self.network.kind,
            scale=float(self.network.temperature.detach()),
            threshold=float(self.network.threshold),
            features=self.network.shape,
        )

    def _test_sampler(
        self, labels: NDArray[np.int64], within: NDArray[np.int64] | None, seed: int
    ) -> EpisodeSampler:
        config = self.config
        inside = within if within is not None and len(within) else None
        return EpisodeSampler(
            labels,
            ways=config.ways,
            shots=config.shots,
            queries=min(config.queries, _queries(labels, inside, config.shots)),
            seed=seed,
            within=inside,
        )

    def _compare(self, query: Tensor, support: Tensor, membership: Tensor) -> Tensor:
        if self.config.comparison == "proto":
            return prototype_logits(query, support, membership)
        if self.config.comparison == "dn4":
            return local_descriptor_logits(query, support, membership)
        return self.network.compare(query, self.network.prototypes_from(support, membership))

    def _features(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features ``[N,C,M]`` of training photographs."""
        return run_over(self.network, self.train, self.network.features, positions=positions)[0]

    def _store_supports(self) -> None:
        """Stores features of photographs spread over each class as its supports."""
        labels, size = self.train.photos.labels, self.config.supports
        chosen: list[int] = []
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            indices = np.linspace(0, len(members) - 1, min(size, len(members))).round()
            chosen += members[np.unique(indices.astype(int))].tolist()
        positions = np.array(chosen, np.int64)
        features = torch.from_numpy(self._features(positions)).flatten(1)
        device = self.network.kept.device
        self.network.kept_owner.fill_(-1)
        self.network.kept[: len(features)] = features.to(device)
        self.network.kept_owner[: len(features)] = torch.from_numpy(labels[positions]).to(device)


def split_classes(
    present: NDArray[np.int64], *, share: float, ways: int, seed: int, flag: str = "--held-out"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divides the classes into those to train on and those held out.

    Raises:
        DataError: Either side would have fewer classes than an episode needs.
    """
    if not share:
        return present, present[:0]
    count = max(round(share * len(present)), ways)
    if len(present) - count < ways:
        raise DataError(
            f"there are {len(present)} classes; {ways}-way episodes need {ways} to train on and "
            f"{ways} others to be scored on",
            remedy=f"lower --ways, or pass {flag} 0 to score on no other classes",
        )
    order = np.random.default_rng((seed, 0xC1A55)).permutation(present)
    return np.sort(order[count:]), np.sort(order[:count])


def _queries(labels: NDArray[np.int64], within: NDArray[np.int64] | None, shots: int) -> int:
    """Queries that the smallest class still has, 1 at least."""
    chosen = labels if within is None else labels[np.isin(labels, within)]
    _, counts = np.unique(chosen, return_counts=True)
    return max(int(counts.min()) - shots, 1)


METHOD = FewShot
