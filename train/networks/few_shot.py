"""The few-shot network: four convolution modules, local features by attention, class descriptions.

    network = FewShotNetwork(FewShotNetworkConfig(), input=InputSpec(height=84, width=84))
    classes = describe(support_features, membership)           # ClassDescriptions
    logits = network.compare(query_features, *classes)         # [Q,K]

Features are ``[B,C,M]``: the final feature map, its M cells in a row. A cell is a region; the mean
over cells is the global feature. Shapes: S supports, Q queries, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from trocar.contract.config import require
from trocar.contract.manifest import InputSpec
from trocar.train.networks.class_data import unit

KERNEL = 3
CHANNELS = (64, 96, 128, 256)


@dataclass(frozen=True, kw_only=True)
class FewShotNetworkConfig:
    """The four-module network and its comparisons.

    Attributes:
        size: Network height,width in pixels.
        augment: photo (turned and mirrored), upright (neither mirrored nor much turned) or none.
        channels: Channels of the four modules, all different.
        batch_norm: Batch normalisation after each convolution; it folds away at export.
        regions: Regions a side that the final map is pooled to; 0 takes its cells.
        tau_attention: Sharpness of the attention over regions.
        tau_weight: Sharpness of the weights of photographs inside a class.
        tau: Temperature of the class scores that learning starts from.
    """

    size: tuple[int, int] = (84, 84)
    augment: Literal["photo", "upright", "none"] = "photo"
    channels: tuple[int, int, int, int] = CHANNELS
    batch_norm: bool = True
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
            (self.tau_attention > 0, "tau_attention must be above 0"),
            (self.tau_weight >= 0, "tau_weight must be 0 or more"),
            (self.tau > 0, "tau must be above 0"),
        )


class ConvModules(nn.Module):
    """Four cascaded modules of three 3×3 convolutions with ReLU, and one max-pool after the last.

    Each module but the first halves the map with its first convolution.

    Args:
        channels: Of the four modules.
        batch_norm: Normalise after each convolution.
    """

    def __init__(self, channels: tuple[int, ...] = CHANNELS, *, batch_norm: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 3
        for number, outside in enumerate(channels):
            module: list[nn.Module] = []
            for place in range(3):
                stride = 2 if number and not place else 1
                module.append(
                    nn.Conv2d(
                        inside, outside, KERNEL, stride=stride, padding=1, bias=not batch_norm
                    )
                )
                module += [nn.BatchNorm2d(outside)] if batch_norm else []
                module.append(nn.ReLU())
                inside = outside
            layers.append(nn.Sequential(*module))
        self.layers = nn.ModuleList(layers)
        self.pool = nn.MaxPool2d(2)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised ``[B,3,h,w]`` to ``[B,C,h/16,w/16]``."""
        for layer in self.layers:
            image = layer(image)
        pooled: Tensor = self.pool(image)
        return pooled


class ClassDescriptions(NamedTuple):
    """What a query is compared with.

    Attributes:
        means: ``[K,C]`` mean of the unit global features of each class.
        counts: ``[K]`` float32, photographs of each class.
        descriptions: ``[K,2C]`` class descriptions, of length 1.
    """

    means: Tensor
    counts: Tensor
    descriptions: Tensor


NAMES = ClassDescriptions._fields


def region_attention(same: Tensor, different: Tensor, tau: float) -> Tensor:
    """Attention over regions, dimension 1: softmax of the two similarities' difference."""
    return (tau * (same - different)).softmax(1)


def pick(attention: Tensor, *, train: bool) -> Tensor:
    """One-hot of the largest attention along dimension 1, the first of equals.

    While training its gradient is the attention's own (straight through).
    """
    cells = torch.arange(attention.shape[1], device=attention.device)
    shape = (1, -1) + (1,) * (attention.ndim - 2)
    best = attention.argmax(1, keepdim=True)
    chosen = (cells.reshape(shape) == best).to(attention.dtype)
    return chosen + attention - attention.detach() if train else chosen


def support_similarities(features: Tensor, membership: Tensor) -> tuple[Tensor, Tensor]:
    """First and second similarity of every support's regions.

    The first is the mean cosine to the global features of the class's *other* supports, or to its
    own where there is no other; the second the mean over all other classes' supports.

    Args:
        features: ``[S,C,M]``.
        membership: ``[S,K]`` 0 or 1; a row of zeros takes no part.

    Returns:
        ``[S,M]`` each.
    """
    whole = unit(features.mean(2))  # [S,C]
    regions = unit(features.transpose(1, 2))  # [S,M,C]
    sums = membership.t() @ whole  # [K,C]
    counts = membership.sum(0)  # [K]
    to_class = regions @ sums.t()  # [S,M,K] sums of cosines
    to_self = (regions * whole[:, None]).sum(-1)  # [S,M]
    in_class = (to_class * membership[:, None]).sum(-1)
    fellows = (membership @ counts)[:, None]  # [S,1]
    others = (in_class - to_self) / (fellows - 1).clamp(min=1)
    same = torch.where(fellows > 1, others, to_self)
    different = (to_class.sum(-1) - in_class) / (counts.sum() - fellows).clamp(min=1)
    return same, different


