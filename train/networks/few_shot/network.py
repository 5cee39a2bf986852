"""The few-shot network: four convolution modules and the comparison of their features.

    network = FewShotNetwork(FewShotNetworkConfig(), input=InputSpec(height=84, width=84))
    classes = network.prototypes_from(support_features, membership)      # ClassPrototypes
    logits = network.compare(query_features, classes)                    # [Q,K]

Shapes: see `trocar.train.networks.few_shot.local_comparison`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from trocar.contract.config import require
from trocar.contract.manifest import InputSpec
from trocar.train.networks.class_prototypes import membership_of
from trocar.train.networks.conv_modules import CHANNELS, ConvModules
from trocar.train.networks.few_shot.local_comparison import (
    NAMES,
    ClassPrototypes,
    Fusion,
    compare,
    prototypes_from,
)


@dataclass(frozen=True, kw_only=True)
class FewShotNetworkConfig:
    """The four-module network and its comparisons.

    Attributes:
        size: Network size in pixels; a recipe has it as [height, width].
        augment: photo (rotated and mirrored), upright (slightly rotated, not mirrored) or none.
        channels: Channels of the four modules, all different.
        batch_norm: Batch normalisation after each convolution; it is folded at export.
        standardise: Standardise every channel of the final map to mean 0 and deviation 1 over the
            training data, so that cosines use all of -1..1.
        attention_gradient: through trains the choice of a region by the straight-through
            estimator; none trains the chosen region only.
        whole_map: The global part of a photograph's vector is the whole final map, so that
            positions matter; otherwise it is the mean over the cells.
        local_weight: Length of the local feature beside a global one of length 1 in a photograph's
            vector; 0 concatenates them as they are.
        local_feature: Whether a photograph's vector has a local feature; without it the method is
            its own ablation and not the patent's.
        regions: Regions along each side that the final map is pooled to; 0 keeps its cells.
        attention_temperature: Factor before the softmax over regions; higher is sharper.
        weight_temperature: Factor before the softmax over the photographs of a class.
        temperature: Initial factor before the softmax over classes; it is learned.
    """

    size: tuple[int, int] = (84, 84)
    augment: Literal["photo", "upright", "none"] = "photo"
    channels: tuple[int, int, int, int] = CHANNELS
    batch_norm: bool = True
    standardise: bool = True
    attention_gradient: Literal["through", "none"] = "none"
    whole_map: bool = True
    local_weight: float = 0.0
    local_feature: bool = True
    regions: int = 0
    attention_temperature: float = 10.0
    weight_temperature: float = 10.0
    temperature: float = 10.0

    def __post_init__(self) -> None:
        require(
            (all(32 <= side <= 1024 for side in self.size), "size must be 32..1024 pixels a side"),
            (len(set(self.channels)) == 4, "channels must be four different numbers"),
            (min(self.channels) >= 1, "channels must be 1 or more"),
            (self.regions >= 0, "regions must be 0 or more"),
            (self.local_weight >= 0, "local_weight must be 0 or more"),
            (self.attention_temperature > 0, "attention_temperature must be above 0"),
            (self.weight_temperature >= 0, "weight_temperature must be 0 or more"),
            (self.temperature > 0, "temperature must be above 0"),
        )

    @property
    def fusion(self) -> Fusion:
        """How a photograph's vector is formed."""
        return Fusion(
            whole_map=self.whole_map,
            local_weight=self.local_weight,
            local_feature=self.local_feature,
        )


