"""Every architecture behind one seam: encode, decode, class rows, sizes, consistency."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from trocar.contract.classes import ClassTable
from trocar.contract.config import from_mapping
from trocar.contract.errors import ConfigError
from trocar.contract.manifest import InputSpec
from trocar.train.methods import find_method
from trocar.train.methods.protocol import ModelSpec
from trocar.train.networks.architectures import architecture_names, make_network
from trocar.train.networks.segmentation import NetworkConfig, Segmenter

SPEC = InputSpec(height=64, width=96)
SMALL = NetworkConfig(encoder="tu-lcnet_050", decoder_channels=16, size=(64, 96))
VIT = "tu-vit_tiny_patch16_224"


def test_the_names_are_those_of_the_library() -> None:
    import segmentation_models_pytorch as smp

    names = architecture_names()
    assert names[0] == "deeplabv3plus"
    assert sorted(names) == sorted(smp.MODEL_ARCHITECTURES_MAPPING)


def test_the_default_is_the_network_of_before() -> None:
    assert type(make_network(SMALL, classes=3, input=SPEC)) is Segmenter


@pytest.mark.parametrize(
    ("architecture", "encoder", "stages"),
    [
        ("unet", "tu-lcnet_050", 5),
        ("fpn", "tu-lcnet_050", 5),
        ("segformer", "mit_b0", 4),
        ("dpt", VIT, 4),
    ],
)
def test_decoding_what_was_encoded_is_the_whole(
    architecture: str, encoder: str, stages: int
) -> None:
    config = replace(SMALL, architecture=architecture, encoder=encoder)
    network = make_network(config, classes=4, input=SPEC).eval()
    image = torch.rand(2, 3, 64, 96) * 255
    features = network.encode(image)
    assert len(features) == stages
    assert features[0].shape[2] <= features[-1].shape[2]
    assert torch.equal(network.decode(features), network(image))
    assert network(image).shape == (2, 4, 64, 96)
    state = network.state_dict()
    assert [len(state[name]) for name in network.class_rows] == [4, 4]


def test_dropout_acts_on_the_deepest_features_and_can_be_frozen_out() -> None:
    network = make_network(replace(SMALL, architecture="unet", dropout=0.5), classes=2, input=SPEC)
    image = torch.rand(2, 3, 64, 96) * 255
    network.train()
    torch.manual_seed(0)
    deep = network.encode(image)[0]
    assert 0.3 < float((deep == 0).float().mean()) < 0.9
    frozen = make_network(
        replace(SMALL, architecture="unet", batch_norm="frozen", decoder_norm="frozen"),
        classes=2,
        input=SPEC,
    ).train()
    norms = [m for m in frozen.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(m.training for m in norms)


def test_widths_of_the_decoder_follow_one_setting() -> None:
    def parameters(channels: int) -> int:
        config = replace(SMALL, architecture="unet", decoder_channels=channels)
        network = make_network(config, classes=2, input=SPEC)
        return sum(p.numel() for p in network.decoder.parameters())

    import segmentation_models_pytorch as smp

    published = smp.Unet("tu-lcnet_050", encoder_weights=None, classes=2)
    assert parameters(128) == sum(
        p.numel()
        for half in (published.decoder, published.segmentation_head)
        for p in half.parameters()
    )
    assert parameters(16) < parameters(128)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"architecture": "unett"}, "did you mean unet"),
        ({"architecture": "unet", "size": (64, 80)}, "expected multiples of 32 for unet"),
        ({"architecture": "pan", "size": (64, 96)}, "pan with tu-lcnet_050 does not work at 96x64"),
        ({"architecture": "dpt"}, "does not fit the architecture dpt"),
        ({"architecture": "unet", "encoder": VIT}, "does not fit the architecture unet"),
        ({"architecture": "unet", "encoder": "resnet81"}, "does not fit the architecture unet"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        make_network(replace(SMALL, **given), classes=2, input=SPEC)
    assert caught.value.remedy


@pytest.mark.parametrize("architecture", ["unet", "segformer"])
def test_cross_consistency_perturbs_the_features_of_any_architecture(architecture: str) -> None:
    kind = find_method("cross-consistency")
    settings = {
        **{"architecture": architecture, "encoder": "tu-lcnet_050", "decoder_channels": 16},
        **{"size": (64, 96), "supervised_fraction": 0.0},
    }
    method = kind(from_mapping(kind.Config, settings, source="test"))
    classes = ClassTable.from_names(["background", "grasper"])
    built = method.build(ModelSpec(name="n", classes=classes, input=SPEC))
    torch.manual_seed(0)
    features = built.main.encode(torch.rand(2, 3, 64, 96) * 255)
    error = built.consistency_mse(features, built.main.decode(features))
    assert error.shape == (2,)
    assert (error > 0).all()
    error.mean().backward()
    assert all(p.grad is not None for p in built.auxiliary[0].decoder.parameters())
