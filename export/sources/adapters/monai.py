"""MONAI: a bundle folder (configs/ and models/), or a config file with `network_def`.

found = read(SourceRequest(origin="monai", path=Path("endoscopic_tool_segmentation")))

References (``@name``) are followed; expressions (``$…``) are never evaluated. MONAI's readers give
pictures with width before height, so the network sees them that way in the graph too.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import nn

from trocar.contract.errors import ArgumentError, CheckpointError, DataError
from trocar.export.graph.imported.checkpoint import load_state, read_state
from trocar.export.sources.adapters._monai_config import MonaiConfig, read_config
from trocar.export.sources.adapters._monai_transforms import Preprocessing, read_preprocessing
from trocar.export.sources.files import library, read_object, sides
from trocar.export.sources.normalisation import Transposed
from trocar.export.sources.types import Found, SourceRequest

TAKES = ("weights",)

_CONFIGS = ("inference", "evaluate", "train")
_SUFFIXES = (".json", ".yaml", ".yml")
_NETS = "monai.networks.nets"


def read(request: SourceRequest) -> Found:
    """Finds network, weights, size, normalisation and class names.

    Raises:
        TrocarError: See `trocar.export.sources.open.open_source`.
    """
    config = read_config(_config_file(request.path))
    metadata: dict[str, Any] = {}
    if request.path.is_dir() and (request.path / "configs" / "metadata.json").is_file():
        metadata = read_object(request.path / "configs" / "metadata.json")
    weights = request.weights or _weights(request.path)
    name, arguments = _network_of(config)
    _check_output(config)
    prepared = read_preprocessing(config)
    inputs, outputs = _formats(metadata)
    nets = library(_NETS, "monai")
    kind = getattr(nets, name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ArgumentError(
            f"{config.path} names the network {name!r}, which {_NETS} does not have",
            remedy="write a function that makes the network and pass --module PACKAGE:FUNCTION",
        )

    def load(classes: int) -> nn.Module:
        try:
            network: nn.Module = kind(**_without_download(kind, arguments))
        except (TypeError, ValueError, AssertionError, RuntimeError, KeyError) as error:
            raise ArgumentError(
                f"{name} cannot be made from {config.path}: {error}",
                remedy=f"install the version of MONAI that wrote it: pip install monai=="
                f"{metadata.get('monai_version', 'VERSION')}",
            ) from error
        load_state(network, read_state(weights), weights)
        return Transposed(network).eval() if prepared.is_transposed else network.eval()

    return Found(
        task=_task(outputs, config),
        load=load,
        architecture=f"MONAI {name}",
        weights=weights,
        size=prepared.size or _size(inputs, prepared),
        prepare=prepared.steps,
        names=_names(outputs),
        hints={"--mean": prepared.reason},
        notes=_notes(config, prepared),
        provenance={"bundle": str(metadata.get("name", "")), "version": metadata.get("version")},
    )


def _config_file(path: Path) -> Path:
    if path.is_file():
        return path
    tried = [path / "configs" / f"{name}{suffix}" for name in _CONFIGS for suffix in _SUFFIXES]
    for file in tried:
        if file.is_file():
            return file
    raise DataError(
        f"{path} has no configs/inference.json",
        remedy="name a MONAI bundle, or a JSON file with network_def",
    )


def _weights(path: Path) -> Path:
    folder = path / "models" if path.is_dir() else path.parent
    if (folder / "model.pt").is_file():
        return folder / "model.pt"
    if (folder / "model.ts").is_file():
        raise CheckpointError(
            f"{folder}/model.ts is a TorchScript file; the network is made from network_def and "
            "needs a state dictionary",
            remedy="download models/model.pt of the bundle, or name another file with --weights",
        )
    raise DataError(f"{folder} has no model.pt", remedy="name the weights with --weights FILE")


def _network_of(config: MonaiConfig) -> tuple[str, dict[str, Any]]:
    """Class name and arguments of the network, without evaluating anything."""
    described = config.first("network_def", "network", "net")
    if not isinstance(described, Mapping) or "_target_" not in described:
        raise DataError(
            f"{config.path} has no network_def with a _target_",
            remedy="name a config of a bundle, e.g. configs/inference.json",
        )
    resolved = config.resolved(described, place="network_def")
    target = str(resolved.pop("_target_"))
    package, _, name = target.rpartition(".")
    if package and not package.startswith(_NETS):
        raise ArgumentError(
            f"{config.path} names the network {target!r}, which is code of its own",
            remedy="write a function that makes the network and pass --module PACKAGE:FUNCTION",
        )
    arguments = {k: v for k, v in resolved.items() if not k.startswith("_")}
    if arguments.get("spatial_dims", 2) != 2:
        raise ArgumentError(
            f"{config.path}: {name} has spatial_dims = {arguments['spatial_dims']}: it takes "
            "volumes, not frames",
            remedy="export a network with spatial_dims = 2",
        )
    if arguments.get("in_channels", 3) != 3:
        raise ArgumentError(
            f"{config.path}: {name} takes {arguments['in_channels']} channels, expected 3",
            remedy="export a network that takes red, green and blue",
        )
    return name, arguments


def _without_download(kind: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, with weights from elsewhere switched off."""
    if "pretrained" in inspect.signature(kind).parameters:
        return {**arguments, "pretrained": False}
    return dict(arguments)


