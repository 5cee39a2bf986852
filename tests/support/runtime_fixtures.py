"""Fixtures of the runtime's tests: the tiny bundle, and small videos made by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import tiny_bundle as tiny_bundle_module
import videos

from trocar.runtime.session import Session


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    return tiny_bundle_module


@pytest.fixture(scope="session")
def tiny_bundle(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that no test may change."""
    path: Path = tiny.make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.trocar")
    return path


@pytest.fixture
def session(tiny_bundle: Path) -> Iterator[Session]:
    """The tiny bundle, opened for one test."""
    with Session.open(tiny_bundle, threads=1, spinning=False) as opened:
        yield opened


@pytest.fixture(scope="session")
def kit() -> ModuleType:
    return videos


@pytest.fixture(scope="session")
def video(kit: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty frames of 120x160 at 25 frames/s; no test may change it."""
    path: Path = kit.write_video(tmp_path_factory.mktemp("video") / "clip.mp4", frames=30)
    return path


@pytest.fixture(scope="session")
def minute(kit: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of the same, for what is stopped on its way; no test may change it."""
    path: Path = kit.write_video(tmp_path_factory.mktemp("video") / "minute.mp4", frames=1500)
    return path
