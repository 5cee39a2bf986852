"""A bundle whose answers are known, and a way to call the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import tiny_bundle

from trocar.cli import main

SIZE = (64, 80)


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    return tiny_bundle


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
