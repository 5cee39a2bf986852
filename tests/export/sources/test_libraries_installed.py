"""smp, timm and torchvision: networks with random weights answer as in their own library."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from source_cases import (
    MEAN,
    STD,
    graph_scores,
    normalised,
    opened,
    own_scores,
    resized,
    shaken,
    table,
)
from torch import nn

from trocar.contract.errors import ArgumentError, CheckpointError, ConfigError, DataError

CLOSE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-3}
STATED = {"mean": MEAN, "std": STD}


def unet(classes: int = 3, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return shaken(
        smp.Unet("tu-test_resnet", encoder_weights=None, encoder_depth=3, classes=classes,
                 decoder_channels=(16, 8, 8), **settings)
    )  # fmt: skip


@pytest.fixture(scope="module")
def small_unet() -> nn.Module:
    return unet()


@pytest.fixture(scope="module")
def smp_folder(small_unet: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smp") / "my_model"
    small_unet.save_pretrained(folder)
    return folder


def albumentations_file(folder: Path, *more: dict[str, Any]) -> None:
    steps = [
        {"__class_fullname__": "Resize", "p": 1.0, "height": 64, "width": 96},
        {"__class_fullname__": "albumentations.augmentations.Normalize", "mean": [0.5, 0.4, 0.3],
         "std": [0.25, 0.2, 0.3], "max_pixel_value": 255.0, "normalization": "standard"},
        {"__class_fullname__": "ToTensorV2"}, *more,
    ]  # fmt: skip
    content = {"transform": {"__class_fullname__": "Compose", "transforms": steps}}
    (folder / "albumentations_config_eval.json").write_text(json.dumps(content))


def test_smp_folder_with_its_transforms(
    smp_folder: Path, small_unet: nn.Module, tmp_path: Path
) -> None:
    classes = table(tmp_path)
    with pytest.raises(ConfigError, match="does not state the size of its input, its norm") as e:
        opened("smp", smp_folder, classes=classes)
    assert "--size WIDTHxHEIGHT, --mean R,G,B and --std R,G,B" in e.value.remedy
    assert "--mean 0.485,0.456,0.406" in e.value.remedy
    source = opened("smp", smp_folder, classes=classes, size=(64, 96), **STATED)
    wanted = own_scores(small_unet, normalised(resized(64, 96)))
    np.testing.assert_allclose(graph_scores(source), wanted, **CLOSE)

    albumentations_file(smp_folder, {"__class_fullname__": "CenterCrop"})
    source = opened("smp", smp_folder, classes=classes)
    image = normalised(resized(64, 96), (0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
    np.testing.assert_allclose(graph_scores(source), own_scores(small_unet, image), **CLOSE)
    assert source.notes == (
        "albumentations_config_eval.json has CenterCrop, which the bundle does not do",
    )
    assert source.external.manifest.input.mean == (0.5, 0.4, 0.3)
    assert len(source.external.manifest.source["weights"]["model.safetensors"]) == 64


def test_smp_checkpoint_with_two_names_and_one_channel(tmp_path: Path) -> None:
    network = shaken(smp.FPN("tu-test_resnet", encoder_weights=None, classes=1))
    torch.save(
        {"state_dict": {f"model.{k}": v for k, v in network.state_dict().items()}},
        tmp_path / "last.ckpt",
    )
    values = {"classes": table(tmp_path, "background", "tool"), "size": (64, 96), **STATED}
    with pytest.raises(ConfigError, match="does not state its architecture and encoder"):
        opened("smp", tmp_path / "last.ckpt", **values)
    values |= {"architecture": "fpn", "encoder": "tu-test_resnet"}
    scores = graph_scores(opened("smp", tmp_path / "last.ckpt", **values))
    wanted = own_scores(network, normalised(resized(64, 96)))[0]
    np.testing.assert_allclose(scores[1] - scores[0], wanted, **CLOSE)
    values["classes"] = table(tmp_path)
    with pytest.raises(CheckpointError, match=r"weights of 1 channel; the class table has 3"):
        opened("smp", tmp_path / "last.ckpt", **values)
    with pytest.raises(
        ArgumentError, match=r"there is no architecture of .* named 'unett'; did you mean unet"
    ):
        opened("smp", tmp_path / "last.ckpt", **{**values, "architecture": "unett"})


def test_smp_faults(smp_folder: Path, tmp_path: Path) -> None:
    config = json.loads((smp_folder / "config.json").read_text())
    values = {"classes": table(tmp_path), "size": (64, 96), **STATED}
    for change, words in (
        ({"activation": "sigmoid"}, "sigmoid for each of 3 classes"),
        ({"activation": "tanh"}, "whose values are no scores"),
        ({"in_channels": 4}, "takes 4 channels"),
        ({"encoder_name": "tu-hf-hub:someone/net"}, "place to download from"),
        ({"decoder_channels": [16, 8]}, "cannot be made"),
        ({"checkpoint_path": "evil.pth"}, "checkpoint_path = 'evil"),
    ):
        folder = tmp_path / words.partition(" ")[0]
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        (folder / "model.safetensors").write_bytes((smp_folder / "model.safetensors").read_bytes())
        with pytest.raises(ArgumentError, match=words):
            opened("smp", folder, **values)


def test_smp_auxiliary_head_is_left_off(tmp_path: Path) -> None:
    network = unet(aux_params={"classes": 4})
    network.save_pretrained(tmp_path / "m")
    source = opened("smp", tmp_path / "m", classes=table(tmp_path), size=(64, 96), **STATED)
    wanted = own_scores(network, normalised(resized(64, 96)), lambda y: y[0])
    np.testing.assert_allclose(graph_scores(source), wanted, **CLOSE)


def test_timm_folder(tmp_path: Path) -> None:
    network = shaken(timm.create_model("test_resnet", num_classes=3))
    settings = {"label_names": ["grasper", "hook", "clipper"]}
    timm.models.save_for_hf(network, tmp_path, model_config=settings)
    source = opened("timm", tmp_path)
    spec = source.external.spec
    assert source.external.manifest.classes.names == ("grasper", "hook", "clipper")
    image = normalised(resized(spec.height, spec.width), spec.mean, spec.std)
    np.testing.assert_allclose(graph_scores(source), own_scores(network, image), **CLOSE)
    assert spec.mean == tuple(network.pretrained_cfg["mean"])
    assert any("crops the central" in note for note in source.notes)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_args"] = {"checkpoint_path": "evil.pth"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArgumentError, match=r"checkpoint_path = 'evil\.pth', which would load"):
        opened("timm", tmp_path)


def test_timm_checkpoint_of_its_training_script(tmp_path: Path) -> None:
    network = shaken(timm.create_model("test_resnet", num_classes=3))
    arguments = Namespace(model="test_resnet.r160_in1k", mean=[0.5], std=[0.2, 0.3, 0.4],
                          img_size=64, gp=None, model_kwargs={})  # fmt: skip
    worse = {k: v * 0 for k, v in network.state_dict().items()}
    torch.save(
        {"arch": "test_resnet.r160_in1k", "args": arguments, "state_dict": worse,
         "state_dict_ema": network.state_dict(), "epoch": 3},
        tmp_path / "best.pth.tar",
    )  # fmt: skip
    classes = table(tmp_path)
    source = opened("timm", tmp_path / "best.pth.tar", classes=classes)
    image = normalised(resized(64, 64), (0.5, 0.5, 0.5), (0.2, 0.3, 0.4))
    np.testing.assert_allclose(graph_scores(source), own_scores(network, image), **CLOSE)
    torch.save(network.state_dict(), tmp_path / "bare.pth")
    with pytest.raises(ConfigError, match="does not state its architecture"):
        opened("timm", tmp_path / "bare.pth", classes=classes)
    with pytest.raises(ConfigError, match="size of its input, its normalisation") as caught:
        opened("timm", tmp_path / "bare.pth", classes=classes, architecture="test_resnet")
    assert "--size 160x160" in caught.value.remedy
    with pytest.raises(ArgumentError, match="did you mean test_resnet"):
        opened("timm", tmp_path / "bare.pth", architecture="test_resnett")
    with pytest.raises(ConfigError, match="--from timm does not use --encoder"):
        opened("timm", tmp_path / "bare.pth", encoder="resnet18")


def test_torchvision_segmentation_without_its_auxiliary_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = shaken(
        torchvision.models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=3
        )
    )
    state = {**network.state_dict(), "aux_classifier.4.weight": torch.zeros(3, 8, 1, 1)}
    arguments = Namespace(model="lraspp_mobilenet_v3_large", aux_loss=True)
    torch.save({"model": state, "args": arguments, "epoch": 29}, tmp_path / "model_29.pth")
    values = {"classes": table(tmp_path), "size": (64, 96)}
    with pytest.raises(ConfigError, match="does not state its normalisation") as caught:
        opened("torchvision", tmp_path / "model_29.pth", **values)
    assert "0.229,0.224,0.225" in caught.value.remedy
    source = opened("torchvision", tmp_path / "model_29.pth", **values, **STATED)
    wanted = own_scores(network, normalised(resized(64, 96)), lambda y: y["out"])
    np.testing.assert_allclose(graph_scores(source), wanted, **CLOSE)


def test_torchvision_classifier_and_refused_networks(tmp_path: Path) -> None:
    network = shaken(torchvision.models.squeezenet1_1(weights=None, num_classes=3))
    torch.save(network.state_dict(), tmp_path / "w.pth")
    values = {"classes": table(tmp_path), "size": (64, 64), **STATED}
    source = opened("torchvision", tmp_path / "w.pth", architecture="squeezenet1_1", **values)
    wanted = own_scores(network, normalised(resized(64, 64)))
    np.testing.assert_allclose(graph_scores(source), wanted, **CLOSE)
    assert source.external.manifest.task == "classification"
    for name, words in (("maskrcnn_resnet50_fpn", "there is no"), ("googlenet", "transform_input")):
        with pytest.raises(ArgumentError, match=words):
            opened("torchvision", tmp_path / "w.pth", architecture=name, **values)


class Settings:
    """A class of the trainer's own."""


@pytest.mark.parametrize("origin", ["smp", "timm", "torchvision"])
def test_no_code_in_a_checkpoint_is_run(origin: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "cfg": Settings()}, tmp_path / "w.pt")
    names = {"smp": {"architecture": "unet", "encoder": "resnet18"}}.get(origin, {})
    with pytest.raises(CheckpointError, match=r"of type [\w.]*Settings"):
        opened(origin, tmp_path / "w.pt", classes=table(tmp_path), size=(64, 96), **STATED, **names)
    with pytest.raises(DataError, match="there is no"):
        opened(origin, tmp_path / "nowhere")
