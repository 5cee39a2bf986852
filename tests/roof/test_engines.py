"""`trocar export --engine` and `trocar engines prune`, on a machine without a GPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trocar.contract.bundle import open_bundle

Run = Callable[..., int]


@pytest.fixture
def copy(run: Run, bundle: Path, tmp_path: Path) -> Path:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    target = tmp_path / "tiny.trocar"
    shutil.copytree(bundle, target)
    assert run("export", target, "--engine", "tensorrt-rtx", "--frame", "48x64") == 0
    return target


def engines(path: Path) -> list[str]:
    return [name for name in open_bundle(path).manifest.files if name.endswith(".engine")]


@pytest.mark.slow
def test_engines_are_not_thrown_away_where_none_can_be_judged(run: Run, copy: Path, capsys) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine may have a GPU")
    assert len(engines(copy)) == 1
    assert run("engines", "prune", copy) == 9
    assert "NVIDIA driver" in capsys.readouterr().err
    assert len(engines(copy)) == 1
    assert run("engines", "prune", copy, "--all") == 0
    assert "took out" in capsys.readouterr().out
    assert engines(copy) == []
    assert not list((copy / "engines").glob("*.engine"))
