"""A segmentation network with a second decoder for centres and offsets of instances.

    network = CenterOffsetNetwork(NetworkConfig(), classes=3, input=InputSpec(height=64, width=80),
                                  max_instances=8)
    found = network(torch.rand(2, 3, 64, 80) * 255)       # classes, scores, masks of instances

Source: Cheng et al., "Panoptic-DeepLab", CVPR 2020: one decoder for the classes and one for the
instances, on the same encoder. Grouping is inside, so it is inside of the exported graph too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from torch import Tensor, nn

from trocar.contract.manifest import InputSpec
from trocar.train.networks.architectures import SegmentationNetwork, make_network
from trocar.train.networks.center_offset.grouping import group_pixels
from trocar.train.networks.segmentation import NetworkConfig, freeze_as_configured

REACH = 1.5
"""Standard deviations of a centre within which no other centre is found.

The paper's square of 7 pixels is narrower than its Gaussian; a heat map of a short training has
many small tops in it. Chosen on validation frames: panoptic quality 0.05 with 7 pixels, 0.36 with
25 and 33, 0.32 with 41, after 300 steps at 128x96.
"""


class Maps(NamedTuple):
    """What the decoders make of a batch.

    Attributes:
        logits: ``[B,K,h,w]`` of the classes.
        centers: ``[B,h,w]`` heat map, 1 at the centre of an instance.
        offsets: ``[B,2,h,w]`` rows and columns from a pixel to its centre, as a fraction of the
            diagonal of the network's input.
    """

    logits: Tensor
    centers: Tensor
    offsets: Tensor


class CenterOffsetNetwork(nn.Module):
    """RGB 0..255 to instances.

    Args:
        config: The segmentation network; its decoder is made twice.
        classes: Number of classes K; class 0 has no instances.
        input: Normalisation.
        max_instances: Largest number of instances of a frame.
        center_sigma: Standard deviation of a centre in the heat map, as a fraction of the diagonal;
            a centre is the highest place within `REACH` of them.

    Raises:
        ConfigError: See `make_network`.
        DataError: See `make_network`.
    """

    main: nn.Module

    def __init__(
        self,
        config: NetworkConfig,
        *,
        classes: int,
        input: InputSpec,
        max_instances: int,
        center_sigma: float = 0.05,
    ) -> None:
        super().__init__()
        self.config = config
        self.max_instances = max_instances
        self.center_sigma = center_sigma
        self.main = make_network(config, classes=classes, input=input)
        # A network of three outputs, of which only the decoder is kept.
        plain = replace(config, encoder_weights="none")
        self.center_decoder = make_network(plain, classes=3, input=input).decoder
        rows: tuple[str, ...] = getattr(self.main, "class_rows", ())
        self.class_rows = tuple(f"main.{name}" for name in rows)

    def train(self, mode: bool = True) -> CenterOffsetNetwork:
        """Sets the mode; frozen batch normalisation stays frozen in both decoders."""
        super().train(mode)
        freeze_as_configured(self.config, encoder=(), rest=(self.center_decoder,))
        return self

    def maps(self, image: Tensor) -> Maps:
        """RGB ``[B,3,h,w]`` 0..255 to the maps of both decoders."""
        main: SegmentationNetwork = self.main  # type: ignore[assignment]
        features = main.encode(image)
        found: Tensor = self.center_decoder(features)
        return Maps(main.decode(features), found[:, 0], found[:, 1:])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """RGB ``[B,3,h,w]`` 0..255 to ``classes``, ``scores`` and ``masks``, see `group_pixels`."""
        maps = self.maps(image)
        height, width = image.shape[-2:]
        return group_pixels(
            maps.logits.float(),
            maps.centers.float(),
            maps.offsets.float() * diagonal(height, width),
            max_instances=self.max_instances,
            radius=max(1, round(REACH * self.center_sigma * diagonal(height, width))),
        )


def diagonal(height: int, width: int) -> float:
    """Diagonal of a map in pixels."""
    squared: float = height**2 + width**2
    return float(squared**0.5)
