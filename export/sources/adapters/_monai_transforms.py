"""The preprocessing of a MONAI config as parts of a graph.

prepared = read_preprocessing(config)
prepared.steps, prepared.size, prepared.is_transposed
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from trocar.contract.errors import ArgumentError
from trocar.export.sources.adapters._monai_config import MonaiConfig
from trocar.export.sources.files import sides, triple
from trocar.export.sources.normalisation import Affine, MinMax, Steps, ZScore

_NEUTRAL = (
    "EnsureChannelFirst",
    "AsChannelFirst",
    "EnsureType",
    "CastToType",
    "ToTensor",
    "ToDevice",
    "Identity",
    "SelectItems",
)


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What a config does to a picture before the network.

    Attributes:
        steps: The normalisation of ``[N,3,h,w]`` 0..255; ``None`` where it is not known.
        size: Height and width that pictures are resized to; ``None`` if not stated.
        is_transposed: Whether the network sees width before height.
        reason: Why the normalisation is not known.
        notes: What the bundle does otherwise.
    """

    steps: nn.Module | None
    size: tuple[int, int] | None
    is_transposed: bool
    reason: str = ""
    notes: tuple[str, ...] = ()


def read_preprocessing(config: MonaiConfig) -> Preprocessing:
    """Reads ``preprocessing`` of a config.

    Raises:
        ArgumentError: It changes the geometry of pictures, or calls a function.
    """
    outer = config.first("preprocessing", "transform")
    listed = outer.get("transforms") if isinstance(outer, Mapping) else outer
    if isinstance(listed, str) and listed.startswith("@"):
        listed = config.resolved(listed, place="preprocessing")
    if not isinstance(listed, list):
        reason = f"{config.path.name} has no preprocessing"
        return Preprocessing(steps=None, size=None, is_transposed=False, reason=reason)
    steps: list[nn.Module] = []
    size: tuple[int, int] | None = None
    is_transposed = False
    unknown: list[str] = []
    for step in listed:
        name = _name(step)
        if name in _NEUTRAL or (isinstance(step, Mapping) and step.get("_disabled_") is True):
            continue
        if name == "LoadImage":
            is_transposed = step.get("reverse_indexing", True) is not False
        elif name == "Resize" and step.get("size_mode", "all") == "all":
            size = sides(step.get("spatial_size"))
        elif (module := _step(name, step)) is not None:
            steps.append(module)
        elif re.search("Intensity|Normal|Histogram", name):
            unknown.append(name)
        else:
            raise ArgumentError(
                f"{config.path}: preprocessing has {name or 'a step without a name'}, which cannot "
                "be a part of the graph",
                remedy="write a module that does it and pass --module PACKAGE:FUNCTION",
            )
    if size is not None and is_transposed:
        size = size[::-1]
    return Preprocessing(
        steps=None if unknown else Steps(steps),
        size=size,
        is_transposed=is_transposed,
        reason=f"its preprocessing has {', '.join(unknown)}" if unknown else "",
        notes=tuple(
            f"MONAI applies {what}; the bundle applies --mean and --std" for what in unknown
        ),
    )


def _name(step: Any) -> str:
    """``ScaleIntensity`` for ``monai.transforms.ScaleIntensityd``."""
    target = str(step.get("_target_", "")) if isinstance(step, Mapping) else str(step)
    name = target.rpartition(".")[2]
    for ending in ("Dict", "d", "D"):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name


def _step(name: str, step: Mapping[str, Any]) -> nn.Module | None:
    if any(isinstance(value, str) and value[:1] in ("$", "%") for value in step.values()):
        return None
    channel_wise = step.get("channel_wise", False) is True
    if name == "ScaleIntensity" and step.get("factor") is None:
        low, high = step.get("minv", 0.0), step.get("maxv", 1.0)
        if low is None or high is None:
            return None
        return MinMax(channel_wise=channel_wise, low=low, high=high)
    if name == "ScaleIntensityRange":
        return _range(step)
    if name == "NormalizeIntensity":
        return _normalize(step, channel_wise)
    return None


def _range(step: Mapping[str, Any]) -> nn.Module | None:
    values = [step.get(key) for key in ("a_min", "a_max", "b_min", "b_max")]
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) != len(values) or numbers[0] == numbers[1]:
        return None
    a, b, low, high = numbers
    scale = (high - low) / (b - a)
    after = (low, high) if step.get("clip") else None
    return Affine(scale=scale, offset=low - a * scale, after=after)


def _normalize(step: Mapping[str, Any], channel_wise: bool) -> nn.Module | None:
    nonzero = step.get("nonzero", False) is True
    subtrahend, divisor = step.get("subtrahend"), step.get("divisor")
    if subtrahend is None and divisor is None:
        return ZScore(channel_wise=channel_wise, nonzero=nonzero)
    mean, std = triple(subtrahend), triple(divisor)
    if mean is None or std is None or nonzero or 0 in std:
        return None
    return Affine(
        scale=[1 / s for s in std], offset=[-m / s for m, s in zip(mean, std, strict=True)]
    )
