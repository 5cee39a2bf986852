"""torchvision: segmentation and classification networks from their state dictionaries.

found = read(SourceRequest(origin="torchvision", path=Path("model_29.pth"),
                           architecture="deeplabv3_resnet50"))

A checkpoint of torchvision's training scripts states its architecture. Auxiliary heads are left
off.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from trocar.contract.errors import ArgumentError, ConfigError
from trocar.export.graph.imported.checkpoint import read_checkpoint, state_of
from trocar.export.sources.counted import load_counted
from trocar.export.sources.files import library, one_of
from trocar.export.sources.types import Found, SourceRequest

TAKES = ("weights", "architecture")

_HIDDEN_INPUT = ("googlenet", "inception_v3")
"""Networks whose weights may need an input change that no state dictionary states."""

_HINT = (
    "torchvision's own weights and training scripts use --mean 0.485,0.456,0.406 --std "
    "0.229,0.224,0.225"
)


def read(request: SourceRequest) -> Found:
    """Finds network and weights.

    Raises:
        TrocarError: See `trocar.export.sources.open.open_source`.
    """
    torchvision = library("torchvision", "'trocar[train]'")
    weights = request.weights or request.path
    if weights.is_dir():
        raise ConfigError(
            f"{weights} is a folder, expected a checkpoint",
            remedy="name the checkpoint itself, e.g. runs/model_29.pth",
        )
    content = read_checkpoint(weights)
    stated = request.architecture or _architecture(content)
    if not stated:
        raise ConfigError(
            f"{weights} does not state its architecture",
            remedy="pass torchvision's name of it, e.g. --architecture deeplabv3_resnet50",
        )
    models = torchvision.models
    segmentation = set(models.list_models(module=models.segmentation))
    known = segmentation | set(models.list_models(module=models))
    name = one_of(
        stated,
        known,
        what="segmentation or classification network of torchvision named",
        remedy="pass one of its names as --architecture; detection and video networks cannot be "
        "exported",
    )
    if name in _HIDDEN_INPUT:
        raise ArgumentError(
            f"{name} may change its input (transform_input), which its state dictionary does not "
            "say",
            remedy="write a function that makes it and pass --module PACKAGE:FUNCTION",
        )
    options: dict[str, Any] = {"weights": None}
    task: Literal["segmentation", "classification"] = "classification"
    if name in segmentation:
        task = "segmentation"
        options["weights_backbone"] = None
        if not name.startswith("lraspp"):
            options["aux_loss"] = False

    def build(classes: int) -> nn.Module:
        network: nn.Module = models.get_model(name, num_classes=classes, **options)
        return network

    def load(classes: int) -> nn.Module:
        state = state_of(content, weights)
        heads = ("aux_classifier",)
        return load_counted(build, state, path=weights, classes=classes, heads=heads)

    return Found(
        task=task,
        load=load,
        architecture=name,
        weights=weights,
        hints={"--mean": _HINT},
    )


def _architecture(content: object) -> str:
    """The name that torchvision's training scripts keep in ``args``."""
    if isinstance(content, Mapping) and isinstance(content.get("args"), Namespace):
        return str(vars(content["args"]).get("model") or "")
    return ""
