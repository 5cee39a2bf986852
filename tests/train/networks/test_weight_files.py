"""Published weight files: containers, prefixes, other names; what does not fit is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn

from trocar.contract.errors import ConfigError, DataError
from trocar.train.networks.encoder_weights import load_encoder
from trocar.train.networks.weight_files import load_matching

CONVNEXT = "tu-convnext_atto"


def encoder(name: str) -> nn.Module:
    return get_encoder(name, in_channels=3, depth=5, weights=None)


def random_state(model: nn.Module) -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {
        key: torch.randn_like(value) if value.is_floating_point() else value.clone()
        for key, value in model.state_dict().items()
    }


def plain_convnext() -> dict[str, Tensor]:
    return random_state(timm.create_model("convnext_atto"))


def torchvision_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's ConvNeXt under the names of torchvision, written down independently."""
    inner = {"conv_dw": "0", "norm": "2", "mlp.fc1": "3", "mlp.fc2": "5"}
    found = {}
    for key, value in state.items():
        if match := re.match(r"stages\.(\d)\.blocks\.(\d+)\.(.+)", key):
            number, block, rest = 2 * int(match[1]) + 1, match[2], match[3]
            if rest == "gamma":
                found[f"features.{number}.{block}.layer_scale"] = value.reshape(-1, 1, 1)
                continue
            name, kind = rest.rsplit(".", 1)
            if "mlp" in name and kind == "weight":  # torchvision has linear layers
                value = value.reshape(value.shape[0], value.shape[1])
            found[f"features.{number}.{block}.block.{inner[name]}.{kind}"] = value
        elif match := re.match(r"stages\.(\d)\.downsample\.(\d)\.(.+)", key):
            found[f"features.{2 * int(match[1])}.{match[2]}.{match[3]}"] = value
        elif match := re.match(r"stem\.(\d)\.(.+)", key):
            found[f"features.0.{match[1]}.{match[2]}"] = value
    return found


def assert_loaded(network: nn.Module, plain: dict[str, Tensor]) -> None:
    wanted = {key.replace(".", "_"): value for key, value in plain.items()}
    for key, value in network.state_dict().items():
        flat = key.removeprefix("model.").replace(".", "_")
        assert torch.equal(value.flatten(), wanted[flat].flatten()), key


@pytest.mark.parametrize(
    ("container", "prefix"),
    [("", ""), ("state_dict", "model."), ("teacher", "backbone."), ("model", "module.backbone.")],
)
def test_a_file_of_timm_loads_into_an_encoder(tmp_path: Path, container: str, prefix: str) -> None:
    plain = plain_convnext()
    content = {prefix + key: value for key, value in plain.items()}
    path = tmp_path / "w.pth"
    torch.save({container: content, "epoch": 3} if container else content, path)
    network = encoder(CONVNEXT)
    note = load_matching(network, path, name=CONVNEXT)
    total = len(network.state_dict())
    assert f"{total} of {total} tensors of {CONVNEXT} come from w.pth" in note
    # timm removes the prefix "model." itself.
    assert (repr(prefix) in note) == (prefix not in ("", "model."))
    assert (repr(container) in note) == bool(container)
    assert_loaded(network, plain)


def test_torchvision_names_of_convnext_load(tmp_path: Path) -> None:
    plain = plain_convnext()
    # timm's small ConvNeXts have convolutions of one pixel where torchvision has linear layers.
    linear = timm.create_model("convnext_atto", conv_mlp=False)
    assert linear.state_dict().keys() == plain.keys()
    save_file(
        {key: value.contiguous() for key, value in torchvision_names(plain).items()},
        tmp_path / "w.safetensors",
    )
    network = encoder(CONVNEXT)
    note = load_matching(network, tmp_path / "w.safetensors", name=CONVNEXT)
    assert "torchvision's names" in note
    assert_loaded(network, plain)


def test_star_relu_is_noticed_and_can_be_replaced(tmp_path: Path) -> None:
    """SurgeNet's CAFormer has ReLU where timm has StarReLU: most tensors fit, the network not."""
    name = "tu-poolformerv2_s12"
    network = encoder(name)
    stars = [n for n, m in network.named_modules() if type(m).__name__ == "StarReLU"]
    plain = {
        key: value
        for key, value in random_state(network).items()
        if key.rpartition(".")[0] not in stars
    }
    assert 0.5 < len(plain) / len(network.state_dict()) < 0.99
    torch.save(plain, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"missing are model\..*\.act.*\.scale") as caught:
        load_encoder(network, name=name, weights=str(tmp_path / "w.pth"))
    assert f"--encoder {name}+relu" in str(caught.value.remedy)
    load_encoder(network, name=f"{name}+relu", weights=str(tmp_path / "w.pth"))
    assert not any(type(m).__name__ == "StarReLU" for m in network.modules())
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in plain.items())
    with pytest.raises(ConfigError, match="has no StarReLU"):
        load_encoder(encoder("tu-lcnet_050"), name="tu-lcnet_050+relu", weights="none")


def test_a_file_that_nearly_fits_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    network = encoder("tu-lcnet_050")
    state = random_state(network)
    for key in list(state)[-4:]:
        del state[key]
    torch.save(state, tmp_path / "w.pth")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(DataError, match=r"missing are model\.blocks"):
        load_matching(network, tmp_path / "w.pth", name="tu-lcnet_050")
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "ran").touch, ())

    torch.save({"state_dict": Evil()}, tmp_path / "w.pth")
    with pytest.raises(DataError, match="has no readable weights"):
        load_matching(encoder("tu-lcnet_050"), tmp_path / "w.pth", name="tu-lcnet_050")
    assert not (tmp_path / "ran").exists()
