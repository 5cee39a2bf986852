"""nnU-Net v2: a trained 2D configuration with random weights answers as its own network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from source_cases import graph_scores, opened, own_scores, resized, shaken, table
from source_files import ARCHITECTURE, OLDER, write_nnunet
from torch import Tensor, nn

from trocar.contract.errors import CheckpointError, DataError

unet = pytest.importorskip(
    "dynamic_network_architectures.architectures.unet",
    reason="pip install dynamic-network-architectures",
)

CLOSE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-3}


def network() -> nn.Module:
    torch.manual_seed(0)
    described = dict(ARCHITECTURE["arch_kwargs"])
    for key, layer in (("conv_op", nn.Conv2d), ("norm_op", nn.InstanceNorm2d),
                       ("nonlin", nn.LeakyReLU)):  # fmt: skip
        described[key] = layer
    made = unet.PlainConvUNet(3, num_classes=3, deep_supervision=True, **described)
    return shaken(made)


def trained(folder: Path, **changes: Any) -> nn.Module:
    """The folder as ``nnUNetv2_train`` writes it, and the network in it."""
    made = network()
    write_nnunet(folder, made.state_dict(), **changes)
    made.decoder.deep_supervision = False
    return made


def tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32))


def z_score(image: np.ndarray) -> np.ndarray:
    return (image - image.mean((0, 1))) / image.std((0, 1))


def zero_one(image: np.ndarray) -> np.ndarray:
    return (image - image.min((0, 1))) / (image.max((0, 1)) - image.min((0, 1)))


def clipped(image: np.ndarray) -> np.ndarray:
    return (image.clip(20, 200) - np.float32([100, 101, 102])) / 50


@pytest.mark.parametrize(
    ("scheme", "normalise"),
    [
        ("ZScoreNormalization", z_score),
        ("RGBTo01Normalization", lambda image: image / 255),
        ("RescaleTo01Normalization", zero_one),
        ("NoNormalization", lambda image: image),
        ("CTNormalization", clipped),
    ],
)
def test_the_graph_normalises_as_the_plans_say(scheme: str, normalise: Any, tmp_path: Path) -> None:
    made = trained(tmp_path, plan={"normalization_schemes": [scheme] * 3})
    source = opened("nnunet", tmp_path)
    assert source.external.manifest.classes.names == ("background", "grasper", "scissors")
    # The median 61 is rounded up to a multiple of the strides.
    assert (source.external.spec.height, source.external.spec.width) == (64, 96)
    wanted = own_scores(made, tensor(normalise(resized(64, 96))))
    np.testing.assert_allclose(graph_scores(source), wanted, rtol=2e-3, atol=2e-3)
    assert source.external.manifest.source["normalisation"] == [scheme] * 3


def test_plans_of_older_versions(tmp_path: Path) -> None:
    made = trained(tmp_path, plan={**OLDER, "architecture": None})
    wanted = own_scores(made, tensor(z_score(resized(64, 96))))
    np.testing.assert_allclose(graph_scores(opened("nnunet", tmp_path)), wanted, **CLOSE)


def test_several_folds_and_other_checkpoints_are_named(tmp_path: Path) -> None:
    trained(tmp_path)
    first = tmp_path / "fold_0" / "checkpoint_final.pth"
    (tmp_path / "fold_1").mkdir()
    (tmp_path / "fold_1" / "checkpoint_final.pth").write_bytes(first.read_bytes())
    with pytest.raises(DataError, match=r"2 final checkpoints \(fold_0/.*, fold_1/"):
        opened("nnunet", tmp_path)
    opened("nnunet", tmp_path, weights=first)
    with pytest.raises(DataError, match=r"has 2 classes; .*dataset\.json has 3"):
        opened("nnunet", tmp_path, weights=first, classes=table(tmp_path, "a", "b"))
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no network_weights"):
        opened("nnunet", tmp_path, weights=tmp_path / "other.pth")
    torch.save({"network_weights": {}, "x": Settings()}, first)
    with pytest.raises(CheckpointError, match=r"of type [\w.]*Settings"):
        opened("nnunet", tmp_path, weights=first)


class Settings:
    """A class of the trainer's own."""
