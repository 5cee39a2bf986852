"""Encoders by name, and their pretrained weights.

encoder = make_encoder("timm-mobilenetv3_small_100", weights="none")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trocar.contract.config import unknown
from trocar.contract.errors import ConfigError, DataError
from trocar.contract.text.words import first_line

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


def make_encoder(name: str, *, weights: str) -> nn.Module:
    """Makes an encoder of segmentation-models-pytorch or (``tu-…``) timm at output stride 16.

    Args:
        name: e.g. ``resnet18`` or ``tu-regnety_002``.
        weights: ``none``, ``imagenet`` (downloaded where the network allows) or a file.

    Raises:
        ConfigError: No such encoder, or it lacks the stages that DeepLabV3+ needs.
        DataError: The weights are not available or do not fit.
    """
    encoder = _encoder(name)
    if weights == "none":
        return encoder
    if weights == "imagenet":
        return _pretrained(name)
    _load(encoder, Path(weights))
    return encoder


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
    except Exception as error:
        if weights is not None:
            raise
        raise _no_stages(name, str(error)) from error
    stages: Any = encoder.out_channels
    if len(stages) != 6:
        raise _no_stages(name, f"it has {len(stages) - 1} stages, 5 are needed")
    return encoder


def _no_stages(name: str, why: str) -> ConfigError:
    return ConfigError(
        f"encoder {name!r} does not work with DeepLabV3+: {first_line(why)}",
        remedy="choose one that dilates, e.g. " + ", ".join(DILATING),
    )


def _pretrained(name: str) -> nn.Module:
    try:
        return _encoder(name, "imagenet")
    except ConfigError:
        raise
    except Exception as error:
        # Downloads fail in many ways (no route, no such file, rate limit); the remedy is the same.
        raise DataError(
            f"ImageNet weights of {name} are not available: {type(error).__name__}: "
            f"{first_line(error)}",
            remedy="download the file on another machine and pass --encoder-weights FILE, "
            "or train from scratch with --encoder-weights none",
        ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a state dictionary from ``.safetensors`` or a torch file; executes nothing in it.

    Raises:
        DataError: The file is missing, damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise DataError(
            f"there is no weights file {path}",
            remedy="--encoder-weights takes none, imagenet, or a .safetensors or .pth file",
        )
    if path.suffix == ".ckpt":
        raise DataError(
            f"{path} is a checkpoint of a whole run, expected the weights of an encoder",
            remedy=f"to start from that run pass --start-from {path} instead",
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(
            f"{path} has no readable weights: {type(error).__name__}",
            remedy="pass a state dictionary saved as .safetensors or by torch.save(state_dict)",
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise DataError(
            f"{path} is not a state dictionary", remedy="save model.state_dict() into it"
        )
    return dict(state)


def _load(encoder: nn.Module, path: Path) -> None:
    """Loads the tensors that fit by name and shape; at least 90 % of the encoder's must."""
    state = read_weights(path)
    best: dict[str, Tensor] = {}
    wanted = encoder.state_dict()
    for prefix in ("", "model.", "encoder."):
        fitting = {}
        for key, value in state.items():
            mapped = key.removeprefix("encoder.") if prefix == "encoder." else prefix + key
            if mapped in wanted and wanted[mapped].shape == value.shape:
                fitting[mapped] = value
        if len(fitting) > len(best):
            best = fitting
    if len(best) < 0.9 * len(wanted):
        raise DataError(
            f"{path} does not fit the encoder: it has {len(best)} of {len(wanted)} tensors with "
            "the right shape",
            remedy="pass the weights of the same architecture as --encoder",
        )
    encoder.load_state_dict(best, strict=False)
