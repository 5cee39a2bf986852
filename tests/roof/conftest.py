"""A bundle whose answers are known, and a way to call the command line."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from trocar.cli import main

SUPPORT = Path(__file__).resolve().parents[1] / "support" / "tiny_bundle.py"
SIZE = (64, 80)


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_bundle", SUPPORT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def bundle(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "tiny.trocar"
    tiny.make_tiny_bundle(path, height=SIZE[0], width=SIZE[1])
    return path


@pytest.fixture(scope="session")
def run() -> Callable[..., int]:
    """Calls ``trocar`` in this process; gives the exit code."""

    def call(*args: object) -> int:
        try:
            main([str(arg) for arg in args])
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return call
