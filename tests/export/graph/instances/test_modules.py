"""Instance networks in PyTorch: ``trocar export --module``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import instance_files as files
import numpy as np
import pytest
import torch
from export_helpers import run_onnx
from torch import Tensor, nn

from trocar.contract.bundle import open_bundle
from trocar.contract.errors import ArgumentError
from trocar.export.bundle import export_bundle
from trocar.export.graph.external_model import load_external_network
from trocar.runtime.session import Session


class Queries(nn.Module):
    """Mask and class queries, in a dictionary with an output that no form needs."""

    def __init__(self, queries: int = 6, classes: int = 4) -> None:
        super().__init__()
        self.masks = nn.Conv2d(3, queries, 5, stride=2, padding=2)
        self.classes = nn.Linear(3, queries * classes)
        self.queries = queries

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        masks = self.masks(image)
        logits = self.classes(image.mean((2, 3))).unflatten(1, (self.queries, -1))
        return {"class_queries_logits": logits, "masks_queries_logits": masks * 30, "loss": image}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    made = ModuleType("their_networks")

    def make() -> nn.Module:
        torch.manual_seed(4)
        return Queries()

    made.make = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "their_networks", made)
    return "their_networks:make"


def test_a_network_in_pytorch_becomes_a_bundle(module: str, tmp_path: Path) -> None:
    external = files.instance_external(
        normalise=True, channels="bgr", score=0.05, resize="letterbox"
    )
    network = load_external_network(module, None, external)
    out = tmp_path / "m.trocar"
    frames = files.gate_frames(3)
    report = export_bundle(network, external.manifest, out, frames=frames, open_model=run_onnx)
    assert report.metrics["pairs"] >= 3
    manifest = open_bundle(out).manifest
    assert manifest.extra["instances"]["form"] == "queries"
    with Session.open(out, threads=1) as session:
        result = session.run(files.instance_frame(1, 100, 70))
        assert result.instance_count
        assert result.instances is not None
        assert np.unique(result.instances).max() >= 1


def test_a_network_whose_outputs_fit_no_form_is_refused(tmp_path: Path) -> None:
    external = files.instance_external()
    with pytest.raises(ArgumentError, match="fits none of the forms"):
        export_bundle(
            nn.Conv2d(3, 2, 1),
            external.manifest,
            tmp_path / "m.trocar",
            frames=files.gate_frames(1),
            open_model=run_onnx,
        )
