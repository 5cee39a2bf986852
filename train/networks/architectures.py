"""Segmentation networks by architecture: one seam, ``encode`` then ``decode``, for all of them.

    network = make_network(config, classes=3, input=InputSpec(height=64, width=96))
    logits = network.decode(network.encode(torch.rand(2, 3, 64, 96) * 255))      # [2,3,64,96]

The architectures are those that segmentation-models-pytorch offers; none is listed here. DeepLabV3+
is `trocar.train.networks.segmentation.Segmenter`, whose ASPP belongs to the shared features.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trocar.contract.config import unknown
from trocar.contract.errors import ConfigError
from trocar.contract.manifest import InputSpec
from trocar.contract.plug_ins import PlugIn, blamed, check_object, load, plug_in_fault, plug_ins
from trocar.contract.text.words import first_line
from trocar.train.networks.encoder_weights import RELU, load_encoder
from trocar.train.networks.segmentation import (
    DEFAULT_ARCHITECTURE,
    DEFAULT_DECODER_CHANNELS,
    Features,
    NetworkConfig,
    Segmenter,
    freeze_as_configured,
    use_group_norm,
)

MIN_CHANNELS = 8
"""Smallest number of channels to which a block of a published decoder is scaled down."""

GROUP = 32
"""Widths that hold for a whole decoder are multiples of it: some decoders normalise 32 groups."""


class SegmentationNetwork(Protocol):
    """A network in two halves.

    Attributes:
        decoder: Features to logits ``[B,K,h,w]``; what auxiliary decoders are copies of.
        config: Its configuration.
    """

    decoder: nn.Module
    config: NetworkConfig

    def encode(self, image: Tensor) -> Features:
        """RGB ``[B,3,h,w]`` 0..255 to shared features, the deepest first."""
        ...

    def decode(self, features: Features) -> Tensor:
        """Shared features to logits ``[B,K,h,w]``."""
        ...


def architecture_names() -> list[str]:
    """The architectures of segmentation-models-pytorch, the default first, then plug-ins."""
    own = _architectures()
    others = sorted(own.keys() - {DEFAULT_ARCHITECTURE})
    return [DEFAULT_ARCHITECTURE, *others, *plug_ins("architectures", own=own)]


def make_network(config: NetworkConfig, *, classes: int, input: InputSpec) -> Any:
    """Makes a `SegmentationNetwork`, an ``nn.Module`` from RGB 0..255 to logits.

    Args:
        config: Architecture, encoder, size.
        classes: Number of classes K.
        input: Normalisation.

    Raises:
        ConfigError: There is no such architecture or encoder, the encoder does not fit the
            architecture, or the size does not.
        DataError: The weights are not available or do not fit.
    """
    if config.architecture == DEFAULT_ARCHITECTURE:
        return Segmenter(config, classes=classes, input=input)
    plug_in = plug_ins("architectures", own=_architectures()).get(config.architecture)
    if plug_in is not None:
        return _added_network(plug_in, config, classes=classes, input=input)
    return PyramidSegmenter(config, classes=classes, input=input)


class PyramidSegmenter(nn.Module):
    """Any architecture of segmentation-models-pytorch, split into ``encode`` and ``decode``.

    The shared features are the encoder's stages, the deepest first. Dropout acts on the deepest.

    Args:
        config: See `trocar.train.networks.segmentation.NetworkConfig`.
        classes: Number of classes K.
        input: Normalisation.

    Raises:
        ConfigError: See `make_network`.
        DataError: See `make_network`.
    """

    mean: Tensor
    std: Tensor

    class_rows: tuple[str, ...]
    """Tensors with one row for each class."""

    def __init__(self, config: NetworkConfig, *, classes: int, input: InputSpec) -> None:
        super().__init__()
        self.config = config
        model = _make_model(config, classes=classes)
        _check_size(config, model)
        load_encoder(model.encoder, name=config.encoder, weights=config.encoder_weights)
        self.encoder = model.encoder
        self.is_plain = config.architecture == "dpt"
        self.drop = nn.Dropout(config.dropout)
        present = _present_stages(self.encoder, is_plain=self.is_plain)
        self.decoder = PyramidDecoder(
            model.decoder, model.segmentation_head, stages=present, is_plain=self.is_plain
        )
        last = [
            name
            for name, module in self.decoder.head.named_modules()
            if isinstance(module, nn.Conv2d)
        ][-1]
        self.class_rows = tuple(f"decoder.head.{last}.{kind}" for kind in ("weight", "bias"))
        if config.decoder_norm == "group":
            use_group_norm(self.decoder)
        for name, values in (("mean", input.mean), ("std", input.std)):
            pixels = torch.tensor(values).mul(255).reshape(1, 3, 1, 1)
            self.register_buffer(name, pixels, persistent=False)
        _try(self, config)

    def encode(self, image: Tensor) -> Features:
        """RGB ``[B,3,h,w]`` 0..255 to the encoder's stages, the deepest first."""
        outputs = self.encoder((image - self.mean) / self.std)
        stages = outputs[0] if self.is_plain else outputs
        deepest, *others = [stages[index] for index in reversed(self.decoder.stages)]
        return (self.drop(deepest), *others)

    def decode(self, features: Features) -> Tensor:
        """Shared features to logits ``[B,K,h,w]``."""
        logits: Tensor = self.decoder(features)
        return logits

    def forward(self, image: Tensor) -> Tensor:
        """RGB ``[B,3,h,w]`` 0..255 to logits ``[B,K,h,w]``."""
        return self.decode(self.encode(image))

    def train(self, mode: bool = True) -> PyramidSegmenter:
        """Sets the mode; frozen batch normalisation stays frozen."""
        super().train(mode)
        freeze_as_configured(self.config, encoder=(self.encoder,), rest=(self.decoder,))
        return self


