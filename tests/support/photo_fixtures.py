"""Fixtures of the classification tests: photographs, methods, runs and small bundles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import photo_sets
import pytest
import tiny_bundle
import torch
from shared_files import made_once

from trocar.contract.config import from_mapping
from trocar.contract.manifest import InputSpec
from trocar.export.bundle import export_bundle
from trocar.runtime.backends import open_backend
from trocar.train.data.classification.open import open_photo_sets
from trocar.train.data.config import DataConfig, DatasetPaths
from trocar.train.methods import find_method
from trocar.train.methods.protocol import ModelSpec, Progress, TrainData
from trocar.train.state.settings import RunConfig

__all__ = [
    "few_bundle",
    "make_classifier",
    "make_photo_run",
    "open_photos",
    "photo_folder",
    "photo_kit",
    "plain_bundle",
    "seg_bundle",
    "tail_bundle",
    "toy_folder",
]

SMALL: dict[str, dict[str, Any]] = {
    "classifier": {"size": (32, 32), "backbone": "test_resnet", "embedding_size": 16},
    "head-triplet": {
        "size": (32, 32), "backbone": "test_resnet", "embedding_size": 16, "p": 3, "k": 2,
        "head_rule": "number", "head_number": 2, "many": 6, "few": 3, "margin": 1.0,
    },
    "few-shot": {
        "size": (48, 48), "channels": (8, 12, 16, 24), "ways": 3, "shots": 3, "queries": 2,
        "held_out": 0.0, "episodes": 8, "supports": 4, "augment": "none",
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def photo_kit() -> ModuleType:
    """The module that draws photographs."""
    return photo_sets


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes, 8, 7, 6 and 5 photographs to train on and 5 of each to validate."""
    root = tmp_path_factory.mktemp("photos")
    kinds = ("grasper", "scissors", "needle holder", "hook")
    photo_sets.write_folders(root, dict(zip(kinds, (8, 7, 6, 5), strict=True)))
    photo_sets.write_folders(root, dict.fromkeys(kinds, 5), split="val", first=50)
    return root


@pytest.fixture
def make_classifier() -> Callable[..., Any]:
    def make(name: str, **changes: Any) -> Any:
        kind = find_method(name)
        return kind(from_mapping(kind.Config, {**SMALL[name], **changes}, source="test"))

    return make


@pytest.fixture
def make_photo_run() -> Callable[..., RunConfig]:
    def make(**changes: Any) -> RunConfig:
        plain = {
            "steps": 6, "batch_size": 4, "lr": 3e-3, "warmup": 2, "workers": 0, "device": "cpu",
            "evaluate_every": 3, "log_every": 2,
        }  # fmt: skip
        return RunConfig(**{**plain, **changes})

    return make


@pytest.fixture
def open_photos(toy_folder: Path) -> Callable[..., TrainData]:
    def opened(method: Any, run: RunConfig, folder: Path | None = None) -> TrainData:
        return open_photo_sets(DatasetPaths(data=folder or toy_folder), DataConfig(), run, method)

    return opened


BASE = ("grasper", "scissors", "needle holder", "hook")
"""Tools that the bundles know; two more are kept for enrolment."""


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photographs of each of four tools to train on, five to validate."""
    root = tmp_path_factory.mktemp("tools")
    photo_sets.write_folders(root, dict.fromkeys(BASE, 8))
    photo_sets.write_folders(root, dict.fromkeys(BASE, 5), split="val", first=50)
    return root


def see_colours(network: torch.nn.Module) -> None:
    """Sets the four modules to pass differences of colours on: features that need no training.

    What a few seconds of training learn tells strangers apart by luck; tests must not rest on it.
    """
    opponents = torch.tensor(
        [[1, -1, 0], [-1, 1, 0], [0, 1, -1], [0, -1, 1], [1, 0, -1], [-1, 0, 1]]
    ).float()
    with torch.no_grad():
        for number, conv in enumerate(
            module for module in network.modules() if isinstance(module, torch.nn.Conv2d)
        ):
            mixing = torch.eye(6) if number else opponents
            conv.weight.zero_()
            conv.weight[:6, : mixing.shape[1]] = mixing[:, :, None, None] / 9
            if conv.bias is not None:
                conv.bias.zero_()
                conv.bias[:6] = 0.0 if number else -1.2
        norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for number, norm in enumerate(norms):
            norm.bias[:6] = 0.0 if number else -1.2


def _bundle(name: str, folder: Path, out: Path, *, steps: int = 0, **changes: Any) -> None:
    """Makes or briefly trains a model and exports it through the gate, as `trocar export` would."""
    kind = find_method(name)
    method: Any = kind(from_mapping(kind.Config, {**SMALL[name], **changes}, source="test"))
    run = RunConfig(steps=max(steps, 1), batch_size=12, workers=0, device="cpu", seed=1)
    data = open_photo_sets(DatasetPaths(data=folder), DataConfig(), run, method)
    streams = method.streams(data)
    torch.manual_seed(0)
    height, width = method.config.size
    network = method.build(
        ModelSpec(
            name=name, classes=data.labelled.table, input=InputSpec(height=height, width=width)
        )
    )
    if not steps:
        see_colours(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
    network.train()
    for step in range(steps):
        batch = {key: stream.batch(step) for key, stream in streams.items()}
        total = sum(method.losses(batch, Progress(step, steps)).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        method.evaluate(data)
    module, manifest = method.deployable()
    frames = [data.validation.read(item) for item in data.validation.items[::3]]
    export_bundle(
        module,
        manifest,
        out,
        frames=frames,
        open_model=lambda path: open_backend("onnxruntime", path, threads=1).infer,
    )


@pytest.fixture(scope="session")
def few_bundle(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few-shot classifier that sees colours."""
    changes = {"batch_norm": False, "shots": 2, "queries": 2}
    return made_once(
        tmp_path_factory,
        "few.trocar",
        lambda out: _bundle("few-shot", photo_folder, out, **changes),
    )


@pytest.fixture(scope="session")
def tail_bundle(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A centroid classifier that sees colours; the linear head's logits are fused in."""
    changes = {"ties": "in", "backbone": "modules", "embedding_size": 0, "fusion": 0.01}
    return made_once(
        tmp_path_factory,
        "tail.trocar",
        lambda out: _bundle("head-triplet", photo_folder, out, **changes),
    )


@pytest.fixture(scope="session")
def plain_bundle(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with a linear head, whose classes are fixed."""
    return made_once(
        tmp_path_factory,
        "plain.trocar",
        lambda out: _bundle("classifier", photo_folder, out, steps=40, augment="upright"),
    )


@pytest.fixture(scope="session")
def seg_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny colour segmenter of the shared test support, six classes."""
    made: Path = tiny_bundle.make_tiny_bundle(
        tmp_path_factory.mktemp("seg") / "seg.trocar", height=144, width=176, classes=6
    )
    return made
