"""Fixtures for every room's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trocar.contract.classes import ClassTable

SAMPLES = Path(__file__).resolve().parents[1].parent / "shared" / "data"


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