class PyramidDecoder(nn.Module):
    """A decoder and head of segmentation-models-pytorch that takes the deepest stage first.

    Args:
        decoder: The decoder.
        head: The head.
        stages: Numbers of the encoder's stages that are given, shallow to deep.
        is_plain: Whether all stages are of one resolution, as those of a plain ViT.
    """

    def __init__(
        self, decoder: nn.Module, head: nn.Module, *, stages: tuple[int, ...], is_plain: bool
    ) -> None:
        super().__init__()
        self.decoder, self.head = decoder, head
        self.stages, self.is_plain = stages, is_plain

    def forward(self, features: Features) -> Tensor:
        """Stages, the deepest first, to logits ``[B,K,h,w]``."""
        given = dict(zip(reversed(self.stages), features, strict=True))
        if self.is_plain:
            maps = [given[index] for index in self.stages]
            decoded = self.decoder(maps, [None] * len(maps))
        else:
            first = self.stages[0]
            batch, _, height, width = given[first].shape
            # Decoders ask for the size of stages that they do not read; those have no channels.
            absent = {
                index: given[first].new_zeros(
                    (batch, 0, height << (first - index), width << (first - index))
                )
                for index in range(first)
            }
            decoded = self.decoder([{**absent, **given}[i] for i in range(self.stages[-1] + 1)])
        logits: Tensor = self.head(decoded)
        return logits


def _added_network(
    plug_in: PlugIn, config: NetworkConfig, *, classes: int, input: InputSpec
) -> Any:
    """A plug-in's network, tried on one image."""
    make = load(plug_in)
    with blamed(plug_in), torch.no_grad():
        network = make(config, classes=classes, input=input)
        check_object(plug_in, network, ("encode", "decode", "decoder", "frozen", "state_dict"))
        logits = network.eval()(torch.zeros(1, 3, *config.size))
    expected = [1, classes, *config.size]
    if list(getattr(logits, "shape", ())) != expected:
        got = list(getattr(logits, "shape", ())) or type(logits).__name__
        raise plug_in_fault(plug_in, f"the network returns {got}, expected {expected}")
    return network.train()


