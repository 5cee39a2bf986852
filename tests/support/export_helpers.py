"""Small networks that predict several classes, frames, and an ONNX Runtime runner of our own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trocar.contract.classes import ClassTable
from trocar.contract.manifest import InputSpec, Manifest
from trocar.export.graph.frame_graph import Normalised

Runner = Callable[[NDArray[np.uint8]], dict[str, NDArray]]

SIZE = (64, 96)
TABLE = ClassTable.from_names(["background", "grasper", "scissors"])


def run_onnx(path: Path) -> Runner:
    """Runs an ONNX file with ONNX Runtime on one thread and returns every output by name."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def infer(frames: NDArray[np.uint8]) -> dict[str, NDArray]:
        return dict(zip(names, session.run(None, {"frame": frames}), strict=True))

    return infer


def scene(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A frame of reddish tissue with a bluish and a greenish bar: ``[height, width, 3]``."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / float(min(height, width))
    image = np.stack([170 + 30 * np.sin(5 * x + seed), 90 + 20 * np.cos(6 * y), 80 + 0 * x], -1)
    for colour, at in (((90, 100, 230), 0.4), ((70, 220, 90), 0.9)):
        offset = at + 0.1 * np.sin(seed)
        image[np.abs(y - 0.6 * x + offset - 0.3) < 0.11] = colour
    image += rng.normal(0, 6, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def truth(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """The mask of `scene`: ``[height, width]``."""
    y, x = np.mgrid[0:height, 0:width] / float(min(height, width))
    mask = np.zeros((height, width), np.uint8)
    for label, at in ((1, 0.4), (2, 0.9)):
        mask[np.abs(y - 0.6 * x + at + 0.1 * np.sin(seed) - 0.3) < 0.11] = label
    return mask


def frames_of(count: int, height: int = 120, width: int = 160) -> list[NDArray[np.uint8]]:
    return [scene(seed, height, width) for seed in range(count)]


def manifest_of(
    size: tuple[int, int] = SIZE, *, task: str = "segmentation", table: ClassTable = TABLE
) -> Manifest:
    return Manifest(
        name="small",
        task=task,
        method="supervised",
        classes=table,
        input=InputSpec(height=size[0], width=size[1]),
    )


def trained(
    network: nn.Module, manifest: Manifest, *, steps: int = 40, rate: float = 3e-3
) -> nn.Module:
    """A few steps on four scenes: enough for large regions of every class."""
    size = (manifest.input.height, manifest.input.width)
    images = torch.stack([torch.from_numpy(scene(s, *size)) for s in range(4)])
    images = images.permute(0, 3, 1, 2).float()
    masks = torch.stack([torch.from_numpy(truth(s, *size)).long() for s in range(4)])
    whole = Normalised(network, manifest.input).train()
    optimiser = torch.optim.Adam(whole.parameters(), rate)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(whole(images), masks)
        loss.backward()
        optimiser.step()
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        whole(images)
    return whole.eval()


class SmallNet(nn.Module):
    """Three convolutions, one of them strided, and a bilinear enlargement."""

    def __init__(self, classes: int = 3, width: int = 12) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(image)))
        x = torch.relu(self.second(x)) + x
        x = self.head(x)
        return nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class Classifier(nn.Module):
    """Scores by cosine to class centres, and the embedding."""

    def __init__(self, classes: int = 3, depth: int = 8) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, depth, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(depth, depth, 3)
        )
        self.centres = nn.Parameter(torch.eye(classes, depth))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.features(image).mean((2, 3))
        embedding = nn.functional.normalize(x, dim=1)
        return embedding @ nn.functional.normalize(self.centres, dim=1).T, embedding


def small_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return trained(SmallNet(), manifest_of(), steps=60, rate=1e-2)
