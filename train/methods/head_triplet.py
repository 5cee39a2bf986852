"""Long-tailed classification: cross-entropy on the head set, triplet loss on all classes.

    trocar train head-triplet PHOTOS --out runs/tail

Source: Megvii, 2019. The head set holds the classes with the most photographs, the total set all
classes. ``L = CE(W z, y) over the head + w_triplet · L_tri over all``,
``L_tri = mean_a [m + max_p D(a,p) − min_n D(a,n)]+`` on embeddings of length 1 (or soft), with
batches of P classes × K samples. Both losses train one network, in the same step or alternately. A
photograph is classified by the nearest class centroid; the head's logits can be added.

Departures: the linear layer has a row for every class and masks those outside the head set, so that
a checkpoint states its head set. Copies of one picture are not positives of each other. Positives
and negatives are sought among the photographs of all processes.
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
from trocar.contract.manifest import Manifest
from trocar.train.data.classification.head_set import HeadSet, head_set
from trocar.train.data.classification.samplers import PKSampler, RandomSampler, Sampler
from trocar.train.data.classification.streams import AUGMENTS, PhotoStore, PhotoStream
from trocar.train.losses.processes import gathered
from trocar.train.losses.triplet import batch_hard
from trocar.train.methods.protocol import Batch, BatchSource, ModelSpec, Progress, TrainData
from trocar.train.metrics.embeddings import (
    draw_predictions,
    embedder_manifest,
    evaluate_embedder,
    run_over,
)
from trocar.train.networks.class_prototypes import unit
from trocar.train.networks.embedding import Embedder, EmbeddingConfig


@dataclass(frozen=True, kw_only=True)
class HeadTripletConfig(EmbeddingConfig):
    """Head-set classification and total-set triplet.

    Attributes:
        head_rule: Which setting chooses the head set: threshold, share or number.
        head_threshold: Head classes have more photographs than this.
        head_share: Share of the classes in the head set, those with the most photographs.
        head_number: Number of classes in the head set, those with the most photographs.
        ties: Classes of equal count at the boundary of the head set: all out, or all in.
        head_sampling: Sampling of the head set: random, or pk (P classes, K photographs of each).
        p: Classes of a triplet batch.
        k: Photographs of each class of a triplet batch.
        margin: Margin of the triplet loss; 0 uses the soft margin.
        w_triplet: Weight of the triplet loss.
        alternate_losses: Train one loss at each step, alternately, instead of both.
        fusion: Weight of the head's logits beside the cosines at inference.
    """

    head_rule: Literal["threshold", "share", "number"] = "share"
    head_threshold: int = 20
    head_share: float = 0.5
    head_number: int = 5
    ties: Literal["out", "in"] = "out"
    head_sampling: Literal["random", "pk"] = "random"
    p: int = 16
    k: int = 4
    margin: float = 0.3
    w_triplet: float = 1.0
    alternate_losses: bool = False
    fusion: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            (self.head_threshold >= 0, "head_threshold must be 0 or more"),
            (0 < self.head_share <= 1, "head_share must be above 0, at most 1"),
            (self.head_number >= 2, "head_number must be 2 or more"),
            (self.p >= 2, "p must be 2 or more: a triplet needs a negative"),
            (self.k >= 2, "k must be 2 or more: a triplet needs a positive"),
            (self.margin >= 0, "margin must be 0 or more"),
            (self.w_triplet > 0, "w_triplet must be above 0: both losses train the network"),
            (self.fusion >= 0, "fusion must be 0 or more"),
        )


class HeadTriplet:
    """See the module."""

    name = "head-triplet"
    task = "classification"
    Config = HeadTripletConfig
    required_data = ()
    optional_data = ()
    monitor = "macro_f1"

    def __init__(self, config: HeadTripletConfig) -> None:
        self.config = config
        self.logged: dict[str, Tensor | float] = {}
        self.notes: list[str] = []
        self.head: HeadSet | None = None

    def streams(self, data: TrainData) -> Mapping[str, BatchSource]:
        """``head``: head set, random or PK; ``total``: all classes, PK."""
        config, labels, seed = self.config, data.labelled.labels, data.seed
        self.train = PhotoStore(data.labelled, size=config.size, cache_mb=data.cache_mb)
        self.validation = PhotoStore(data.validation, size=config.size, cache_mb=data.cache_mb)
        self.head = self._head_set(data.labelled.counts)
        within = np.array(self.head.ids, np.int64)
        sampler: Sampler
        if config.head_sampling == "random":
            sampler, unit_size = (
                RandomSampler(labels, batch=data.batch_size, seed=seed, within=within), 1,
            )  # fmt: skip
        else:
            p = _fitting(min(data.batch_size // config.k, len(within)), data.world)
            sampler, unit_size = (
                PKSampler(labels, p=p, k=config.k, seed=seed + 1, within=within), config.k,
            )  # fmt: skip
        classes = len(np.unique(labels))
        p = _fitting(min(config.p, classes), data.world)
        if p != config.p:
            self.notes.append(
                f"P is {p} instead of {config.p}: there are {classes} classes and {data.world} "
                "process(es)"
            )
        total = PKSampler(labels, p=p, k=config.k, seed=seed)
        return {
            "head": self._stream(data, sampler, "head", unit_size),
            "total": self._stream(data, total, "total", config.k),
        }

    def build(self, spec: ModelSpec) -> nn.Module:
        """The network; its state says which classes are the head set."""
        self.spec = spec
        self.network = Embedder(
            self.config,
            classes=len(spec.classes),
            input=spec.input,
            fusion=self.config.fusion,
        )
        if self.head is not None:
            self.network.head_mask.fill_(False)
            self.network.head_mask[list(self.head.ids)] = True
        return self.network

    def losses(self, batch: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``head`` and ``triplet``, or one of them, alternately."""
        head, total = batch["head"], batch["total"]
        both = not self.config.alternate_losses
        named = {}
        if both or progress.step % 2 == 0:
            named["head"] = head
        if both or progress.step % 2 == 1:
            named["total"] = total
        # One pass for both, so that batch normalisation sees both sets.
        embeddings = self.network.embed(torch.cat([part["image"] for part in named.values()]))
        sizes = [len(part["label"]) for part in named.values()]
        embedded = dict(zip(named, torch.split(embeddings, sizes), strict=True))
        terms = {}
        if "head" in embedded:
            logits = self.network.head_logits(embedded["head"])
            terms["head"] = functional.cross_entropy(logits.float(), head["label"])
        if "total" in embedded:
            # Of all processes: a process with one class would have no negative.
            loss = batch_hard(
                gathered(unit(embedded["total"])),
                gathered(total["label"]),
                margin=self.config.margin or None,
                digests=gathered(total["digest"]),
            )
            terms["triplet"] = self.config.w_triplet * loss
        return terms

    def after_step(self, progress: Progress) -> None:
        """Nothing to do."""

    def evaluate(self, data: TrainData) -> dict[str, float]:
        """See `trocar.train.metrics.classification`."""
        return evaluate_embedder(self.network, self.train, self.validation, self.config)

    def save_predictions(self, data: TrainData, path: Path) -> None:
        """Photographs, classes and predictions."""
        scores, _ = run_over(self.network, self.validation, self.network)
        draw_predictions(self.validation, scores.argmax(1), path)

    def deployable(self) -> tuple[nn.Module, Manifest]:
        """The network, centroids included."""
        return self.network, embedder_manifest(self.network, self.spec, method=self.name)

    def _stream(self, data: TrainData, sampler: Sampler, name: str, unit: int) -> PhotoStream:
        return PhotoStream(
            self.train,
            sampler,
            seed=data.seed,
            name=name,
            augment=AUGMENTS[self.config.augment],
            rank=data.rank,
            world=data.world,
            unit=unit,
        )

    def _head_set(self, counts: NDArray[np.int64]) -> HeadSet:
        config = self.config
        chosen = head_set(
            counts,
            rule=config.head_rule,
            threshold=config.head_threshold,
            share=config.head_share,
            number=config.head_number,
            ties=config.ties,
        )
        if chosen.note:
            self.notes.append(f"head set: {chosen.note}")
        return chosen


def _fitting(p: int, world: int) -> int:
    """The largest P up to ``p``, two at least, that the processes can divide."""
    return max(p - p % world, world if world > 1 else 2)


METHOD = HeadTriplet
