"""Sets, methods and runs for the classification tests; the kit is loaded by its path."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trocar.contract.config import from_mapping
from trocar.train.data.classification.opening import open_training
from trocar.train.methods import find_method
from trocar.train.methods.protocol import TrainData
from trocar.train.opening import DataConfig, Paths
from trocar.train.settings import RunConfig

SMALL: dict[str, dict[str, Any]] = {
    "classifier": {"size": (32, 32), "backbone": "test_resnet", "embedding": 16},
    "head-triplet": {
        "size": (32, 32), "backbone": "test_resnet", "embedding": 16, "p": 3, "k": 2,
        "head_rule": "number", "head_number": 2, "many": 6, "few": 3,
    },
    "few-shot": {
        "size": (48, 48), "channels": (8, 12, 16, 24), "ways": 3, "shots": 3, "queries": 2,
        "held_out": 0.0, "episodes": 8, "supports": 4, "augment": "none",
    },
}  # fmt: skip


def load_kit() -> ModuleType:
    name = "class_kit"
    if name not in sys.modules:
        path = Path(__file__).with_name("class_kit.py")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def kit() -> ModuleType:
    return load_kit()


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes, 8, 7, 6 and 5 photographs to train on and 5 of each to validate."""
    kit = load_kit()
    root = tmp_path_factory.mktemp("photos")
    kinds = list(kit.KINDS)[:4]
    kit.write_folders(root, dict(zip(kinds, (8, 7, 6, 5), strict=True)))
    kit.write_folders(root, dict.fromkeys(kinds, 5), split="val", first=50)
    return root


@pytest.fixture
def make_method() -> Callable[..., Any]:
    def make(name: str, **changes: Any) -> Any:
        kind = find_method(name)
        return kind(from_mapping(kind.Config, {**SMALL[name], **changes}, source="test"))

    return make


@pytest.fixture
def make_run() -> Callable[..., RunConfig]:
    def make(**changes: Any) -> RunConfig:
        plain = {
            "steps": 6, "batch_size": 4, "lr": 3e-3, "warmup": 2, "workers": 0, "device": "cpu",
            "evaluate_every": 3, "log_every": 2,
        }  # fmt: skip
        return RunConfig(**{**plain, **changes})

    return make


@pytest.fixture
def open_toy(toy_folder: Path) -> Callable[..., TrainData]:
    def opened(method: Any, run: RunConfig, folder: Path | None = None) -> TrainData:
        return open_training(Paths(data=folder or toy_folder), DataConfig(), run, method)

    return opened
