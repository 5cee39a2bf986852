"""A network that turns a photograph into an embedding and a class, on any timm backbone.

    network = Embedder(EmbeddingConfig(), classes=18, input=InputSpec(height=64, width=64))
    scores, embedding = network(torch.rand(2, 3, 64, 64) * 255)      # [2,18] and [2,128]

``modules`` names the four-module network of the few-shot classifier as a backbone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from trocar.contract.config import require, unknown
from trocar.contract.errors import ConfigError, DataError
from trocar.contract.manifest import InputSpec
from trocar.contract.text.words import first_line
from trocar.train.networks.class_prototypes import CentroidEnroller, unit
from trocar.train.networks.weight_files import load_matching

SCALE = 16.0
"""Cosines are multiplied by it before softmax."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig:
    """The embedding network.

    Attributes:
        backbone: Any timm model, e.g. resnet18 or mobilenetv3_small_100; or modules, the network
            of the few-shot classifier.
        backbone_weights: none, imagenet (downloaded), or a file of weights.
        size: Network size in pixels; a recipe has it as [height, width].
        augment: photo (rotated and mirrored), upright (slightly rotated, not mirrored) or none.
        embedding_size: Length of the embedding; 0 uses the backbone's features as they are.
        standardise: Standardise every number of the embedding to mean 0 and deviation 1 over the
            training data, so that cosines use all of -1..1.
        many: Classes with more training photographs than this are many-shot in the scores.
        few: Classes with at most this many training photographs are few-shot in the scores.
    """

    backbone: str = "resnet18"
    backbone_weights: str = "none"
    size: tuple[int, int] = (224, 224)
    augment: Literal["photo", "upright", "none"] = "photo"
    embedding_size: int = 128
    standardise: bool = True
    many: int = 100
    few: int = 20

    def __post_init__(self) -> None:
        require(
            (all(16 <= side <= 1024 for side in self.size), "size must be 16..1024 pixels a side"),
            (self.embedding_size >= 0, "embedding_size must be 0 or more"),
            (0 < self.few <= self.many, "few must be above 0 and at most many"),
        )


