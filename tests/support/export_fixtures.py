"""Fixtures of the export tests; the plain helpers are in ``export_helpers.py``."""

from __future__ import annotations

from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from export_helpers import manifest_of, small_network, trained
from shared_files import made_once
from torch import nn

from trocar.export.graph.from_torch import onnx_from_network


@pytest.fixture(scope="session")
def small() -> nn.Module:
    return small_network()


@pytest.fixture(scope="session")
def small_onnx(small: nn.Module) -> bytes:
    return onnx_from_network(small, manifest_of())[0]


@pytest.fixture(scope="session")
def deeplab() -> nn.Module:
    """DeepLabV3+ on a light encoder, trained for a moment at 96x128."""
    torch.manual_seed(0)
    network = smp.DeepLabV3Plus("timm-mobilenetv3_small_100", encoder_weights=None, classes=3)
    return trained(network, manifest_of((96, 128)), steps=25)


@pytest.fixture(scope="session")
def deeplab_file(deeplab: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(path: Path) -> None:
        path.write_bytes(onnx_from_network(deeplab, manifest_of((96, 128)))[0])

    return made_once(tmp_path_factory, "model.onnx", make)


@pytest.fixture(scope="session")
def deeplab_onnx(deeplab_file: Path) -> bytes:
    return deeplab_file.read_bytes()