def _check_output(config: MonaiConfig) -> None:
    """Refuses channels that overlap: a sigmoid or a threshold for each of several."""
    outer = config.first("postprocessing")
    listed = outer.get("transforms", []) if isinstance(outer, Mapping) else []
    network = config.first("network_def", "network", "net")
    count = network.get("out_channels") if isinstance(network, Mapping) else None
    for step in listed:
        if not isinstance(step, Mapping) or count == 1:
            continue
        if step.get("sigmoid") is True or (step.get("threshold") and not step.get("argmax")):
            raise ArgumentError(
                f"{config.path} decides each channel by itself ({step.get('_target_')}), so "
                "classes may overlap; a label map has one class at a pixel",
                remedy="export a network with one class at a pixel (argmax)",
            )


def _formats(metadata: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The descriptions of input ``image`` and output ``pred``."""
    data = metadata.get("network_data_format")
    found = []
    for side, name in (("inputs", "image"), ("outputs", "pred")):
        entries = data.get(side) if isinstance(data, Mapping) else None
        entry = entries.get(name) if isinstance(entries, Mapping) else None
        found.append(entry if isinstance(entry, Mapping) else {})
    return found[0], found[1]


def _task(
    outputs: Mapping[str, Any], config: MonaiConfig
) -> Literal["segmentation", "classification"]:
    network = config.first("network_def", "network", "net")
    form = str(outputs.get("format", ""))
    if form in ("classes", "classification") or (not form and "num_classes" in network):
        return "classification"
    return "segmentation"


def _names(outputs: Mapping[str, Any]) -> tuple[str, ...] | None:
    channels = outputs.get("channel_def")
    if not isinstance(channels, Mapping):
        return None
    names = {str(key): str(value) for key, value in channels.items()}
    if len(names) < 2 or set(names) != {str(i) for i in range(len(names))}:
        return None
    return tuple(names[str(i)] for i in range(len(names)))


def _size(inputs: Mapping[str, Any], prepared: Preprocessing) -> tuple[int, int] | None:
    """Height and width of the metadata's ``spatial_shape``, if it is no patch."""
    if inputs.get("is_patch_data"):
        return None
    shape = sides(inputs.get("spatial_shape"))
    return shape[::-1] if shape and prepared.is_transposed else shape


def _notes(config: MonaiConfig, prepared: Preprocessing) -> tuple[str, ...]:
    inferer = config.first("inferer")
    target = str(inferer.get("_target_", "")) if isinstance(inferer, Mapping) else ""
    if "SlidingWindow" in target:
        return (*prepared.notes, "MONAI averages overlapping windows; the bundle runs the network "
                "once on the whole frame")  # fmt: skip
    return prepared.notes
