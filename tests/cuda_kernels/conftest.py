"""Fixtures: the kernels compiled for this machine, once per test run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from shared_files import shared_folder

from trocar.cuda_kernels.backends.emulation import HostLauncher
from trocar.cuda_kernels.backends.kernels import KernelBackend
from trocar.cuda_kernels.backends.launch_plan import Tuning
from trocar.cuda_kernels.compilation.compilers import Nvrtc, find_nvrtc


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the kernels that are compiled for this machine."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the kernels for the CPU")
    # Compiled once for all processes: a library's name follows from its source and flags.
    return shared_folder(tmp_path_factory, "libraries")


@pytest.fixture(scope="session")
def emulated(libraries: Path) -> Callable[..., KernelBackend]:
    """Make a backend that runs the kernels on the CPU, under a tuning."""

    def make(tuning: Tuning | None = None, **options) -> KernelBackend:
        return KernelBackend("emulated", HostLauncher(libraries, tuning or Tuning(), **options))

    return make


@pytest.fixture(scope="session")
def nvrtc() -> Nvrtc:
    """The compiler in the wheels that torch depends on."""
    library = find_nvrtc()
    if library is None:
        pytest.skip("no NVRTC: this torch was built without CUDA")
    return Nvrtc(library)
