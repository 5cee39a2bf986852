"""Encoders by name, and their pretrained weights.

encoder = make_encoder("timm-mobilenetv3_small_100", weights="none")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from trocar.contract.config import unknown
from trocar.contract.errors import ConfigError, DataError
from trocar.contract.text.words import first_line
from trocar.train.networks.weight_files import load_matching

DILATING = (
    "timm-mobilenetv3_small_100",
    "timm-mobilenetv3_large_100",
    "tu-mobilenetv4_conv_small",
    "tu-mobilenetv4_conv_medium",
    "tu-lcnet_050",
    "tu-resnet18d",
    "tu-regnety_002",
    "resnet18",
    "resnet34",
    "mobilenet_v2",
)
"""Encoders that can dilate, which DeepLabV3+ needs; others may too."""

RELU = "+relu"
"""Ending of an encoder's name: StarReLU is replaced by ReLU, as in SurgeNet's CAFormer."""


def make_encoder(name: str, *, weights: str) -> nn.Module:
    """Makes an encoder of segmentation-models-pytorch or (``tu-…``) timm at output stride 16.

    Args:
        name: e.g. ``resnet18`` or ``tu-regnety_002``.
        weights: ``none``, ``imagenet`` (downloaded where the network allows) or a file.

    Raises:
        ConfigError: No such encoder, or it lacks the stages that DeepLabV3+ needs.
        DataError: The weights are not available or do not fit.
    """
    plain = name.removesuffix(RELU)
    try:
        encoder = _encoder(plain)
    except ConfigError:
        raise
    except Exception as error:
        raise _no_stages(name, str(error)) from error
    stages: Any = encoder.out_channels
    if len(stages) != 6:
        raise _no_stages(name, f"it has {len(stages) - 1} stages, 5 are needed")
    load_encoder(encoder, name=name, weights=weights)
    return encoder


def load_encoder(encoder: nn.Module, *, name: str, weights: str) -> None:
    """Loads starting weights into an encoder of segmentation-models-pytorch.

    What was loaded is said by the encoder's attribute ``weights_note``.

    Args:
        encoder: The encoder.
        name: Its name; with the ending `RELU` its StarReLU activations become ReLU.
        weights: ``none``, ``imagenet`` (downloaded where the network allows) or a file.

    Raises:
        ConfigError: The encoder has no StarReLU to replace.
        DataError: The weights are not available or do not fit.
    """
    if name.endswith(RELU):
        _replace_star_relu(encoder, name)
    if weights == "imagenet":
        encoder.load_state_dict(_pretrained(name.removesuffix(RELU)).state_dict())
    elif weights != "none":
        note = load_matching(encoder, Path(weights), name=name)
        encoder.weights_note = note  # type: ignore[assignment]


def _replace_star_relu(encoder: nn.Module, name: str) -> None:
    found = False
    for module in list(encoder.modules()):
        for key, child in list(module.named_children()):
            if type(child).__name__ == "StarReLU":
                setattr(module, key, nn.ReLU())
                found = True
    if not found:
        raise ConfigError(
            f"encoder {name!r} has no StarReLU that ReLU could replace",
            remedy=f"pass --encoder {name.removesuffix(RELU)}",
        )


def _encoder(name: str, weights: str | None = None) -> nn.Module:
    from segmentation_models_pytorch.encoders import get_encoder, get_encoder_names

    try:
        encoder: nn.Module = get_encoder(
            name, in_channels=3, depth=5, weights=weights, output_stride=16
        )
    except KeyError as error:
        raise ConfigError(
            f"encoder {unknown(name, [*DILATING, *get_encoder_names()])}",
            remedy="choose e.g. " + ", ".join(DILATING[:5]) + ", or tu-NAME for a timm model",
        ) from error
    return encoder


def _no_stages(name: str, why: str) -> ConfigError:
    return ConfigError(
        f"encoder {name!r} does not work with DeepLabV3+: {first_line(why)}",
        remedy="choose one that dilates, e.g. "
        + ", ".join(DILATING)
        + ", or another --architecture, e.g. fpn",
    )


def _pretrained(name: str) -> nn.Module:
    from segmentation_models_pytorch.encoders import get_encoder

    try:
        encoder: nn.Module = get_encoder(name, in_channels=3, depth=5, weights="imagenet")
    except Exception as error:
        # Downloads fail in many ways (no route, no such file, rate limit); the remedy is the same.
        raise DataError(
            f"ImageNet weights of {name} are not available: {type(error).__name__}: "
            f"{first_line(error)}",
            remedy="download the file on another machine and pass --encoder-weights FILE, "
            "or train from scratch with --encoder-weights none",
        ) from error
    return encoder
