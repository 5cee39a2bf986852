"""Fixtures for every room's tests."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import numpy as np
import pytest
from places import SAMPLES

from trocar.contract.classes import ClassTable

# A shell that starts the tests in the background has SIGINT ignored, and every child inherits that;
# the tests of Ctrl-C need it as a terminal has it.
with contextlib.suppress(ValueError):
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real sample images that lies beside a checkout."""
    if not SAMPLES.is_dir():
        pytest.skip(f"no real samples at {SAMPLES}")
    return SAMPLES


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def three_classes() -> ClassTable:
    return ClassTable.from_names(["background", "grasper", "scissors"])