def _architectures() -> Mapping[str, Any]:
    import segmentation_models_pytorch as smp

    found: Mapping[str, Any] = smp.MODEL_ARCHITECTURES_MAPPING
    return found


def _make_model(config: NetworkConfig, *, classes: int) -> Any:
    known = _architectures()
    if config.architecture not in known:
        raise ConfigError(
            f"architecture {unknown(config.architecture, known)}",
            remedy=f"choose one of {', '.join(architecture_names())}",
        )
    kind = known[config.architecture]
    try:
        return kind(
            encoder_name=config.encoder.removesuffix(RELU),
            encoder_weights=None,
            in_channels=3,
            classes=classes,
            **_widths(kind.__init__, config),
            **({"dynamic_img_size": True} if config.architecture == "dpt" else {}),
        )
    except Exception as error:
        # smp and timm raise many kinds of errors for encoders without the stages that are needed.
        raise ConfigError(
            f"encoder {config.encoder!r} does not fit the architecture {config.architecture}: "
            f"{first_line(error)}",
            remedy="choose another --encoder, e.g. resnet18, or tu-vit_tiny_patch16_224 for dpt",
        ) from error


def _widths(constructor: Callable[..., Any], config: NetworkConfig) -> dict[str, Any]:
    """Widths of the decoder: the published ones times ``decoder_channels`` / 128."""
    share = config.decoder_channels / DEFAULT_DECODER_CHANNELS
    chosen: dict[str, Any] = {}
    for name, parameter in inspect.signature(constructor).parameters.items():
        value = parameter.default
        if name.endswith("_dropout"):
            chosen[name] = 0.0
        elif name == "decoder_readout":
            chosen[name] = "ignore"
        elif name.endswith("_channels") and isinstance(value, tuple):
            chosen[name] = tuple(max(MIN_CHANNELS, round(one * share)) for one in value)
        elif name.endswith("_channels") and name != "in_channels" and isinstance(value, int):
            chosen[name] = max(GROUP, round(value * share / GROUP) * GROUP)
    return chosen


def _check_size(config: NetworkConfig, model: Any) -> None:
    encoder = model.encoder
    multiple = int(getattr(encoder, "output_stride", 0) or max(encoder.output_strides))
    height, width = config.size
    if height % multiple or width % multiple:
        fitting = [max(multiple, round(side / multiple) * multiple) for side in (width, height)]
        raise ConfigError(
            f"size is {width}x{height} (width x height), expected multiples of {multiple} for "
            f"{config.architecture} with {config.encoder}",
            remedy=f"pass e.g. --size {fitting[0]}x{fitting[1]}",
        )


@torch.no_grad()
def _try(network: PyramidSegmenter, config: NetworkConfig) -> None:
    """One image through the network, to refuse here what it cannot take."""
    network.eval()
    try:
        shape = tuple(network(torch.zeros(1, 3, *config.size)).shape[2:])
    except (RuntimeError, ValueError) as error:
        raise _unfit_size(config, first_line(error)) from error
    if shape != tuple(config.size):
        raise _unfit_size(config, f"its output is {shape[1]}x{shape[0]}")
    network.train()


def _unfit_size(config: NetworkConfig, why: str) -> ConfigError:
    height, width = config.size
    return ConfigError(
        f"{config.architecture} with {config.encoder} does not work at {width}x{height}: {why}",
        remedy=f"pass a larger size, e.g. --size {2 * width}x{2 * height}, or another "
        "--architecture",
    )


def _present_stages(encoder: Any, *, is_plain: bool) -> tuple[int, ...]:
    """Numbers of the stages that hold something; stage 0 is the image itself."""
    channels = list(encoder.out_channels)
    if is_plain:
        return tuple(range(len(channels)))
    return tuple(index for index, count in enumerate(channels) if index and count)