class Embedder(nn.Module):
    """Backbone, embedding, linear head, and class centroids.

    ``forward`` gives scores ``[B,K]`` and the embedding ``[B,D]`` of length 1. With ``centroid``
    comparison a score is ``SCALE`` times the cosine to a class's centroid, plus ``fusion`` times
    the head's logit where the head knows the class; with ``head`` it is the head's logit.

    Args:
        config: See `EmbeddingConfig`.
        classes: Number of classes K.
        input: Normalisation.
        comparison: ``centroid`` or ``head``.
        fusion: Weight of the head's logits beside the cosines.
    """

    mean: Tensor
    std: Tensor
    head_mask: Tensor
    centroids: Tensor
    threshold: Tensor

    class_rows = ("head.weight", "head.bias")
    """Tensors with one row for each class."""
    derived_tensors = ("head_mask", "centroids", "threshold")
    """Tensors that are computed from the training photographs."""

    def __init__(
        self,
        config: EmbeddingConfig,
        *,
        classes: int,
        input: InputSpec,
        comparison: Literal["centroid", "head"] = "centroid",
        fusion: float = 0.0,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = make_backbone(config.backbone, weights=config.backbone_weights)
        self.backbone.eval()
        with torch.no_grad():
            width = int(self.backbone(torch.zeros(1, 3, *config.size)).shape[1])
        self.backbone.train()
        size = config.embedding_size or width
        self.project = nn.Linear(width, size) if config.embedding_size else nn.Identity()
        # Without it all embeddings lie on one side of the origin, and all cosines are near 1.
        self.standard = nn.BatchNorm1d(size, affine=False) if config.standardise else nn.Identity()
        self.head = nn.Linear(size, classes)
        self.kind, self.fusion = comparison, fusion
        self.enroller = CentroidEnroller()
        self.register_buffer("head_mask", torch.ones(classes, dtype=torch.bool))
        self.register_buffer("centroids", torch.zeros(classes, size))
        self.register_buffer("threshold", torch.zeros(()))
        for name, values in (("mean", input.mean), ("std", input.std)):
            pixels = torch.tensor(values).mul(255).reshape(1, 3, 1, 1)
            self.register_buffer(name, pixels, persistent=False)

    def embed(self, image: Tensor) -> Tensor:
        """RGB ``[B,3,h,w]`` 0..255 to embeddings ``[B,D]``, of any length.

        Raises:
            ConfigError: A batch of one photograph is to train a network that standardises.
        """
        if self.training and len(image) < 2 and isinstance(self.standard, nn.BatchNorm1d):
            raise ConfigError(
                "the batch is one photograph, and its embedding cannot be standardised",
                remedy="pass --batch-size 2 or more, or --no-standardise",
            )
        z: Tensor = self.standard(self.project(self.backbone((image - self.mean) / self.std)))
        return z

    def head_logits(self, embedding: Tensor) -> Tensor:
        """Logits ``[B,K]`` of the linear head; classes outside its set are at -inf."""
        logits: Tensor = self.head(embedding)
        return logits.masked_fill(~self.head_mask, -torch.inf)

    def class_prototypes(self) -> dict[str, Tensor]:
        """See `trocar.train.networks.class_prototypes.PrototypeModel`; empty with ``head``."""
        if self.kind == "head":
            return {}
        tensors = {"centroids": self.centroids}
        if self.fusion:
            tensors["heads"] = torch.diag(self.head_mask.to(self.centroids.dtype))
        return tensors

    def support_features(self) -> tuple[Tensor, Tensor]:
        """The centroids themselves, one for each class."""
        return self.centroids, torch.arange(len(self.centroids))

    def forward(
        self, image: Tensor, centroids: Tensor | None = None, heads: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """RGB ``[B,3,h,w]`` 0..255 to scores ``[B,K]`` and unit embeddings ``[B,D]``."""
        z = self.embed(image)
        e = unit(z)
        if self.kind == "head":
            # Exported graphs have no infinities; -1e4 is low enough for a class without a head.
            return self.head(z).masked_fill(~self.head_mask, -1e4), e
        trained = self.class_prototypes()
        scores = SCALE * e @ (trained["centroids"] if centroids is None else centroids).t()
        if self.fusion:
            table = trained["heads"] if heads is None else heads  # [K,H]
            logits = self.head(z) * self.head_mask
            logits = logits - logits.sum(1, keepdim=True) / self.head_mask.sum()
            scores = scores + self.fusion * logits @ table.to(logits.dtype).t()
        return scores, e


def make_backbone(name: str, *, weights: str) -> nn.Module:
    """A timm model without its head, or the four-module network: images to ``[B, F]``.

    Raises:
        ConfigError: There is no such model.
        DataError: The weights are not available or do not fit.
    """
    if name == "modules":
        from trocar.train.networks.conv_modules import ConvModules

        if weights != "none":
            raise ConfigError("backbone modules has no weights to load", remedy="pass none")
        return nn.Sequential(ConvModules(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    import timm

    if name not in timm.list_models():
        raise ConfigError(
            f"backbone {unknown(name, timm.list_models())}",
            remedy="choose a timm model, e.g. resnet18 or mobilenetv3_small_100, or modules",
        )
    try:
        model: nn.Module = timm.create_model(name, num_classes=0, pretrained=weights == "imagenet")
    except Exception as error:
        raise DataError(
            f"backbone {name} with weights {weights} is not available: {first_line(error)}",
            remedy="pass a file of weights, or none to train from scratch",
        ) from error
    if weights not in ("none", "imagenet"):
        model.weights_note = load_matching(model, Path(weights), name=name)  # type: ignore[assignment]
    return model
