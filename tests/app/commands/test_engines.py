"""`trocar export --engine` and `trocar engines prune`, on a machine without a GPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from trocar.commands._models import open_model
from trocar.contract.bundle import open_bundle
from trocar.contract.manifest import InputSpec, Manifest
from trocar.export.bundle import export_bundle

Run = Callable[..., int]


class ByColour(torch.nn.Module):
    """Two classes by a one-pixel convolution: red against blue."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Conv2d(3, 2, 1, bias=False)
        weights = torch.tensor([[0.01, 0.0, -0.01], [-0.01, 0.0, 0.01]])
        self.mix.weight = torch.nn.Parameter(weights.view(2, 3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.mix(image)


@pytest.fixture
def copy(run: Run, tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    for module in ("build", "bundle_engines"):
        monkeypatch.setattr(f"trocar.export.tensorrt.{module}.find_gpu", lambda: None)
    target = tmp_path / "tiny.trocar"
    manifest = Manifest(
        name="tiny",
        task="segmentation",
        method="by hand",
        classes=tiny.tiny_table(2),
        input=InputSpec(height=32, width=32),
    )
    frame = tiny.tiny_frame(48, 64)
    export_bundle(ByColour(), manifest, target, frames=[frame], open_model=open_model)
    assert run("export", target, "--engine", "tensorrt-rtx", "--engine-shape", "64x48") == 0
    return target


def engines(path: Path) -> list[str]:
    return [name for name in open_bundle(path).manifest.files if name.endswith(".engine")]


@pytest.mark.slow
def test_engines_are_not_removed_where_no_gpu_can_be_asked(run: Run, copy: Path, capsys) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine may have a GPU")
    assert len(engines(copy)) == 1
    assert run("engines", "prune", copy) == 9
    assert "NVIDIA driver" in capsys.readouterr().err
    assert len(engines(copy)) == 1
    assert run("engines", "prune", copy, "--all") == 0
    assert "removed" in capsys.readouterr().out
    assert engines(copy) == []
    assert not list((copy / "engines").glob("*.engine"))
