"""Fixtures for every room's tests."""

from __future__ import annotations

import contextlib
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import SAMPLES

from trocar.contract.classes import ClassTable
from trocar.contract.tensorrt.gpu import find_gpu

# A shell that starts the tests in the background has SIGINT ignored, and every child inherits that;
# the tests of Ctrl-C need it as a terminal has it.
with contextlib.suppress(ValueError):
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Tells how a worker process of pytest-xdist ended, which that package does not."""
    if error is None:
        return
    process = getattr(getattr(node.gateway, "_io", None), "popen", None)
    if process is None:
        return
    with contextlib.suppress(subprocess.TimeoutExpired):
        code = process.wait(10)
        how = f"exit code {code}" if code >= 0 else f"{signal.Signals(-code).name}"
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
        sys.stderr.write(
            f"\nworker {node.gateway.id} ended by {how}; the largest of the processes that have "
            f"ended had {memory} MB\n"
        )


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
