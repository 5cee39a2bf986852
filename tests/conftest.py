"""Fixtures for every room's tests."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import numpy as np
import pytest
from places import SAMPLES

from trocar.contract.classes import ClassTable
from trocar.contract.tensorrt.gpu import find_gpu

# A shell that starts the tests in the background has SIGINT ignored, and every child inherits that;
# the tests of Ctrl-C need it as a terminal has it.
with contextlib.suppress(ValueError):
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """On a machine with a GPU, tells which of its tests did not run."""
    gpu = find_gpu()
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if {"gpu", "tensorrt"} & set(getattr(report, "keywords", {}))
    ]
    if gpu is None or not skipped:
        return
    # A skip's reason is the last of file, line and text.
    reasons = sorted({str(report.longrepr[-1]) for report in skipped})
    terminalreporter.section("GPU tests", sep="-")
    terminalreporter.line(
        f"{len(skipped)} GPU tests did not run although this machine has {gpu.name}: "
        + "; ".join(reasons)
    )


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
