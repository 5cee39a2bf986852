"""Instance networks in PyTorch: ``trocar export --module``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import instance_files as files
import numpy as np
import onnx
import pytest
import torch
from export_helpers import run_onnx
from tiny_mask_rcnn import make_mask_rcnn
from torch import Tensor, nn

from trocar.contract.bundle import MODEL, open_bundle
from trocar.contract.errors import ArgumentError
from trocar.export.bundle import export_bundle
from trocar.export.cpu_session import infer_on_cpu
from trocar.export.graph.body import network_body
from trocar.export.graph.imported.external_model import adapt_network, load_external_network
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


@pytest.fixture(scope="module")
def mask_rcnn(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A Mask R-CNN of torchvision, and its bundle."""
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    external = files.instance_external(normalise=True, score=0.3, **plain)
    size = replace(external.manifest.input, **plain)
    external = replace(external, manifest=replace(external.manifest, input=size))
    own = make_mask_rcnn()
    network = adapt_network(own, external, name="make_mask_rcnn")
    out = tmp_path_factory.mktemp("mask_rcnn") / "m.trocar"
    frames = files.gate_frames(3)
    report = export_bundle(network, external.manifest, out, frames=frames, open_model=run_onnx)
    assert report.metrics["pairs"] >= 6
    return own, out


def test_mask_rcnn_of_torchvision_gives_its_own_instances(
    mask_rcnn: tuple[nn.Module, Path],
) -> None:
    own, out = mask_rcnn
    assert open_bundle(out).manifest.extra["instances"]["form"] == "torchvision"
    frame = files.instance_frame(7, files.HEIGHT, files.WIDTH)
    with torch.no_grad():
        wanted = own([torch.from_numpy(frame).permute(2, 0, 1) / 255])[0]
    with Session.open(out, threads=1) as session:
        result = session.run(frame)
    kept = wanted["scores"] >= 0.3
    assert result.instance_count == int(kept.sum()) >= 2
    assert result.instances is not None
    first = (wanted["masks"][0, 0] > 0.5).numpy()
    np.testing.assert_array_equal(result.instances == 1, first)
    assert result.instruments[0].class_name == files.TABLE[int(wanted["labels"][0])].name


def test_a_bundle_of_mask_rcnn_takes_batches(mask_rcnn: tuple[nn.Module, Path]) -> None:
    data = open_bundle(mask_rcnn[1]).read(MODEL)
    infer = infer_on_cpu(data)
    frames = np.stack([files.instance_frame(seed) for seed in (1, 2)])
    both = infer(frames)
    for index, frame in enumerate(frames):
        one = infer(frame[None])
        for name, value in one.items():
            np.testing.assert_array_equal(both[name][index], value[0])
    with pytest.raises(ArgumentError, match="Scan"):
        network_body(onnx.load_model_from_string(data))
