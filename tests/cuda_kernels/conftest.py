"""Engines under test: the kernels compiled for this machine, once for the whole run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trocar.cuda_kernels.backends.emulation import HostLauncher
from trocar.cuda_kernels.backends.kernels import KernelEngine
from trocar.cuda_kernels.backends.launch_plan import Tuning


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled kernels are kept during the tests."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the kernels for the CPU")
    return tmp_path_factory.mktemp("libraries")


@pytest.fixture(scope="session")
def emulated(libraries: Path) -> Callable[..., KernelEngine]:
    """Make an engine that runs the kernels on the CPU, under a tuning."""

    def make(tuning: Tuning | None = None, **options) -> KernelEngine:
        return KernelEngine("emulated", HostLauncher(libraries, tuning or Tuning(), **options))

    return make
