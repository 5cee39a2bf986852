"""The few-shot network: four convolution modules and the comparison of what they see.

    network = FewShotNetwork(FewShotNetworkConfig(), input=InputSpec(height=84, width=84))
    classes = network.describe(support_features, membership)   # ClassDescriptions
    logits = network.compare(query_features, classes)          # [Q,K]

Shapes: see `trocar.train.networks.local_comparison`.
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
from trocar.train.networks.local_comparison import (
    NAMES,
    ClassDescriptions,
    Joining,
    compare,
    describe,
)


@dataclass(frozen=True, kw_only=True)
class FewShotNetworkConfig:
    """The four-module network and its comparisons.

    Attributes:
        size: Network height,width in pixels.
        augment: photo (turned and mirrored), upright (neither mirrored nor much turned) or none.
        channels: Channels of the four modules, all different.
        batch_norm: Batch normalisation after each convolution; it folds away at export.
        standardise: Every channel of the final map is brought to mean 0 and deviation 1 (over
            what training showed), so that cosines use all of -1..1.
        attention_gradient: through: the region's choice is trained as if it were soft (straight
            through); none: only what was chosen is trained.
        whole_map: The global part of a photograph's vector is the whole final map, so that places
            count; otherwise the mean over its cells.
        local_weight: Length of the local feature beside a global one of length 1 in a photograph's
            vector; 0 joins them as they are.
        regions: Regions a side that the final map is pooled to; 0 takes its cells.
        tau_attention: Sharpness of the attention over regions.
        tau_weight: Sharpness of the weights of photographs inside a class.
        tau: Temperature of the class scores that learning starts from.
    """

    size: tuple[int, int] = (84, 84)
    augment: Literal["photo", "upright", "none"] = "photo"
    channels: tuple[int, int, int, int] = CHANNELS
    batch_norm: bool = True
    standardise: bool = True
    attention_gradient: Literal["through", "none"] = "none"
    whole_map: bool = True
    local_weight: float = 0.0
    regions: int = 0
    tau_attention: float = 10.0
    tau_weight: float = 10.0
    tau: float = 10.0

    def __post_init__(self) -> None:
        require(
            (all(32 <= side <= 1024 for side in self.size), "size must be 32..1024 pixels a side"),
            (len(set(self.channels)) == 4, "channels must be four different numbers"),
            (min(self.channels) >= 1, "channels must be 1 or more"),
            (self.regions >= 0, "regions must be 0 or more"),
            (self.local_weight >= 0, "local_weight must be 0 or more"),
            (self.tau_attention > 0, "tau_attention must be above 0"),
            (self.tau_weight >= 0, "tau_weight must be 0 or more"),
            (self.tau > 0, "tau must be above 0"),
        )

    @property
    def joining(self) -> Joining:
        """How a photograph's vector is made."""
        return Joining(whole_map=self.whole_map, local_weight=self.local_weight)


class LocalEnroller(nn.Module):
    """`describe` on flattened features, to be exported.

    Args:
        config: Sharpness of attention and weights.
        channels: C, to unflatten by.
    """

    def __init__(self, config: FewShotNetworkConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.channels = channels

    def forward(self, features: Tensor, membership: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[S,C*M]`` and ``[S,K]`` to the three tensors of `ClassDescriptions`."""
        made = describe(
            features.reshape(len(features), self.channels, -1),
            membership,
            tau_attention=self.config.tau_attention,
            tau_weight=self.config.tau_weight,
            joining=self.config.joining,
        )
        return made.means, made.counts, made.descriptions


class FewShotNetwork(nn.Module):
    """Feature extractor, comparison and the supports of the trained classes.

    ``forward`` gives scores ``[B,K]`` (``tau`` times `compare`) and the flattened features
    ``[B,C*M]``, from which classes are enrolled.

    Args:
        config: See `FewShotNetworkConfig`.
        input: Normalisation.
        classes: Number of classes that leave training with supports; 0 for none.
        supports: Supports that are kept of each, at most.
    """

    mean: Tensor
    std: Tensor
    kept: Tensor
    kept_owner: Tensor
    threshold: Tensor

    kind = "local"

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
        # Features of a ReLU are never negative: their cosines crowd near 1 until this centres them.
        self.standard = (
            nn.BatchNorm1d(config.channels[-1], affine=False)
            if config.standardise
            else nn.Identity()
        )
        # Its logarithm is what is learned: steps of any optimiser then scale with it.
        self.log_tau = nn.Parameter(torch.tensor(math.log(config.tau)))
        with torch.no_grad():
            shape = self.eval().features(torch.zeros(1, 3, *config.size), normalise=False).shape
        self.train()
        self.shape = (int(shape[1]), int(shape[2]))
        self.enroller = LocalEnroller(config, self.shape[0])
        self.register_buffer("kept", torch.zeros(classes * supports, self.shape[0] * self.shape[1]))
        self.register_buffer("kept_owner", torch.full((classes * supports,), -1))
        self.register_buffer("threshold", torch.zeros(()))
        self.classes = classes
        for name, values in (("mean", input.mean), ("std", input.std)):
            pixels = torch.tensor(values).mul(255).reshape(1, 3, 1, 1)
            self.register_buffer(name, pixels, persistent=False)

    @property
    def tau(self) -> Tensor:
        """The temperature of the scores, a scalar that is learned."""
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

    def describe(self, features: Tensor, membership: Tensor) -> ClassDescriptions:
        """See `describe`."""
        return describe(
            features,
            membership,
            tau_attention=self.config.tau_attention,
            tau_weight=self.config.tau_weight,
            joining=self.config.joining,
            through=self._through,
        )

    def compare(self, features: Tensor, classes: ClassDescriptions) -> Tensor:
        """Logits ``[Q,K]``."""
        return self.tau * compare(
            features,
            classes,
            tau_attention=self.config.tau_attention,
            joining=self.config.joining,
            through=self._through,
        )

    def leave_one_out(self, features: Tensor, membership: Tensor) -> Tensor:
        """Logits ``[S,K]`` of every support, each compared with classes it is left out of.

        The only support of a class cannot be left out; its row holds what it scores when it is in.
        """
        counts = membership.sum(0)
        alone = counts[membership.argmax(1)] <= 1
        kept = (~torch.eye(len(features), dtype=torch.bool, device=features.device)) | alone[
            :, None
        ]
        rests = membership[None] * kept[:, :, None]  # [S,S,K]

        def one(rest: Tensor, own: Tensor) -> Tensor:
            return self.compare(own[None], self.describe(features, rest))[0]

        rows: Tensor = torch.func.vmap(one)(rests, features)
        return rows

    def supports(self) -> tuple[Tensor, Tensor]:
        """Kept features ``[S,C*M]`` and their classes ``[S]``."""
        there = self.kept_owner >= 0
        return self.kept[there], self.kept_owner[there]

    def class_data(self) -> dict[str, Tensor]:
        """`ClassDescriptions` of the trained classes by name."""
        features, owners = self.supports()
        made = self.enroller(features, membership_of(owners, self.classes))
        return dict(zip(NAMES, made, strict=True))

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
            classes = ClassDescriptions(**self.class_data())
        else:
            classes = ClassDescriptions(means, counts, descriptions)
        return self.compare(features, classes), features.flatten(1)
