"""Folders of nnU-Net and of MONAI as their own tools write them; neither library is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

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


def write_nnunet(
    folder: Path, state: Any, *, plan: Any = None, plans: Any = None, dataset: Any = None
) -> None:
    """The folder as ``nnUNetv2_train`` writes it."""
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    two = {**PLAN, "architecture": ARCHITECTURE, **(plan or {})}
    base = {key: two.pop(key) for key in ("spacing", "patch_size")}
    configurations = {"base": base, "2d": {**two, "inherits_from": "base"}}
    content = {**PLANS, "configurations": configurations, **(plans or {})}
    (folder / "plans.json").write_text(json.dumps(content))
    (folder / "dataset.json").write_text(json.dumps({**DATASET, **(dataset or {})}))
    checkpoint = {
        "network_weights": state,
        "optimizer_state": {},
        "logging": {"ema_fg_dice": [np.float32(0.5)]},
        "_best_ema": np.float64(0.5),
        "init_args": {"configuration": "2d", "fold": 0, "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


NETWORK = {
    "_target_": "UNet",
    "spatial_dims": "@dims",
    "in_channels": 3,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
    "num_res_units": 1,
}
LOAD = [{"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": -1}]  # fmt: skip
RESIZE = {"_target_": "Resized", "keys": ["image"], "spatial_size": [96, 64]}
SCALE = {"_target_": "ScaleIntensityd", "keys": ["image"]}
METADATA = {
    "name": "Tools",
    "version": "0.6.1",
    "monai_version": "1.4.0",
    "network_data_format": {
        "inputs": {"image": {"num_channels": 3, "spatial_shape": [96, 64], "is_patch_data": False}},
        "outputs": {"pred": {"format": "segmentation", "num_channels": 3,
                             "channel_def": {"0": "background", "1": "grasper", "2": "hook"}}},
    },
}  # fmt: skip


def write_monai(folder: Path, state: Any, *steps: Any, **changes: Any) -> Path:
    """A bundle as the model zoo has them, `$` expressions included."""
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    config = {
        "imports": ["$import os"],
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "dims": 2,
        "network_def": NETWORK,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [*LOAD, *steps]},
        "inferer": {"_target_": "SimpleInferer"},
        **changes,
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    torch.save(state, folder / "models" / "model.pt")
    return folder
