"""Fixtures: the kernels of location, run on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trocar.cuda_kernels.backends.emulation import HostLauncher
from trocar.cuda_kernels.backends.launch_plan import Tuning
from trocar.cuda_kernels.location.kernels import LocationKernels


@pytest.fixture(scope="session")
def location_kernels(libraries: Path) -> Callable[..., LocationKernels]:
    """Make the kernels on the CPU, under a tuning."""

    def make(tuning: Tuning | None = None, **options) -> LocationKernels:
        return LocationKernels(HostLauncher(libraries, tuning or Tuning(), **options))

    return make
