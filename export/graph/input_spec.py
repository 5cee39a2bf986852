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
from typing import Any, Literal

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

FORM_NAMES = (
    "queries",
    "prototypes",
    "coefficients",
    "detections",
    "crops",
    "torchvision",
)
"""Forms of instance models; `trocar.export.graph.instances.recognise.FORMS` has them."""

MAX_INSTANCES = 255
"""Numbers of instances that fit into a uint8 map beside 0."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The fields of ``spec.toml``.

    Attributes:
        height: Height of the network's input in pixels, 1..8192.
        width: Width of the network's input in pixels, 1..8192.
        task: ``segmentation``, ``classification`` or ``instances``.
        name: Name of the model for people.
        mean: Mean of each channel in units of 0..1, in the order red, green, blue.
        std: Standard deviation of each channel in units of 0..1, in the same order.
        channels: Order in which the network takes the channels.
        normalise: Whether the graph must subtract mean and divide by std; ``false`` for networks
            that take 0..255 and normalise inside.
        output: Name of the output with the logits, where there are several outputs.
        embedding: Name of the output with a classifier's embedding; empty for none.
        classes: Path of the class table, relative to this file.
        form: Form of an instance model's outputs; empty to recognise it.
        score: Smallest score of an instance, 0..1.
        overlap: IoU above which the worse one of two boxes of a class is suppressed, 0..1, where
            the form needs suppression.
        max_instances: Largest number of instances of a frame, 1..255; more are counted.
        activation: ``softmax`` or ``sigmoid`` of an instance model's class logits; empty to
            recognise it.
        resize: How an instance model's frame is brought to its size: ``stretch``, ``letterbox``
            (same scale of both sides, padded around it) or ``letterbox-corner`` (padded at the
            right and bottom).
        padding: Grey value of that padding, 0..255.
        mask_stride: Pixels of the input to one pixel of an instance model's masks or prototypes;
            another stride is refused. 0 to take any.
        unused: ``first`` or ``last``: the one of the sigmoids of an instance model's queries that
            no class has, where there is one more than classes.
    """

    height: int
    width: int
    task: Literal["segmentation", "classification", "instances"] = "segmentation"
    name: str = ""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channels: Literal["rgb", "bgr"] = "rgb"
    normalise: bool = True
    output: str = ""
    embedding: str = ""
    classes: str = ""
    form: str = ""
    score: float = 0.5
    overlap: float = 0.7
    max_instances: int = 16
    activation: Literal["", "softmax", "sigmoid"] = ""
    resize: Literal["stretch", "letterbox", "letterbox-corner"] = "stretch"
    padding: float = 114.0
    mask_stride: int = 0
    unused: Literal["", "first", "last"] = ""

    def __post_init__(self) -> None:
        faults = [
            f"{key} is {getattr(self, key)}, expected 1..{MAX_NETWORK_SIDE}"
            for key in ("height", "width")
            if not 1 <= getattr(self, key) <= MAX_NETWORK_SIDE
        ]
        faults += [
            f"{key} is {getattr(self, key)}, expected 0..{most}"
            for key, most in (("score", 1), ("overlap", 1), ("padding", 255))
            if not 0 <= getattr(self, key) <= most
        ]
        if not 1 <= self.max_instances <= MAX_INSTANCES:
            faults.append(f"max_instances is {self.max_instances}, expected 1..{MAX_INSTANCES}")
        if self.mask_stride not in (0, 1, 2, 4, 8, 16, 32):
            faults.append(f"mask_stride is {self.mask_stride}, expected 0, 1, 2, 4, 8, 16 or 32")
        if self.task != "instances" and self.resize != "stretch":
            faults.append(f"resize = {self.resize!r} is for instance models only")
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


_SETTINGS = (
    "form",
    "score",
    "overlap",
    "max_instances",
    "activation",
    "resize",
    "padding",
    "mask_stride",
    "unused",
)


def instance_settings(spec: ModelSpec) -> dict[str, Any]:
    """What the manifest of an instance model states of it, as a part of ``extra``."""
    return {"instances": {name: getattr(spec, name) for name in _SETTINGS}}


def spec_of_instances(manifest: Manifest) -> ModelSpec:
    """The input spec of a network that normalises inside, from its manifest."""
    stated = manifest.extra.get("instances", {})
    known = {name: stated[name] for name in _SETTINGS if name in stated}
    size = manifest.input
    return ModelSpec(
        height=size.height, width=size.width, task="instances", normalise=False, **known
    )


def read_spec(path: Path, *, classes: Path | None, name: str = "", form: str = "") -> ExternalModel:
    """Reads ``spec.toml`` and its class table.

    Args:
        path: The spec.
        classes: A class table to use instead of the one that the spec names.
        name: Name of the model where the spec states none.
        form: Form of an instance model instead of the one that the spec names.

    Raises:
        ConfigError: All faults of the spec, or no class table.
        DataError: A file cannot be read.
    """
    values = read_toml(path)
    rows = values.pop("classes") if isinstance(values.get("classes"), list) else None
    if form:
        values["form"] = form
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
        extra=instance_settings(spec) if spec.task == "instances" else {},
    )
    return ExternalModel(spec, manifest)
