"""DeepLabV3+ on any encoder that can dilate, split into ``encode`` and ``decode``.

    network = Segmenter(NetworkConfig(), classes=3, input=InputSpec(height=64, width=80))
    logits = network(torch.rand(2, 3, 64, 80) * 255)          # [2,3,64,80]

The encoder, ASPP and decoder are segmentation-models-pytorch's. Source: Chen et al.,
"Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", ECCV 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trocar.contract.config import require
from trocar.contract.manifest import InputSpec
from trocar.train.methods.protocol import BatchSource, Progress
from trocar.train.networks.encoder_weights import make_encoder

STRIDE = 16
"""Output stride: the network's sides are multiples of it."""

GROUP_CHANNELS = 16
"""Fewest channels of a group of GroupNorm."""

DEFAULT_ARCHITECTURE = "deeplabv3plus"
DEFAULT_DECODER_CHANNELS = 128

Features = tuple[Tensor, ...]
"""Shared features, the deepest first. Of DeepLabV3+: after the ASPP [B,C,h/16,w/16], and the skip
of stride 4 [B,S,h/4,w/4]."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The segmentation network.

    Attributes:
        architecture: Architecture of segmentation-models-pytorch, e.g. deeplabv3plus, unet, fpn,
            upernet, segformer, dpt.
        encoder: Encoder by its name in segmentation-models-pytorch, or tu-NAME for NAME of timm.
        encoder_weights: none, imagenet (downloaded), or a file of weights.
        size: Network size in pixels, multiples of 16; a recipe has it as [height, width].
        decoder_channels: Channels of the ASPP and the decoder; other architectures have their
            published widths at 128, and proportional ones at other values.
        dropout: Dropout after the ASPP or on the deepest features, 0..1.
        batch_norm: Batch normalisation of the encoder: train uses the statistics of the batch;
            frozen uses the running ones of its weights; auto is frozen where ``encoder_weights``
            names some, and train else. An instance holds the choice, never auto.
        decoder_norm: Normalisation of the ASPP and the decoder: batch, group (GroupNorm, which
            does not depend on the batch), or frozen (running statistics of batch normalisation,
            which are those of an untrained decoder unless the run starts from another); auto is
            group where ``encoder_weights`` names some, and batch else.
        pooling_branch: Whether the ASPP of deeplabv3plus has its image-pooling branch, which
            batch normalisation computes from one value an image.
        bn_batches: Batches over which the statistics of batch normalisation are computed again
            after the last step; 0 keeps the running averages.
    """

    architecture: str = DEFAULT_ARCHITECTURE
    encoder: str = "timm-mobilenetv3_small_100"
    encoder_weights: str = "none"
    size: tuple[int, int] = (256, 320)
    decoder_channels: int = DEFAULT_DECODER_CHANNELS
    dropout: float = 0.1
    batch_norm: Literal["auto", "train", "frozen"] = "auto"
    decoder_norm: Literal["auto", "batch", "group", "frozen"] = "auto"
    pooling_branch: bool = True
    bn_batches: int = 0

    def __post_init__(self) -> None:
        require(
            (self.bn_batches >= 0, "bn_batches must be 0 or more"),
            (
                all(side >= 32 and side % STRIDE == 0 for side in self.size),
                f"size is {self.size[1]}x{self.size[0]} (width x height), expected multiples of "
                f"{STRIDE} from 32",
            ),
            (self.decoder_channels >= 8, "decoder_channels must be 8 or more"),
            (0 <= self.dropout < 1, "dropout must be in 0..1"),
        )
        # Stored with the run: a checkpoint is loaded without the file of its encoder's weights.
        published = self.encoder_weights != "none"
        if self.batch_norm == "auto":
            object.__setattr__(self, "batch_norm", "frozen" if published else "train")
        if self.decoder_norm == "auto":
            object.__setattr__(self, "decoder_norm", "group" if published else "batch")


