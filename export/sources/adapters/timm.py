"""timm: a classifier from a folder with config.json, or a checkpoint of its training script.

found = read(SourceRequest(origin="timm", path=Path("model_best.pth.tar")))

A checkpoint of timm's ``train.py`` states architecture and arguments; for a bare state dictionary
pass ``--architecture``.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from torch import nn

from trocar.contract.errors import ArgumentError, ConfigError
from trocar.export.graph.imported.checkpoint import read_checkpoint, state_of
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
from trocar.export.sources.types import Found, SourceRequest

TAKES = ("weights", "architecture")

_FETCHING = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path")


def read(request: SourceRequest) -> Found:
    """Finds network, weights, size, normalisation and class names.

    Raises:
        TrocarError: See `trocar.export.sources.open.open_source`.
    """
    timm = library("timm", "'trocar[train]'")
    if request.path.is_dir():
        config = read_object(request.path / "config.json")
        weights = weights_in(request.path, request.weights)
        content = read_checkpoint(weights)
    else:
        weights = request.weights or request.path
        content = read_checkpoint(weights)
        config = _config_of(content, timm)
    data = config.get("pretrained_cfg") or config
    stated = request.architecture or str(config.get("architecture") or "")
    if not stated:
        raise ConfigError(
            f"{request.path} does not state its architecture",
            remedy="pass timm's name of it, e.g. --architecture resnet18",
        )
    # A name may end in a dot and the name of pretrained weights.
    name = one_of(
        stated.partition(".")[0],
        timm.list_models(),
        what="network of timm named",
        remedy="pass a name of timm.list_models() as --architecture",
    )
    arguments = dict(config.get("model_args") or {})
    refuse_keys(arguments, _FETCHING, path=request.path)
    shape = data.get("input_size")
    if isinstance(shape, (list, tuple)) and len(shape) == 3 and shape[0] != 3:
        raise ArgumentError(
            f"{request.path} takes {shape[0]} channels, expected 3",
            remedy="export a network that takes red, green and blue",
        )

    def build(classes: int) -> nn.Module:
        try:
            network: nn.Module = timm.create_model(
                name, **{**arguments, "pretrained": False, "num_classes": classes}
            )
        except (TypeError, ValueError, RuntimeError) as error:
            raise ArgumentError(
                f"{name} cannot be made with {arguments}: {error}",
                remedy="install the version of timm that wrote the folder",
            ) from error
        return network

    def load(classes: int) -> nn.Module:
        return load_counted(build, state_of(content, weights), path=weights, classes=classes)

    return Found(
        task="classification",
        load=load,
        architecture=name,
        weights=weights,
        size=sides(list(shape)[1:]) if isinstance(shape, (list, tuple)) else None,
        mean=triple(data.get("mean")),
        std=triple(data.get("std")),
        names=_names(config.get("label_names") or data.get("label_names")),
        hints={"--mean": _hint(timm, name)},
        notes=_notes(data),
    )


def _config_of(content: object, timm: Any) -> dict[str, Any]:
    """What a checkpoint of timm's training script states, resolved as timm does."""
    if not isinstance(content, Mapping) or not isinstance(content.get("args"), Namespace):
        return {}
    arguments = vars(content["args"])
    name = str(arguments.get("model") or content.get("arch") or "")
    if not timm.is_model(name.partition(".")[0]):
        return {"architecture": name}
    usual = timm.get_pretrained_cfg(name).to_dict()
    resolved = timm.data.resolve_data_config(arguments, pretrained_cfg=usual)
    extra = arguments.get("model_kwargs") or {}
    if arguments.get("gp"):
        extra = {**extra, "global_pool": arguments["gp"]}
    return {"architecture": name, "model_args": extra, "pretrained_cfg": dict(resolved)}


def _names(labels: object) -> tuple[str, ...] | None:
    if isinstance(labels, list) and labels and all(isinstance(v, str) for v in labels):
        return tuple(labels)
    return None


def _hint(timm: Any, name: str) -> str:
    usual = timm.get_pretrained_cfg(name)
    if usual is None or not usual.mean or not usual.std:
        return ""
    mean, std = (",".join(f"{v:g}" for v in values) for values in (usual.mean, usual.std))
    size = f" --size {usual.input_size[2]}x{usual.input_size[1]}"
    return f"timm's own weights of {name} were trained with --mean {mean} --std {std}{size}"


def _notes(data: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    crop = data.get("crop_pct")
    if isinstance(crop, (int, float)) and crop < 1:
        notes.append(
            f"timm crops the central {crop:.0%} of a square first; the bundle takes the whole frame"
        )
    if data.get("interpolation") not in (None, "bilinear"):
        notes.append(f"timm resizes {data['interpolation']}; the bundle resizes bilinear")
    return tuple(notes)
