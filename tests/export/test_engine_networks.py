"""The networks that are trained here build engines without a GPU, in both float precisions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import segmentation_models_pytorch as smp
import torch
from export_kit import manifest_of
from torch import nn

from trocar.contract.classes import ClassTable
from trocar.contract.engines import Profile
from trocar.contract.manifest import Manifest
from trocar.export.engine import EngineOptions, build_engine
from trocar.export.graph import Normalised
from trocar.export.half import half_from_float
from trocar.export.onnx import load, onnx_from_network
from trocar.export.region import comparing_nodes

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed (extra rtx)")

DYNAMIC = Profile(minimum=(1, 100, 100), optimum=(2, 240, 320), maximum=(4, 480, 640))
TABLE = ClassTable.from_names(["forceps", "scissors", "hook", "clip"], instruments=[])


def resnet50() -> tuple[nn.Module, Manifest]:
    manifest = manifest_of((64, 64))
    network = smp.DeepLabV3Plus("resnet50", encoder_weights=None, classes=3)
    return Normalised(network, manifest.input), manifest


def few_shot() -> tuple[nn.Module, Manifest]:
    from trocar.train.networks.few_shot import FewShotNetwork, FewShotNetworkConfig

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


@pytest.mark.slow
@pytest.mark.parametrize("make", [resnet50, few_shot, long_tail], ids=lambda f: f.__name__)
def test_trained_kinds_of_networks_become_engines(
    make: Callable[[], tuple[nn.Module, Manifest]],
) -> None:
    torch.manual_seed(0)
    network, manifest = make()
    data, _ = onnx_from_network(network.eval(), manifest)
    options = EngineOptions(flavour="tensorrt-rtx", profile=DYNAMIC)
    whole = build_engine(data, options, precision="fp32")
    assert set(whole.sidecar.layers) == {"fp32"}
    # Comparisons with classes stay float32, as in `convert`.
    half, _ = half_from_float(data, keep=comparing_nodes(load(data)))
    small = build_engine(half, options, precision="fp16")
    assert small.sidecar.layers["fp16"] >= 10
    assert len(small.data) < len(whole.data)
