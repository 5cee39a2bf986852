"""nnU-Net v2: a trained 2D configuration with random weights answers as its own network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from source_cases import graph_scores, opened, own_scores, resized, shaken, table
from torch import Tensor, nn

from trocar.contract.errors import ArgumentError, CheckpointError, DataError

unet = pytest.importorskip(
    "dynamic_network_architectures.architectures.unet",
    reason="pip install dynamic-network-architectures",
)

CLOSE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-3}
ARCHITECTURE = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3], [3, 3], [3, 3]],
        "strides": [[1, 1], [2, 2], [2, 2]],
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}
OLDER = {
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 4,
    "unet_max_num_features": 8,
    "n_conv_per_stage_encoder": [1, 1, 1],
    "n_conv_per_stage_decoder": [1, 1],
    "conv_kernel_sizes": [[3, 3], [3, 3], [3, 3]],
    "pool_op_kernel_sizes": [[1, 1], [2, 2], [2, 2]],
    "num_pool_per_axis": [2, 2],
}
PLAN = {
    "patch_size": [32, 48],
    "median_image_size_in_voxels": [61.0, 96.0],
    "spacing": [1.0, 1.0],
    "normalization_schemes": ["ZScoreNormalization"] * 3,
    "use_mask_for_norm": [False] * 3,
}
PLANS = {
    "dataset_name": "Dataset001_Tools",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "NaturalImage2DIO",
    "transpose_forward": [0, 1, 2],
    "foreground_intensity_properties_per_channel": {
        str(i): {"mean": 100.0 + i, "std": 50.0, "percentile_00_5": 20.0, "percentile_99_5": 200.0}
        for i in range(3)
    },
}
DATASET = {
    "channel_names": {"0": "R", "1": "G", "2": "B"},
    "labels": {"scissors": 2, "background": 0, "grasper": [1], "ignore": 3},
    "file_ending": ".png",
}


def network() -> nn.Module:
    torch.manual_seed(0)
    described = dict(ARCHITECTURE["arch_kwargs"])
    for key, layer in (("conv_op", nn.Conv2d), ("norm_op", nn.InstanceNorm2d),
                       ("nonlin", nn.LeakyReLU)):  # fmt: skip
        described[key] = layer
    made = unet.PlainConvUNet(3, num_classes=3, deep_supervision=True, **described)
    return shaken(made)


def trained(folder: Path, *, plan: Any = None, plans: Any = None, dataset: Any = None) -> nn.Module:
    """The folder as ``nnUNetv2_train`` writes it, and the network in it."""
    made = network()
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    two = {**PLAN, "architecture": ARCHITECTURE, **(plan or {})}
    base = {key: two.pop(key) for key in ("spacing", "patch_size")}
    configurations = {"base": base, "2d": {**two, "inherits_from": "base"}}
    content = {**PLANS, "configurations": configurations, **(plans or {})}
    (folder / "plans.json").write_text(json.dumps(content))
    (folder / "dataset.json").write_text(json.dumps({**DATASET, **(dataset or {})}))
    checkpoint = {
        "network_weights": made.state_dict(),
        "optimizer_state": {},
        "logging": {"ema_fg_dice": [np.float32(0.5)]},
        "_best_ema": np.float64(0.5),
        "init_args": {"configuration": "2d", "fold": 0, "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
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


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "3d": ({"plan": {"patch_size": [8, 32, 32]}}, r"takes volumes \(3D patches\)"),
    "cascade": ({"plan": {"previous_stage": "3d_lowres"}}, "a cascade"),
    "regions": ({"dataset": {"labels": {"background": 0, "tool": [1, 2]}}}, "has regions"),
    "grey": ({"dataset": {"channel_names": {"0": "CT"}}}, r"takes 1 channels \(0\), not 3"),
    "reader": ({"plans": {"image_reader_writer": "SimpleITKIO"}}, "read by SimpleITKIO"),
    "spacing": ({"plan": {"spacing": [0.5, 0.5]}}, "resamples pixels"),
    "axes": ({"plans": {"transpose_forward": [0, 2, 1]}}, "exchanges axes"),
    "scheme": ({"plan": {"normalization_schemes": ["Mine"] * 3}}, "normalisation 'Mine'"),
    "network": (
        {"plan": {"architecture": {**ARCHITECTURE, "network_class_name": "os.system"}}},
        "has the network 'os.system'",
    ),
    "layer": (
        {"plan": {"architecture": {**ARCHITECTURE, "arch_kwargs": {"conv_op": "os.Conv2d"}}}},
        "conv_op = 'os.Conv2d', expected a layer",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_2d_configuration_of_pictures_is_refused(fault: str, tmp_path: Path) -> None:
    changes, words = FAULTS[fault]
    trained(tmp_path, **changes)
    with pytest.raises(ArgumentError, match=words) as caught:
        opened("nnunet", tmp_path)
    assert caught.value.remedy


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
