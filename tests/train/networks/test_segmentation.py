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

from trocar.contract.classes import ClassTable
from trocar.contract.config import from_mapping, to_mapping
from trocar.contract.errors import ConfigError, DataError
from trocar.contract.manifest import InputSpec, Manifest
from trocar.export.cpu_session import infer_on_cpu
from trocar.export.graph.from_torch import onnx_from_network
from trocar.export.reference import torch_reference
from trocar.train.losses import segmentation as losses
from trocar.train.methods.protocol import Progress
from trocar.train.networks.architectures import make_network
from trocar.train.networks.encoder_weights import make_encoder
from trocar.train.networks.mean_teacher_pair import StudentTeacher
from trocar.train.networks.segmentation import (
    NetworkConfig,
    Segmenter,
    finish_statistics,
    learns_statistics,
    reestimate_statistics,
)

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


def training_norms(network: nn.Module) -> set[str]:
    """Parts of the network with a BatchNorm that uses the statistics of the batch."""
    return {
        name.split(".")[0]
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.training
    }


@pytest.mark.parametrize(
    ("settings", "training"),
    [
        ({}, {"encoder", "aspp", "decoder"}),
        ({"batch_norm": "frozen"}, {"aspp", "decoder"}),
        ({"decoder_norm": "frozen"}, {"encoder"}),
        ({"decoder_norm": "group"}, {"encoder"}),
        ({"batch_norm": "frozen", "decoder_norm": "group"}, set()),
    ],
)
def test_encoder_and_decoder_are_normalised_apart(
    settings: dict[str, Any], training: set[str]
) -> None:
    config = replace(SMALL, **settings)
    for architecture in ("deeplabv3plus", "unet"):
        network = make_network(
            replace(config, architecture=architecture, size=(64, 96)), classes=2, input=SPEC
        ).train()
        expected = training if architecture == "deeplabv3plus" else training - {"aspp"}
        assert training_norms(network) == expected
        groups = [m for m in network.modules() if isinstance(m, nn.GroupNorm)]
        assert bool(groups) == (config.decoder_norm == "group")
    assert learns_statistics(config) == bool(training)


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ({}, ("train", "batch")),
        ({"encoder_weights": "imagenet"}, ("frozen", "group")),
        ({"encoder_weights": "mine.pth", "batch_norm": "train"}, ("train", "group")),
        ({"encoder_weights": "mine.pth", "decoder_norm": "batch"}, ("frozen", "batch")),
        ({"batch_norm": "frozen"}, ("frozen", "batch")),
    ],
)
def test_normalisation_is_chosen_by_the_start_of_the_encoder(
    settings: dict[str, Any], chosen: tuple[str, str]
) -> None:
    config = NetworkConfig(**settings)
    assert (config.batch_norm, config.decoder_norm) == chosen
    stored = {n: v for n, v in to_mapping(config).items() if n != "encoder_weights"}
    again = from_mapping(NetworkConfig, stored, source="a checkpoint")
    assert (again.batch_norm, again.decoder_norm) == chosen


def test_group_norm_and_no_pooling_branch_do_not_depend_on_the_batch() -> None:
    config = replace(
        SMALL, batch_norm="frozen", decoder_norm="group", pooling_branch=False, dropout=0.0
    )
    torch.manual_seed(0)
    network = Segmenter(config, classes=2, input=SPEC).train()
    image = torch.rand(3, 3, 64, 80) * 255
    torch.testing.assert_close(network(image)[:1], network(image[:1]), rtol=1e-4, atol=1e-5)
    plain = Segmenter(SMALL, classes=2, input=SPEC)
    assert any(isinstance(m, nn.AdaptiveAvgPool2d) for m in plain.aspp.modules())
    assert not any(isinstance(m, nn.AdaptiveAvgPool2d) for m in network.aspp.modules())


def test_a_network_of_other_norms_exports_and_matches() -> None:
    manifest = Manifest(
        name="m", task="segmentation", method="supervised",
        classes=ClassTable.from_names(["background", "a"]), input=SPEC,
    )  # fmt: skip
    torch.manual_seed(0)
    config = replace(SMALL, decoder_norm="group", pooling_branch=False)
    network = Segmenter(config, classes=2, input=SPEC)
    network(torch.rand(2, 3, 64, 80) * 255)
    content, complete = onnx_from_network(network.eval(), manifest)
    frames = (torch.rand(2, 64, 80, 3) * 255).to(torch.uint8).numpy()
    expected = torch_reference(network, complete)(frames)
    assert (infer_on_cpu(content)(frames)["labels"] == expected["labels"]).mean() > 0.999


def test_statistics_are_the_mean_of_the_batches_and_frozen_ones_stay() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.9), nn.BatchNorm2d(4)).eval()
    batches = [torch.rand(2, 3, 5, 5) * scale for scale in (1.0, 9.0, 3.0)]
    reestimate_statistics(network, batches)
    means = [network[0](batch).mean((0, 2, 3)) for batch in batches]
    torch.testing.assert_close(network[2].running_mean, torch.stack(means).mean(0).detach())
    assert network[2].momentum == 0.1
    assert not network.training
    frozen = Segmenter(replace(SMALL, batch_norm="frozen"), classes=2, input=SPEC)
    before = {n: b.clone() for n, b in frozen.encoder.named_buffers()}
    reestimate_statistics(frozen, [torch.rand(2, 3, 64, 80) * 255])
    assert all(torch.equal(before[n], b) for n, b in frozen.encoder.named_buffers())
    assert float(frozen.decoder.fuse[1].running_mean.abs().max()) > 0


def test_statistics_are_computed_again_after_the_last_step_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    asked: list[int] = []

    class Source:
        def __len__(self) -> int:
            return 1

        def batch(self, step: int) -> dict[str, Any]:
            asked.append(step)
            return {"image": torch.rand(2, 3, 4, 4)}

    for step, batches in ((8, 2), (9, 0), (9, 2)):
        finish_statistics(network, Source(), Progress(step, 10), batches=batches)
    assert asked == [10, 11]
