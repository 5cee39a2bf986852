"""The networks that are trained here build engines without a GPU, in both float precisions."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from export_helpers import frames_of, manifest_of
from shared_files import made_once
from torch import nn

from trocar.contract.classes import ClassTable
from trocar.contract.manifest import Manifest
from trocar.contract.tensorrt.engines import (
    EngineEnvironment,
    EngineSidecar,
    Profile,
    engine_fitness,
)
from trocar.export.graph.body import class_dependent_nodes
from trocar.export.graph.frame_graph import Normalised
from trocar.export.graph.from_torch import onnx_from_network
from trocar.export.graph.model_file import load
from trocar.export.precision.float16 import convert_to_float16
from trocar.export.precision.int8 import activation_ranges, convert_to_int8
from trocar.export.tensorrt.build import BuiltEngine, EngineOptions, build_engine

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed (extra rtx)")

DYNAMIC = Profile(minimum=(1, 100, 100), optimum=(2, 240, 320), maximum=(4, 480, 640))
TABLE = ClassTable.from_names(["forceps", "scissors", "hook", "clip"], instruments=[])


def resnet50() -> tuple[nn.Module, Manifest]:
    manifest = manifest_of((64, 64))
    network = smp.DeepLabV3Plus("resnet50", encoder_weights=None, classes=3)
    return Normalised(network, manifest.input), manifest


def few_shot() -> tuple[nn.Module, Manifest]:
    from trocar.train.networks.few_shot.network import FewShotNetwork, FewShotNetworkConfig

    manifest = manifest_of((48, 48), task="classification", table=TABLE)
    config = FewShotNetworkConfig(size=(48, 48))
    network = FewShotNetwork(config, input=manifest.input, classes=len(TABLE), supports=3).eval()
    with torch.no_grad():
        network.kept.copy_(network.features(torch.rand(12, 3, 48, 48) * 255).flatten(1))
        network.kept_owner.copy_(torch.arange(12) // 3)
    return network, manifest


def long_tail() -> tuple[nn.Module, Manifest]:
    from trocar.train.networks.embedding import Embedder, EmbeddingConfig

    manifest = manifest_of((64, 64), task="classification", table=TABLE)
    config = EmbeddingConfig(backbone="resnet18", backbone_weights="none", size=(64, 64))
    network = Embedder(config, classes=len(TABLE), input=manifest.input)
    network.centroids.copy_(nn.functional.normalize(torch.randn(network.centroids.shape), dim=1))
    return network, manifest


MAKERS = {"resnet50": resnet50, "few_shot": few_shot, "long_tail": long_tail}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The float32 graphs, each made once, with weights that are always the same."""

    def write(name: str, path: Path) -> None:
        torch.manual_seed(0)
        network, manifest = MAKERS[name]()
        path.write_bytes(onnx_from_network(network.eval(), manifest)[0])

    return {
        name: made_once(tmp_path_factory, f"{name}.onnx", partial(write, name)).read_bytes()
        for name in MAKERS
    }


def built(data: bytes, precision: str) -> BuiltEngine:
    """An engine whose sidecar was compared with all that is known of it."""
    options = EngineOptions(flavour="tensorrt-rtx", profile=DYNAMIC)
    made = build_engine(data, options, precision=precision)
    sidecar = made.sidecar
    assert sidecar.precision == sidecar.precision_found == precision
    assert sidecar.profile == DYNAMIC
    assert sidecar.onnx_sha256 == hashlib.sha256(data).hexdigest()
    assert sidecar.engine_sha256 == hashlib.sha256(made.data).hexdigest()
    assert EngineSidecar.from_json(sidecar.to_json()) == sidecar
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_trained_kinds_of_networks_become_engines(name: str, graphs: dict[str, bytes]) -> None:
    whole = built(graphs[name], "fp32")
    assert set(whole.sidecar.layers) == {"fp32"}
    # Comparisons with classes stay float32, as in `convert`.
    half, _ = convert_to_float16(
        graphs[name], keep_float32=class_dependent_nodes(load(graphs[name]))
    )
    small = built(half, "fp16")
    assert small.sidecar.layers["fp16"] >= 10
    assert len(small.data) < len(whole.data)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_their_int8_graphs_become_engines_too(name: str, graphs: dict[str, bytes]) -> None:
    model = load(graphs[name])
    ranges = activation_ranges(graphs[name], frames_of(2))
    small = convert_to_int8(
        graphs[name], ranges, target="tensorrt", keep_float32=class_dependent_nodes(model)
    )
    engine = built(small, "int8")
    assert engine.sidecar.layers["int8"] >= 10


@pytest.mark.slow
def test_an_engine_is_refused_after_any_change(graphs: dict[str, bytes]) -> None:
    sidecar = built(graphs["few_shot"], "fp32").sidecar
    here = EngineEnvironment(
        flavour="tensorrt-rtx",
        version=sidecar.version,
        onnx_sha256=hashlib.sha256(graphs["few_shot"]).hexdigest(),
        gpu="NVIDIA GeForce RTX 4090",
        capability="8.9",
        platform=sidecar.platform,
        shape=(3, 240, 320),
        precision="fp32",
    )
    assert engine_fitness(sidecar, here) == []
    other = hashlib.sha256(graphs["long_tail"]).hexdigest()
    for change, words in (
        ({"onnx_sha256": other}, "another model.onnx"),
        ({"version": "99.0"}, f"built by tensorrt-rtx {sidecar.version}, here is 99.0"),
        ({"shape": (5, 240, 320)}, "the frames are batch 5 of 240x320"),
        ({"precision": "fp16"}, "fp16 was asked for"),
    ):
        for _ in range(2):
            (reason,) = engine_fitness(sidecar, replace(here, **change))
            assert words in reason
