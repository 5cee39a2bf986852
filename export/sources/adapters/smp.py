"""segmentation_models_pytorch: a folder of `save_pretrained`, or a checkpoint with two names.

found = read(SourceRequest(origin="smp", path=Path("my_model")))

`albumentations_config_eval.json` in the folder states size and normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from trocar.contract.errors import ArgumentError, ConfigError
from trocar.export.graph.imported.checkpoint import read_state
from trocar.export.sources.counted import load_counted
from trocar.export.sources.files import (
    library,
    one_of,
    read_object,
    refuse_keys,
    sides,
    triple,
    weights_in,
)
from trocar.export.sources.types import Found, SourceRequest, Triple

TAKES = ("weights", "architecture", "encoder")
"""Flags beside those that every source takes."""

_HINT = (
    "encoders with weights of ImageNet use --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 "
    "(smp.encoders.get_preprocessing_params tells)"
)

_PLAIN = (None, "identity", "softmax", "softmax2d", "logsoftmax")
"""Activations that change no label; the network is exported without them."""

_FETCHING = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path")

_IGNORED = ("Compose", "ToTensorV2", "ToFloat32")


def read(request: SourceRequest) -> Found:
    """Finds network, weights and, if `albumentations` wrote it, the normalisation.

    Raises:
        TrocarError: See `trocar.export.sources.open.open_source`.
    """
    smp = library("segmentation_models_pytorch", "'trocar[train]'")
    config: dict[str, Any] = {}
    size: tuple[int, int] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    notes: tuple[str, ...] = ()
    if request.path.is_dir():
        config = read_object(request.path / "config.json")
        weights = weights_in(request.path, request.weights)
        size, mean, std, notes = _transforms(request.path)
    else:
        weights = request.weights or request.path
    architecture = request.architecture or str(config.get("_model_class") or "")
    encoder = request.encoder or str(config.get("encoder_name") or "")
    if not architecture or not encoder:
        raise ConfigError(
            f"{request.path} does not state its architecture and encoder",
            remedy="pass --architecture and --encoder, e.g. --architecture unet --encoder resnet34",
        )
    kinds = smp.MODEL_ARCHITECTURES_MAPPING
    kind = one_of(
        architecture,
        kinds,
        what="architecture of segmentation_models_pytorch named",
        remedy=f"pass one of {', '.join(kinds)} as --architecture",
    )
    settings = _settings(config, encoder, request.path)
    activation = config.get("activation")

    def build(classes: int) -> nn.Module:
        if activation == "sigmoid" and classes > 1:
            raise ArgumentError(
                f"{request.path} has a sigmoid for each of {classes} classes, which may overlap; a "
                "label map has one class at a pixel",
                remedy="train with one class at a pixel (softmax), or export one class alone",
            )
        network: nn.Module = _made(kinds[kind], encoder, classes, settings)
        return network

    def load(classes: int) -> nn.Module:
        state = read_state(weights)
        heads = ("classification_head",)
        return load_counted(build, state, path=weights, classes=classes, heads=heads)

    return Found(
        task="segmentation",
        load=load,
        architecture=f"{kinds[kind].__name__} {encoder}",
        weights=weights,
        size=size,
        mean=mean,
        std=std,
        hints={"--mean": _HINT},
        notes=notes,
    )


def _settings(config: Mapping[str, Any], encoder: str, path: Path) -> dict[str, Any]:
    """Arguments of the network's class, without those that fetch weights or add heads."""
    if ":" in encoder:
        raise ArgumentError(
            f"the encoder {encoder!r} names a place to download from",
            remedy="name an encoder of the installed library, e.g. resnet34 or tu-resnet18",
        )
    if config.get("in_channels", 3) != 3:
        raise ArgumentError(
            f"{path} takes {config['in_channels']} channels, expected 3",
            remedy="export a network that takes red, green and blue",
        )
    refuse_keys(config, _FETCHING, path=path)
    activation = config.get("activation")
    if activation not in (*_PLAIN, "sigmoid"):
        raise ArgumentError(
            f"{path} has the activation {activation!r}, whose values are no scores of classes",
            remedy=f"use one of {', '.join(str(name) for name in (*_PLAIN, 'sigmoid'))}",
        )
    left_out = ("encoder_name", "encoder_weights", "classes", "activation", "aux_params")
    return {k: v for k, v in config.items() if not k.startswith("_") and k not in left_out}


def _made(kind: Any, encoder: str, classes: int, settings: Mapping[str, Any]) -> Any:
    try:
        return kind(encoder_name=encoder, encoder_weights=None, classes=classes, **settings)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"{kind.__name__} with encoder {encoder!r} cannot be made: {error}",
            remedy="correct --architecture and --encoder, or install the library's version that "
            "wrote the folder",
        ) from error


def _transforms(
    folder: Path,
) -> tuple[tuple[int, int] | None, Triple | None, Triple | None, tuple[str, ...]]:
    """Size, mean, standard deviation and notes of a file that `albumentations` wrote."""
    path = folder / "albumentations_config_eval.json"
    if not path.is_file():
        return None, None, None, ()
    outer = read_object(path).get("transform")
    listed = outer.get("transforms", [outer]) if isinstance(outer, dict) else []
    size: tuple[int, int] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    others = []
    for step in listed:
        name = str(step.get("__class_fullname__", "")).rpartition(".")[2]
        if name == "Resize":
            size = sides([step.get("height"), step.get("width")])
        elif name == "Normalize" and step.get("normalization", "standard") == "standard":
            # Values are divided by max_pixel_value first.
            scale = float(step.get("max_pixel_value") or 255.0) / 255.0
            mean, std = (_scaled(triple(step.get(key)), scale) for key in ("mean", "std"))
        elif name not in _IGNORED:
            others.append(name or "a transform without a name")
    notes = tuple(f"{path.name} has {name}, which the bundle does not do" for name in others)
    return size, mean, std, notes


def _scaled(values: Triple | None, scale: float) -> Triple | None:
    return None if values is None else (values[0] * scale, values[1] * scale, values[2] * scale)
