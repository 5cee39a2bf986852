"""The summary of the tests on a machine with a GPU names the GPU tests that did not run."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest
from places import ROOT

from trocar.contract.tensorrt.gpu import Gpu


@pytest.mark.parametrize(
    ("gpu", "keywords", "told"),
    [
        (Gpu("NVIDIA L4", "8.9"), {"gpu": 1}, True),
        (Gpu("NVIDIA L4", "8.9"), {"slow": 1}, False),
        (None, {"gpu": 1}, False),
    ],
)
def test_skipped_gpu_tests_are_told(
    gpu: Gpu | None, keywords: dict[str, int], told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("root_conftest", ROOT / "tests" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "find_gpu", lambda: gpu)
    lines: list[str] = []
    reports = [SimpleNamespace(keywords=keywords, longrepr=("a.py", 1, "Skipped: no pycuda"))]
    reporter = SimpleNamespace(
        stats={"skipped": reports}, section=lambda *a, **k: None, line=lines.append
    )
    module.pytest_terminal_summary(reporter)
    assert bool(lines) == told
    assert all("1 GPU tests did not run" in line and "no pycuda" in line for line in lines)
