"""Plain classification: cross-entropy over all classes, random or balanced sampling.

    trocar train classifier PHOTOS --out runs/plain

Equation: ``L = CE(W z, y)``. The baseline of `head_triplet`. ``--comparison centroid`` classifies
by the nearest class centroid instead of the linear head, so that classes can be enrolled later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from trocar.contract.config import require
from trocar.contract.manifest import Manifest
from trocar.train.data.classification.samplers import BalancedSampler, RandomSampler, Sampler
from trocar.train.data.classification.streams import AUGMENTS, PhotoStore, PhotoStream
from trocar.train.methods.protocol import Batch, BatchSource, ModelSpec, Progress, TrainData
from trocar.train.metrics.embeddings import (
    draw_predictions,
    embedder_manifest,
    evaluate_embedder,
    run_over,
)
from trocar.train.networks.embedding import Embedder, EmbeddingConfig


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(EmbeddingConfig):
    """Plain classification.

    Attributes:
        sampling: random (every photograph once in a pass) or balanced (every class equally often).
        comparison: head (a linear layer) or centroid (the nearest class centroid).
        smoothing: Label smoothing, 0..1.
    """

    sampling: Literal["random", "balanced"] = "random"
    comparison: Literal["head", "centroid"] = "head"
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require((0 <= self.smoothing < 1, "smoothing must be 0..1"))


class Classifier:
    """See the module."""

    name = "classifier"
    task = "classification"
    Config = ClassifierConfig
    required_data = ()
    optional_data = ()
    monitor = "macro_f1"

    def __init__(self, config: ClassifierConfig) -> None:
        self.config = config
        self.logged: dict[str, Tensor | float] = {}
        self.notes: list[str] = []

    def streams(self, data: TrainData) -> Mapping[str, BatchSource]:
        """Labelled photographs."""
        self.train = PhotoStore(data.labelled, size=self.config.size, cache_mb=data.cache_mb)
        self.validation = PhotoStore(data.validation, size=self.config.size, cache_mb=data.cache_mb)
        labels = data.labelled.labels
        kind = RandomSampler if self.config.sampling == "random" else BalancedSampler
        sampler: Sampler = kind(labels, batch=data.batch_size, seed=data.seed)
        return {
            "labelled": PhotoStream(
                self.train, sampler, seed=data.seed, name="labelled", rank=data.rank,
                world=data.world, augment=AUGMENTS[self.config.augment],
            )
        }  # fmt: skip

    def build(self, spec: ModelSpec) -> nn.Module:
        """The network itself."""
        self.spec = spec
        self.network = Embedder(
            self.config,
            classes=len(spec.classes),
            input=spec.input,
            comparison=self.config.comparison,
        )
        return self.network

    def losses(self, batch: Mapping[str, Batch], progress: Progress) -> dict[str, Tensor]:
        """``ce``."""
        labelled = batch["labelled"]
        logits = self.network.head_logits(self.network.embed(labelled["image"]))
        smoothing = self.config.smoothing
        return {
            "ce": functional.cross_entropy(
                logits.float(), labelled["label"], label_smoothing=smoothing
            )
        }

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
        """The network."""
        return self.network, embedder_manifest(self.network, self.spec, method=self.name)


METHOD = Classifier
