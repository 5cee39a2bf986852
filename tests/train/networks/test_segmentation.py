"""The network, its encoders and their weights, the losses, the teacher."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trocar.contract.errors import ConfigError, DataError
from trocar.contract.manifest import InputSpec
from trocar.train.losses import segmentation as losses
from trocar.train.networks.encoder_weights import make_encoder
from trocar.train.networks.mean_teacher_pair import StudentTeacher
from trocar.train.networks.segmentation import NetworkConfig, Segmenter

SPEC = InputSpec(height=64, width=80)
SMALL = NetworkConfig(encoder="tu-lcnet_050", decoder_channels=16, size=(64, 80))


def test_decoding_what_was_encoded_is_the_whole() -> None:
    torch.manual_seed(0)
    network = Segmenter(SMALL, classes=4, input=SPEC).eval()
    image = torch.rand(2, 3, 64, 80) * 255
    deep, skip = network.encode(image)
    assert deep.shape == (2, 16, 4, 5)
    assert skip.shape[2:] == (16, 20)
    assert torch.equal(network.decode((deep, skip)), network(image))
    assert network(image).shape == (2, 4, 64, 80)


def test_normalisation_is_inside() -> None:
    network = Segmenter(SMALL, classes=2, input=SPEC)
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mean = torch.tensor(SPEC.mean).mul(255).reshape(1, 3, 1, 1)
    network(mean.expand(2, 3, 64, 80).contiguous())
    assert seen[0].abs().max() < 1e-5


def test_frozen_batch_normalisation_keeps_its_statistics() -> None:
    frozen = replace(SMALL, batch_norm="frozen", decoder_norm="frozen")
    network = Segmenter(frozen, classes=2, input=SPEC).train()
    before = {n: b.clone() for n, b in network.named_buffers()}
    network(torch.rand(2, 3, 64, 80) * 255)
    assert all(torch.equal(before[n], b) for n, b in network.named_buffers())


@pytest.mark.parametrize(
    ("encoder", "word"),
    [("resnet81", "did you mean resnet18"), ("tu-fastvit_t8", "does not work with DeepLabV3")],
)
def test_encoders_that_do_not_serve_are_refused(encoder: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as stop:
        make_encoder(encoder, weights="none")
    assert "timm-mobilenetv3_small_100" in stop.value.remedy


def test_weights_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = make_encoder("tu-lcnet_050", weights="none")
    torch.save(one.state_dict(), tmp_path / "w.pth")
    plain = {n.removeprefix("model."): v for n, v in one.state_dict().items()}
    save_file(plain, tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        two = make_encoder("tu-lcnet_050", weights=str(tmp_path / name))
        assert all(torch.equal(v, two.state_dict()[n]) for n, v in one.state_dict().items()), name
    with pytest.raises(DataError, match="does not fit the encoder"):
        make_encoder("resnet18", weights=str(tmp_path / "w.pth"))
    with pytest.raises(DataError, match="there is no weights file"):
        make_encoder("resnet18", weights=str(tmp_path / "gone.pth"))
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(DataError, match="has no readable weights"):
        make_encoder("resnet18", weights=str(tmp_path / "bad.pth"))


def test_weights_that_cannot_be_had_are_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import segmentation_models_pytorch.encoders as encoders

    plain = encoders.get_encoder

    def no_route(*args: Any, weights: Any, **kwargs: Any) -> Any:
        if weights is not None:
            raise OSError("no route to the hub")
        return plain(*args, weights=weights, **kwargs)

    monkeypatch.setattr(encoders, "get_encoder", no_route)
    with pytest.raises(DataError, match="are not available: OSError: no route") as stop:
        make_encoder("resnet18", weights="imagenet")
    assert "--encoder-weights none" in stop.value.remedy


def test_sizes_are_checked() -> None:
    with pytest.raises(ConfigError, match="multiples of 16"):
        NetworkConfig(size=(100, 160))


def test_cross_entropy_is_by_image_and_leaves_ignored_pixels_out() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 5, 6)
    mask = torch.randint(0, 4, (3, 5, 6))
    mask[0, :3] = 255
    mask[1] = 255
    got = losses.cross_entropy(logits, mask)
    want = nn.functional.cross_entropy(logits[:1], mask[:1], ignore_index=255)
    assert got[0] == pytest.approx(float(want), rel=1e-5)
    assert got[1] == 0


def test_dice_by_hand() -> None:
    mask = torch.tensor([[[0, 0, 1, 1]]])
    logits = torch.tensor([[[[9.0, 9, -9, -9]], [[-9, -9, 9.0, 9]]]]) * 9
    assert losses.dice(logits, mask)[0] == pytest.approx(0, abs=1e-6)
    even = torch.zeros(1, 2, 1, 4)
    # Overlap 2 · ½, sizes 4 · ¼ + 2: (2 · 1 + 1) / (3 + 1).
    assert losses.dice(even, mask)[0] == pytest.approx(1 - 3 / 4)
    ignored = torch.tensor([[[0, 0, 1, 255]]])
    changed = logits.clone()
    changed[..., 3] *= -1
    assert torch.allclose(losses.dice(logits, ignored), losses.dice(changed, ignored))


def test_the_ramp() -> None:
    assert losses.ramp_up(0, 10) == pytest.approx(math.exp(-5))
    assert losses.ramp_up(5, 10) == pytest.approx(math.exp(-1.25))
    assert losses.ramp_up(10, 10) == losses.ramp_up(99, 10) == losses.ramp_up(0, 0) == 1


def test_the_teacher_averages_parameters_and_buffers() -> None:
    torch.manual_seed(0)
    pair = StudentTeacher(nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)))
    pair.train()
    assert pair.student.training
    assert not pair.teacher.training
    before = {n: v.clone() for n, v in pair.teacher.state_dict().items()}
    with torch.no_grad():
        pair.student[0].weight.add_(1)
    pair.student(torch.rand(4, 3, 5, 5) * 9)
    pair.update_ema(0.75)
    student = pair.student.state_dict()
    for name, value in pair.teacher.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value == student[name] == 1
        else:
            want = 0.75 * before[name] + 0.25 * student[name]
            assert torch.allclose(value, want), name
    assert not torch.allclose(before["1.running_mean"], pair.teacher[1].running_mean)
    pair.update_ema(0)
    assert all(torch.equal(v, student[n]) for n, v in pair.teacher.state_dict().items())


def test_the_teacher_judges_by_the_statistics_of_the_view_and_keeps_its_own() -> None:
    torch.manual_seed(0)
    pair = StudentTeacher(nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))).train()
    image = torch.rand(4, 3, 5, 5) * 9
    before = {n: v.clone() for n, v in pair.teacher.named_buffers() if "running" in n}
    judged = pair.teacher_probabilities([image])
    assert not pair.teacher[1].training
    assert pair.teacher[1].momentum == 0.1
    assert all(torch.equal(v, pair.teacher.get_buffer(n)) for n, v in before.items())
    assert torch.allclose(judged, pair.student(image).softmax(dim=1))
    assert not torch.allclose(judged, pair.teacher(image).softmax(dim=1), atol=0.05)


def test_a_frozen_teacher_judges_by_the_statistics_it_has() -> None:
    config = replace(SMALL, batch_norm="frozen", decoder_norm="frozen", dropout=0.0)
    pair = StudentTeacher(Segmenter(config, classes=2, input=SPEC)).train()
    image = torch.rand(2, 3, 64, 80) * 255
    assert torch.allclose(pair.teacher_probabilities([image]), pair.teacher(image).softmax(dim=1))


def test_monte_carlo_passes_differ_and_leave_the_teacher_as_it_was() -> None:
    torch.manual_seed(0)
    pair = StudentTeacher(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Dropout(0.5), nn.Conv2d(8, 2, 1)))
    image = torch.rand(1, 3, 4, 4)
    assert torch.equal(pair.teacher_probabilities([image]), pair.teacher_probabilities([image]))
    assert not torch.equal(
        pair.teacher_probabilities([image, image]), pair.teacher_probabilities([image, image])
    )
    assert not any(module.training for module in pair.teacher.modules())
