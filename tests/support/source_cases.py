"""Networks of other libraries with random weights, and their logits computed without Trocar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from export_helpers import scene
from numpy.typing import NDArray
from torch import Tensor, nn

from trocar.contract.classes import ClassTable
from trocar.export.graph.frame_graph import FrameGraph
from trocar.export.sources.open import OpenedSource, open_source
from trocar.export.sources.types import SourceRequest

NAMES = ("background", "grasper", "scissors")
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def table(folder: Path, *names: str) -> Path:
    path = folder / "classes.toml"
    ClassTable.from_names(names or NAMES).write(path)
    return path


def opened(origin: str, path: Path, **values: Any) -> OpenedSource:
    return open_source(SourceRequest(origin=origin, path=path, **values))


def resized(height: int, width: int, seed: int = 3) -> NDArray[np.float32]:
    """A frame, resized by OpenCV: ``[height, width, 3]`` float32 0..255."""
    return cv2.resize(scene(seed, 90, 120).astype(np.float32), (width, height))


def normalised(image: NDArray[np.float32], mean: Any = MEAN, std: Any = STD) -> Tensor:
    """``[1,3,h,w]``: the usual normalisation, by NumPy."""
    value = (image / 255 - np.float32(mean)) / np.float32(std)
    return torch.from_numpy(np.ascontiguousarray(value.transpose(2, 0, 1)[None]))


def graph_scores(source: OpenedSource, seed: int = 3) -> NDArray[np.float32]:
    """Logits ``[K,h,w]`` or scores ``[K]`` of the frame-in graph for a frame of another size."""
    manifest = source.external.manifest
    graph = FrameGraph(source.network, manifest, with_logits=True).eval()
    with torch.no_grad():
        outputs = graph(torch.from_numpy(scene(seed, 90, 120))[None])
    return outputs[-1][0].numpy()


def own_scores(
    network: nn.Module, image: Tensor, pick: Callable[[Any], Tensor] = lambda y: y
) -> NDArray[np.float32]:
    """What the library's own network returns for a prepared image, resized to its size."""
    with torch.no_grad():
        value = pick(network.eval()(image))
        if value.ndim == 4:
            value = nn.functional.interpolate(value, size=image.shape[2:], mode="bilinear")
    return value[0].numpy()


def shaken(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights that answer differently from pixel to pixel, statistics included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0, generator=generator)
            elif name.endswith("running_mean"):
                value.normal_(0, 0.2, generator=generator)
            elif value.ndim == 1 and value.dtype == torch.float32:
                value.add_(torch.randn(value.shape, generator=generator) * 0.1)
    return network.eval()
