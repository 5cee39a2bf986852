"""The input spec of an external model: what the model takes and returns, in a TOML file.

external = read_spec(Path("spec.toml"), classes=None)
external.manifest.input.height, external.spec.channels

task = "segmentation"
height = 512
width = 640
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
classes = "classes.toml"
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trocar.contract.classes import ClassTable
from trocar.contract.config import from_mapping
from trocar.contract.errors import ConfigError
from trocar.contract.manifest import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    MAX_NETWORK_SIDE,
    InputSpec,
    Manifest,
)
from trocar.contract.text.toml import read_toml


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The fields of ``spec.toml``.

    Attributes:
        height: Height of the network's input in pixels, 1..8192.
        width: Width of the network's input in pixels, 1..8192.
        task: ``segmentation`` or ``classification``.
        name: Name of the model for people.
        mean: Mean of each channel in units of 0..1, in the order red, green, blue.
        std: Standard deviation of each channel in units of 0..1, in the same order.
        channels: Order in which the network takes the channels.
        normalise: Whether the graph must subtract mean and divide by std; ``false`` for networks
            that take 0..255 and normalise inside.
        output: Name of the output with the logits, where there are several outputs.
        embedding: Name of the output with a classifier's embedding; empty for none.
        classes: Path of the class table, relative to this file.
    """

    height: int
    width: int
    task: Literal["segmentation", "classification"] = "segmentation"
    name: str = ""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channels: Literal["rgb", "bgr"] = "rgb"
    normalise: bool = True
    output: str = ""
    embedding: str = ""
    classes: str = ""

    def __post_init__(self) -> None:
        faults = [
            f"{key} is {getattr(self, key)}, expected 1..{MAX_NETWORK_SIDE}"
            for key in ("height", "width")
            if not 1 <= getattr(self, key) <= MAX_NETWORK_SIDE
        ]
        if any(value <= 0 for value in self.std):
            faults.append(f"std is {list(self.std)}, expected values above 0")
        if any(abs(value) > 1.5 for value in (*self.mean, *self.std)):
            faults.append(
                f"mean {list(self.mean)} and std {list(self.std)} are not in units of 0..1: divide "
                "them by 255"
            )
        if faults:
            raise ConfigError("; ".join(faults), remedy="correct the named values")


@dataclass(frozen=True)
class ExternalModel:
    """An input spec with the manifest that follows from it."""

    spec: ModelSpec
    manifest: Manifest


def read_spec(path: Path, *, classes: Path | None, name: str = "") -> ExternalModel:
    """Reads ``spec.toml`` and its class table.

    Args:
        path: The spec.
        classes: A class table to use instead of the one that the spec names.
        name: Name of the model where the spec states none.

    Raises:
        ConfigError: All faults of the spec, or no class table.
        DataError: A file cannot be read.
    """
    values = read_toml(path)
    rows = values.pop("classes") if isinstance(values.get("classes"), list) else None
    spec = from_mapping(ModelSpec, values, source=str(path))
    if classes is not None:
        table = ClassTable.read(classes)
    elif rows is not None:
        table = ClassTable.from_dicts(rows)
    elif spec.classes:
        table = ClassTable.read(path.parent / spec.classes)
    else:
        raise ConfigError(
            f"{path} names no class table and --classes was not given",
            remedy='write classes = "classes.toml" into it, or pass --classes FILE',
        )
    manifest = Manifest(
        name=spec.name or name or path.stem,
        task=spec.task,
        method="foreign",
        classes=table,
        input=InputSpec(height=spec.height, width=spec.width, mean=spec.mean, std=spec.std),
        source={"channels": spec.channels, "normalised_in_graph": spec.normalise},
    )
    return ExternalModel(spec, manifest)