class LocalEnroller(nn.Module):
    """`prototypes_from` on flattened features, to be exported.

    Args:
        config: Temperatures and fusion.
        channels: C, to unflatten with.
    """

    def __init__(self, config: FewShotNetworkConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.channels = channels

    def forward(self, features: Tensor, membership: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[S,C*M]`` and ``[S,K]`` to the three tensors of `ClassPrototypes`."""
        result = prototypes_from(
            features.reshape(len(features), self.channels, -1),
            membership,
            attention_temperature=self.config.attention_temperature,
            weight_temperature=self.config.weight_temperature,
            fusion=self.config.fusion,
        )
        return result.means, result.counts, result.descriptions


class FewShotNetwork(nn.Module):
    """Feature extractor, comparison, and the stored supports of the trained classes.

    ``forward`` gives scores ``[B,K]`` (``temperature`` times `compare`) and the flattened features
    ``[B,C*M]``, from which classes are enrolled.

    Args:
        config: See `FewShotNetworkConfig`.
        input: Normalisation.
        classes: Number of classes whose supports are stored; 0 for none.
        supports: Maximum number of stored supports of each.
    """

    mean: Tensor
    std: Tensor
    kept: Tensor
    kept_owner: Tensor
    threshold: Tensor

    kind = "local"
    derived_tensors = ("kept", "kept_owner", "threshold")
    """Tensors that are computed from the training photographs."""

    def __init__(
        self,
        config: FewShotNetworkConfig,
        *,
        input: InputSpec,
        classes: int = 0,
        supports: int = 0,
    ) -> None:
        super().__init__()
        self.config = config
        self.extractor = ConvModules(config.channels, batch_norm=config.batch_norm)
        self.pool = nn.AdaptiveAvgPool2d(config.regions) if config.regions else nn.Identity()
        # Outputs of a ReLU are never negative; without centring all their cosines are near 1.
        self.standard = (
            nn.BatchNorm1d(config.channels[-1], affine=False)
            if config.standardise
            else nn.Identity()
        )
        # The logarithm is learned, so that optimiser steps scale with the temperature.
        self.log_tau = nn.Parameter(torch.tensor(math.log(config.temperature)))
        with torch.no_grad():
            shape = self.eval().features(torch.zeros(1, 3, *config.size), normalise=False).shape
        self.train()
        self.shape = (int(shape[1]), int(shape[2]))
        self.enroller = LocalEnroller(config, self.shape[0])
        # Buffer names are stored in checkpoints.
        self.register_buffer("kept", torch.zeros(classes * supports, self.shape[0] * self.shape[1]))
        self.register_buffer("kept_owner", torch.full((classes * supports,), -1))
        self.register_buffer("threshold", torch.zeros(()))
        self.classes = classes
        for name, values in (("mean", input.mean), ("std", input.std)):
            pixels = torch.tensor(values).mul(255).reshape(1, 3, 1, 1)
            self.register_buffer(name, pixels, persistent=False)

    @property
    def temperature(self) -> Tensor:
        """The learned temperature of the scores, a scalar."""
        return self.log_tau.exp()

    @property
    def _through(self) -> bool:
        return self.training and self.config.attention_gradient == "through"

    def features(self, image: Tensor, *, normalise: bool = True) -> Tensor:
        """RGB ``[B,3,h,w]`` 0..255 to features ``[B,C,M]``."""
        if normalise:
            image = (image - self.mean) / self.std
        cells: Tensor = self.standard(self.pool(self.extractor(image)).flatten(2))
        return cells

    def prototypes_from(self, features: Tensor, membership: Tensor) -> ClassPrototypes:
        """See `prototypes_from`."""
        return prototypes_from(
            features,
            membership,
            attention_temperature=self.config.attention_temperature,
            weight_temperature=self.config.weight_temperature,
            fusion=self.config.fusion,
            through=self._through,
        )

    def compare(self, features: Tensor, classes: ClassPrototypes) -> Tensor:
        """Logits ``[Q,K]``."""
        return self.temperature * compare(
            features,
            classes,
            attention_temperature=self.config.attention_temperature,
            fusion=self.config.fusion,
            through=self._through,
        )

    def leave_one_out(self, features: Tensor, membership: Tensor) -> Tensor:
        """Logits ``[S,K]`` of every support against prototypes made without it.

        The only support of a class cannot be left out and is compared with itself included.
        """
        counts = membership.sum(0)
        alone = counts[membership.argmax(1)] <= 1
        others = ~torch.eye(len(features), dtype=torch.bool, device=features.device)
        included = others | alone[:, None]
        memberships = membership[None] * included[:, :, None]  # [S,S,K]

        def logits_of(support: Tensor, remaining: Tensor) -> Tensor:
            return self.compare(support[None], self.prototypes_from(features, remaining))[0]

        rows: Tensor = torch.func.vmap(logits_of)(features, memberships)
        return rows

    def support_features(self) -> tuple[Tensor, Tensor]:
        """Stored features ``[S,C*M]`` and their classes ``[S]``."""
        used = self.kept_owner >= 0
        return self.kept[used], self.kept_owner[used]

    def class_prototypes(self) -> dict[str, Tensor]:
        """`ClassPrototypes` of the trained classes by name."""
        features, owners = self.support_features()
        result = self.enroller(features, membership_of(owners, self.classes))
        return dict(zip(NAMES, result, strict=True))

    def forward(
        self,
        image: Tensor,
        means: Tensor | None = None,
        counts: Tensor | None = None,
        descriptions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """RGB ``[B,3,h,w]`` 0..255 to scores ``[B,K]`` and flattened features ``[B,C*M]``."""
        features = self.features(image)
        if means is None or counts is None or descriptions is None:
            classes = ClassPrototypes(**self.class_prototypes())
        else:
            classes = ClassPrototypes(means, counts, descriptions)
        return self.compare(features, classes), features.flatten(1)
