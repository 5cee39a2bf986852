"""Hugging Face transformers: tiny networks with random weights answer as in their own library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from source_cases import graph_scores, normalised, opened, own_scores, resized, shaken, table
from torch import nn

from trocar.contract.errors import ArgumentError, CheckpointError, ConfigError

transformers = pytest.importorskip("transformers", reason="pip install transformers")

CLOSE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-3}
LABELS = {0: "background", 1: "grasper", 2: "scissors"}
PROCESSOR = {
    "image_processor_type": "SegformerImageProcessor",
    "do_resize": True,
    "size": {"height": 64, "width": 96},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def segformer(**settings: Any) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16, **(settings or {"id2label": LABELS}),
    )  # fmt: skip
    return shaken(transformers.SegformerForSemanticSegmentation(config))


def upernet() -> nn.Module:
    backbone = transformers.ConvNextConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=16, pool_scales=[1, 2], auxiliary_in_channels=16,
        auxiliary_channels=8, id2label=LABELS,
    )  # fmt: skip
    return shaken(transformers.UperNetForSemanticSegmentation(config))


def dpt() -> nn.Module:
    config = transformers.DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=16,
        image_size=64, patch_size=16, id2label=LABELS,
    )  # fmt: skip
    return shaken(transformers.DPTForSemanticSegmentation(config))


def vit() -> nn.Module:
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=32, patch_size=8, id2label=LABELS,
    )  # fmt: skip
    return shaken(transformers.ViTForImageClassification(config))


def saved(network: nn.Module, folder: Path, **processor: Any) -> Path:
    network.save_pretrained(folder)
    values = {**PROCESSOR, **processor}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("make", [segformer, upernet, dpt, vit])
def test_the_graph_answers_as_the_library(make: Any, tmp_path: Path) -> None:
    network = make()
    side = {"dpt": (64, 64), "vit": (32, 32)}.get(make.__name__, (64, 96))
    saved(network, tmp_path / "m", size={"height": side[0], "width": side[1]})
    source = opened("hf", tmp_path / "m")
    manifest = source.external.manifest
    assert manifest.classes.names == tuple(LABELS.values())
    assert manifest.task == ("classification" if make is vit else "segmentation")
    wanted = own_scores(network, normalised(resized(*side)), lambda y: y.logits)
    np.testing.assert_allclose(graph_scores(source), wanted, **CLOSE)


def test_every_way_of_stating_the_normalisation(tmp_path: Path) -> None:
    network = segformer()
    image = resized(64, 96)
    cases: list[tuple[dict[str, Any], tuple[Any, Any]]] = [
        ({"do_normalize": False}, ((0, 0, 0), (1, 1, 1))),
        ({"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False},
         ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))),
        ({"do_rescale": False, "image_mean": [120, 110, 100], "image_std": [60, 50, 40]},
         ((120 / 255, 110 / 255, 100 / 255), (60 / 255, 50 / 255, 40 / 255))),
        ({"image_mean": 0.5, "image_std": [0.25, 0.25, 0.25]}, ((0.5,) * 3, (0.25,) * 3)),
    ]  # fmt: skip
    for processor, (mean, std) in cases:
        source = opened("hf", saved(network, tmp_path / "m", **processor))
        wanted = own_scores(network, normalised(image, mean, std), lambda y: y.logits)
        np.testing.assert_allclose(graph_scores(source), wanted, **CLOSE)
    source = opened("hf", saved(network, tmp_path / "m", do_flip_channel_order=True))
    assert source.external.spec.channels == "bgr"
    source = opened("hf", saved(network, tmp_path / "m", resample=3, do_reduce_labels=True))
    assert [n.split()[0] for n in source.notes] == ["the", "it"]


def test_what_the_folder_does_not_state_is_asked_for(tmp_path: Path) -> None:
    folder = saved(segformer(num_labels=3), tmp_path / "m", size={"shortest_edge": 512})
    with pytest.raises(ConfigError, match="the size of its input, the names of its classes") as e:
        opened("hf", folder)
    assert "--size WIDTHxHEIGHT, --classes FILE" in e.value.remedy
    opened("hf", folder, classes=table(tmp_path), size=(64, 64))
    with pytest.raises(ArgumentError, match=r"has 3 channels .* has 2 classes"):
        opened("hf", folder, classes=table(tmp_path, "a", "b"), size=(64, 64))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigError, match="its normalisation"):
        opened("hf", folder, classes=table(tmp_path))


def test_refused_networks_and_files(tmp_path: Path) -> None:
    folder = saved(segformer(), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())

    def change(**values: Any) -> None:
        (folder / "config.json").write_text(json.dumps({**config, **values}))

    change(architectures=["Mask2FormerForUniversalSegmentation"])
    with pytest.raises(ArgumentError, match="it returns masks of queries"):
        opened("hf", folder)
    change(auto_map={"AutoModel": "modeling.Evil"})
    with pytest.raises(ArgumentError, match="code of its own"):
        opened("hf", folder)
    change(architectures=["NewestForSemanticSegmentation"])
    with pytest.raises(ArgumentError, match="has no NewestForSemanticSegmentation"):
        opened("hf", folder)
    change(decoder_hidden_size=8)
    with pytest.raises(CheckpointError):
        opened("hf", folder)
    change()
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["decode_head.classifier.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights .* decode_head.classifier.weight"):
        opened("hf", folder)
    torch.save({"x": Settings()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"of type [\w.]*Settings"):
        opened("hf", folder)


class Settings:
    """A class of the trainer's own."""