class Decoder(nn.Module):
    """The part after the ASPP: upsample, concatenate the skip, convolve, classify.

    Args:
        skip_channels: Channels of the stride-4 skip; 0 leaves the skip out.
        channels: Channels of the ASPP output.
        classes: Number of classes.
    """

    def __init__(self, *, skip_channels: int, channels: int, classes: int) -> None:
        super().__init__()
        from segmentation_models_pytorch.decoders.deeplabv3.decoder import SeparableConv2d

        skip_width = 48
        self.up = nn.Upsample(mode="bilinear", scale_factor=4, align_corners=True)
        self.skip = nn.Sequential(
            nn.Conv2d(skip_channels, skip_width, 1, bias=False),
            nn.BatchNorm2d(skip_width),
            nn.ReLU(),
        )
        self.fuse = nn.Sequential(
            SeparableConv2d(channels + skip_width, channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(channels, classes, 1)
        self.out = nn.Upsample(mode="bilinear", scale_factor=4, align_corners=True)

    def forward(self, features: Features) -> Tensor:
        """Shared features and skip to logits [B,K,h,w]."""
        deep, skip = features
        fused = torch.cat([self.up(deep), self.skip(skip)], dim=1)
        logits: Tensor = self.out(self.head(self.fuse(fused)))
        return logits


class Segmenter(nn.Module):
    """DeepLabV3+ that takes RGB 0..255: ``decode(encode(image))``.

    Args:
        config: See `NetworkConfig`.
        classes: Number of classes K.
        input: Normalisation.
        weights: Starting weights of the encoder; ``None`` takes the configuration's.
    """

    mean: Tensor
    std: Tensor

    class_rows = ("decoder.head.weight", "decoder.head.bias")
    """Tensors with one row for each class."""

    def __init__(
        self, config: NetworkConfig, *, classes: int, input: InputSpec, weights: str | None = None
    ) -> None:
        super().__init__()
        from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP, SeparableConv2d

        self.config = config
        self.encoder = make_encoder(config.encoder, weights=weights or config.encoder_weights)
        stages: Any = self.encoder.out_channels
        channels = config.decoder_channels
        self.aspp = nn.Sequential(
            ASPP(stages[-1], channels, (12, 24, 36), separable=True, dropout=config.dropout),
            SeparableConv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        if not config.pooling_branch:
            drop_pooling_branch(self.aspp[0])
        self.decoder = Decoder(skip_channels=stages[2], channels=channels, classes=classes)
        if config.decoder_norm == "group":
            use_group_norm(self.aspp)
            use_group_norm(self.decoder)
        self.skip_channels = int(stages[2])
        for name, values in (("mean", input.mean), ("std", input.std)):
            pixels = torch.tensor(values).mul(255).reshape(1, 3, 1, 1)
            self.register_buffer(name, pixels, persistent=False)

    def encode(self, image: Tensor) -> Features:
        """RGB [B,3,h,w] 0..255 to shared features and skip."""
        stages = self.encoder((image - self.mean) / self.std)
        return self.aspp(stages[-1]), stages[2]

    def decode(self, features: Features) -> Tensor:
        """Shared features and skip to logits [B,K,h,w]."""
        logits: Tensor = self.decoder(features)
        return logits

    def forward(self, image: Tensor) -> Tensor:
        """RGB [B,3,h,w] 0..255 to logits [B,K,h,w]."""
        return self.decode(self.encode(image))

    def train(self, mode: bool = True) -> Segmenter:
        """Sets the mode; frozen batch normalisation stays frozen."""
        super().train(mode)
        freeze_as_configured(self.config, encoder=(self.encoder,), rest=(self.aspp, self.decoder))
        return self


def batch_norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The BatchNorm layers of a network."""
    found = nn.modules.batchnorm._BatchNorm
    return [module for module in network.modules() if isinstance(module, found)]


def learns_statistics(config: NetworkConfig) -> bool:
    """Whether any BatchNorm of such a network uses the statistics of the batch."""
    return config.batch_norm == "train" or config.decoder_norm == "batch"


def freeze_as_configured(
    config: NetworkConfig, *, encoder: Iterable[nn.Module], rest: Iterable[nn.Module]
) -> None:
    """Makes BatchNorm use its running statistics where the configuration freezes it.

    Args:
        config: See `NetworkConfig`.
        encoder: Modules of which ``batch_norm`` decides.
        rest: Modules of which ``decoder_norm`` decides.
    """
    frozen = [*(encoder if config.batch_norm == "frozen" else ())]
    frozen += rest if config.decoder_norm == "frozen" else ()
    for module in frozen:
        for layer in batch_norms(module):
            layer.eval()


def use_group_norm(module: nn.Module) -> None:
    """Replaces every BatchNorm2d by GroupNorm of the same scale and shift, in place.

    Groups have 16 channels or more, and there are 32 at most. Source: Wu and He, "Group
    Normalization", ECCV 2018.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            channels = child.num_features
            groups = math.gcd(channels, min(32, max(channels // GROUP_CHANNELS, 1)))
            setattr(module, name, nn.GroupNorm(groups, channels, eps=child.eps))
        else:
            use_group_norm(child)


def drop_pooling_branch(aspp: Any) -> None:
    """Removes the image-pooling branch of an ASPP, in place; its projection takes what is left."""
    *branches, _ = aspp.convs
    aspp.convs = nn.ModuleList(branches)
    wide = aspp.project[0]
    width = wide.in_channels // (len(branches) + 1)
    aspp.project[0] = nn.Conv2d(width * len(branches), wide.out_channels, 1, bias=False)


@torch.no_grad()
def reestimate_statistics(network: nn.Module, images: Iterable[Tensor]) -> None:
    """Computes the statistics of trained BatchNorm again, as the plain mean over batches.

    Weights do not change, dropout is off, and layers that the configuration freezes keep theirs.

    Args:
        network: Takes images; its mode is restored.
        images: Batches [B,3,h,w] as they are deployed: not noised.

    Source: Wu and Johnson, "Rethinking Batch in BatchNorm", 2021.
    """
    mode = network.training
    network.train()
    layers = [layer for layer in batch_norms(network) if layer.training]
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.train()
        layer.reset_running_stats()
        layer.momentum = None
    try:
        for image in images:
            network(image)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        network.train(mode)


def finish_statistics(
    network: nn.Module, source: BatchSource, progress: Progress, *, batches: int
) -> None:
    """After the last step computes the statistics of BatchNorm again, see `bn_batches`.

    Args:
        network: The network that is deployed.
        source: A stream of images as it will be deployed on.
        progress: Of the step that was just made.
        batches: Batches that follow this step in the stream; 0 does nothing.
    """
    following = progress.step + 1
    if not batches or following < progress.total_steps:
        return
    device = next(network.parameters()).device
    steps = range(following, following + batches)
    reestimate_statistics(network, (source.batch(step)["image"].to(device) for step in steps))
