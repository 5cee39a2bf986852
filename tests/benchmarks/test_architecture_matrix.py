"""A slice of the matrix of architectures and encoders, and its table."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from benchmark_helpers import benchmark_helper
from places import ROOT

cells = benchmark_helper("matrix.cells")


def test_a_trained_network_has_equal_labels_everywhere(tmp_path: Path) -> None:
    backends = ["onnxruntime"]
    if importlib.util.find_spec("openvino") is not None:
        backends.append("openvino")
    found = cells.run_cell("unet", "tu-lcnet_050", size=(64, 64), work=tmp_path, backends=backends)
    assert found["equal"]["onnxruntime"] == 100.0
    # With more threads than cores OpenVINO may sum in another order: a pixel between two classes.
    assert min(found["equal"].values()) >= 99.9
    assert found["classes"] == 3
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused_with_its_reason(tmp_path: Path) -> None:
    found = cells.run_cell("unet", "tu-vit_tiny_patch16_224", size=(64, 64), work=tmp_path)
    assert "does not fit the architecture unet" in found["refused"]


def test_the_table_tells_the_cells_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    path = ROOT / "benchmarks" / "architecture_matrix.py"
    spec = importlib.util.spec_from_file_location("architecture_matrix", path)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    assert program.cell(None) == "not run"
    assert program.cell({"refused": "x"}) == "refused"
    assert program.cell({"failed": "openvino", "why": "x"}) == "**fails: openvino**"
    assert program.cell({"equal": {"onnxruntime": 100.0, "openvino": 100.0}}) == "equal"
    assert program.cell({"equal": {"onnxruntime": 100.0, "openvino": 99.98}}) == "99.980 %"
    results = {"unet tu-vit_tiny_patch16_224": {"refused": "no pyramid"}}
    text = program.table(results, size=(64, 64), library=True)
    assert "- unet tu-vit_tiny_patch16_224: no pyramid" in text