def quality_weights(features: Tensor, membership: Tensor, tau: float) -> Tensor:
    """Weights ``[S,K]`` of the photographs inside their classes; each class's sum to 1.

    A photograph that looks unlike its fellows, a poor one, weighs less.
    """
    whole = unit(features.mean(2))
    means = membership.t() @ whole / membership.sum(0).clamp(min=1)[:, None]
    alike = ((whole @ means.t()) * membership).sum(-1, keepdim=True)  # [S,1] in -1..1
    raw = membership * (tau * (alike - 1)).exp()
    return raw / raw.sum(0).clamp(min=1e-20)


def describe(
    features: Tensor,
    membership: Tensor,
    *,
    tau_attention: float,
    tau_weight: float,
    train: bool = False,
) -> ClassDescriptions:
    """Class descriptions from the supports of all classes.

    Args:
        features: ``[S,C,M]``.
        membership: ``[S,K]`` 0 or 1.
        tau_attention: Sharpness of the attention.
        tau_weight: Sharpness of the weights inside a class.
        train: Straight-through attention.
    """
    same, different = support_similarities(features, membership)
    chosen = pick(region_attention(same, different, tau_attention), train=train)  # [S,M]
    local = (features * chosen[:, None]).sum(-1)  # [S,C]
    whole = features.mean(2)
    vectors = unit(torch.cat([whole, local], 1))  # [S,2C]
    weights = quality_weights(features, membership, tau_weight)
    counts = membership.sum(0)
    means = membership.t() @ unit(whole) / counts.clamp(min=1)[:, None]
    return ClassDescriptions(means, counts, unit(weights.t() @ vectors))


def compare(
    features: Tensor, classes: ClassDescriptions, *, tau_attention: float, train: bool = False
) -> Tensor:
    """Third minus fourth similarity of queries under every hypothesis of their class.

    Args:
        features: ``[Q,C,M]``.
        classes: See `describe`.
        tau_attention: Sharpness of the attention.
        train: Straight-through attention.

    Returns:
        ``[Q,K]``; -2..2.
    """
    means, counts, descriptions = classes
    regions = features.transpose(1, 2)  # [Q,M,C]
    same = unit(regions) @ means.t()  # [Q,M,K] under hypothesis k
    total = (same * counts).sum(-1, keepdim=True)
    different = (total - same * counts) / (counts.sum() - counts).clamp(min=1)
    chosen = pick(region_attention(same, different, tau_attention), train=train)  # [Q,M,K]
    local = chosen.transpose(1, 2) @ regions  # [Q,K,C]
    whole = features.mean(2)[:, None].expand_as(local)
    vectors = unit(torch.cat([whole, local], 2))  # [Q,K,2C]
    third = (vectors * descriptions).sum(-1)
    everything = (vectors * descriptions.sum(0)).sum(-1)
    rivals = (torch.ones_like(counts).sum() - 1).clamp(min=1)
    return third - (everything - third) / rivals


class LocalEnroller(nn.Module):
    """`describe` on flattened features, to be exported.

    Args:
        config: Sharpness of attention and weights.
        channels: C, to unflatten by.
    """

    def __init__(self, config: FewShotNetworkConfig, channels: int) -> None:
        super().__init__()
        self.tau_attention, self.tau_weight = config.tau_attention, config.tau_weight
        self.channels = channels

    def forward(self, features: Tensor, membership: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[S,C*M]`` and ``[S,K]`` to the three tensors of `ClassDescriptions`."""
        made = describe(
            features.reshape(len(features), self.channels, -1),
            membership,
            tau_attention=self.tau_attention,
            tau_weight=self.tau_weight,
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

    def features(self, image: Tensor, *, normalise: bool = True) -> Tensor:
        """RGB ``[B,3,h,w]`` 0..255 to features ``[B,C,M]``."""
        if normalise:
            image = (image - self.mean) / self.std
        cells: Tensor = self.pool(self.extractor(image)).flatten(2)
        return cells

    def describe(self, features: Tensor, membership: Tensor) -> ClassDescriptions:
        """See `describe`."""
        return describe(
            features,
            membership,
            tau_attention=self.config.tau_attention,
            tau_weight=self.config.tau_weight,
            train=self.training,
        )

    def compare(self, features: Tensor, classes: ClassDescriptions) -> Tensor:
        """Logits ``[Q,K]``."""
        return self.tau * compare(
            features, classes, tau_attention=self.config.tau_attention, train=self.training
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
        from trocar.train.networks.class_data import membership_of

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
