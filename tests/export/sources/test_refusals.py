"""What is refused before the library is needed; no library is imported here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from source_cases import opened
from source_files import ARCHITECTURE, NETWORK, RESIZE, SCALE, write_monai, write_nnunet

from trocar.contract.errors import ArgumentError, DataError, MissingExtraError, TrocarError
from trocar.export.sources.files import library
from trocar.export.sources.normalisation import Affine, MinMax, Steps, ZScore
from trocar.export.sources.origins import origins

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
    write_nnunet(tmp_path, {}, **changes)
    with pytest.raises(ArgumentError, match=words) as caught:
        opened("nnunet", tmp_path)
    assert caught.value.remedy


def test_expressions_are_never_evaluated(tmp_path: Path) -> None:
    evil = {**NETWORK, "channels": f"$open('{tmp_path}/was-executed', 'w')"}
    folder = write_monai(tmp_path / "b", {}, RESIZE, SCALE, network_def=evil)
    with pytest.raises(ArgumentError, match=r"network_def.channels is \$open.*nothing in a config"):
        opened("monai", folder)
    write_monai(
        tmp_path / "b", {}, RESIZE, SCALE, network_def={**NETWORK, "channels": "@a"}, a="@b", b="@a"
    )
    with pytest.raises(ArgumentError, match="leads to itself"):
        opened("monai", folder)
    evil = {**NETWORK, "_target_": "os.system"}
    write_monai(tmp_path / "b", {}, RESIZE, SCALE, network_def=evil)
    with pytest.raises(ArgumentError, match="code of its own"):
        opened("monai", folder)
    write_monai(tmp_path / "b", {}, RESIZE, SCALE, network_def={**NETWORK, "_mode_": "callable"})
    with pytest.raises(ArgumentError, match="_mode_"):
        opened("monai", folder)
    assert not (tmp_path / "was-executed").exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"architectures": ["Mask2FormerForUniversalSegmentation"]}, "it returns masks of queries"),
        ({"architectures": ["DetrForObjectDetection"]}, "one score for each class"),
        ({"architectures": ["X"], "auto_map": {"AutoModel": "modeling.Evil"}}, "code of its own"),
        ({}, "network without a name"),
    ],
)
def test_transformers_of_other_tasks_are_refused(
    config: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArgumentError, match=words):
        opened("hf", tmp_path)


@pytest.mark.parametrize("text", ["[1, 2", "[]", "[" * 100_000])
@pytest.mark.parametrize(
    ("origin", "name"),
    [("smp", "config.json"), ("timm", "config.json"), ("hf", "config.json"),
     ("nnunet", "plans.json"), ("monai", "configs/inference.json")],
)  # fmt: skip
def test_malformed_json_is_an_error_with_the_file_s_name(
    origin: str, name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=name):
        opened(origin, tmp_path)


MALFORMED = {
    "plan": {"plan": {"median_image_size_in_voxels": ["a", "b"]}},
    "strides": {"plan": {"architecture": {**ARCHITECTURE, "arch_kwargs": {"strides": [["x"]]}}}},
    "labels": {"dataset": {"labels": {"background": "none"}}},
    "spacing": {"plan": {"spacing": ["near", "far"]}},
    "normalisation": {"plan": {"normalization_schemes": [[1], [2], [3]]}},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_values_of_other_types_are_errors_in_words(name: str, tmp_path: Path) -> None:
    write_nnunet(tmp_path, {}, **MALFORMED[name])
    with pytest.raises(TrocarError) as caught:
        opened("nnunet", tmp_path)
    assert str(tmp_path) in caught.value.message


def test_a_missing_library_is_named_with_its_command() -> None:
    with pytest.raises(MissingExtraError, match="'no_such_library'") as caught:
        library("no_such_library.networks", "no-such-library")
    assert caught.value.remedy == "pip install no-such-library"


def test_every_adapter_is_a_choice() -> None:
    assert origins() == ("hf", "monai", "nnunet", "smp", "timm", "torchvision")


IMAGE = np.random.default_rng(0).integers(0, 255, (8, 9, 3)).astype(np.float32)
IMAGE[:2] = 0
INSIDE = IMAGE != 0


def nonzero_z_score(axis: Any) -> np.ndarray:
    count = INSIDE.sum(axis)
    mean = IMAGE.sum(axis) / count
    deviation = np.sqrt((((IMAGE - mean) * INSIDE) ** 2).sum(axis) / count)
    return np.where(INSIDE, (IMAGE - mean) / deviation, 0)


NORMALISATIONS = {
    "z-score": (ZScore(), (IMAGE - IMAGE.mean((0, 1))) / IMAGE.std((0, 1))),
    "z-score of all": (ZScore(channel_wise=False), (IMAGE - IMAGE.mean()) / IMAGE.std()),
    "z-score inside": (ZScore(nonzero=True), nonzero_z_score((0, 1))),
    "z-score of all inside": (
        ZScore(nonzero=True, channel_wise=False), nonzero_z_score((0, 1, 2))
    ),
    "smallest and largest": (MinMax(low=-1, high=1), IMAGE / IMAGE.max() * 2 - 1),
    "by channel": (MinMax(channel_wise=True), IMAGE / IMAGE.max((0, 1))),
    "affine": (
        Steps([Affine(scale=[2, 3, 4], offset=1.0, before=([9] * 3, [99] * 3)),
               Affine(after=(50, 250))]),
        (IMAGE.clip(9, 99) * [2, 3, 4] + 1).clip(50, 250),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_normalisations_equal_numpy(name: str) -> None:
    module, wanted = NORMALISATIONS[name]
    # Two different images in one batch: each is normalised by itself.
    batch = torch.from_numpy(np.stack([IMAGE, IMAGE[::-1] * 0.5 + 3])).permute(0, 3, 1, 2)
    got = module(batch)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_an_image_of_one_colour_stays_finite() -> None:
    grey = torch.full((1, 3, 4, 4), 7.0)
    for module in (ZScore(), ZScore(nonzero=True), MinMax()):
        assert torch.isfinite(module(grey)).all()
        assert torch.isfinite(module(grey * 0)).all()
