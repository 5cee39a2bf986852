"""What each method's source demands, element by element, beyond the shared exam."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.feature import graycomatrix

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.config import from_mapping
from trocar.contract.errors import ConfigError
from trocar.contract.manifest import InputSpec
from trocar.train.losses.supervision_and_texture import ANGLES, texture_difference
from trocar.train.methods import cross_consistency as cc
from trocar.train.methods import find_method
from trocar.train.methods import mean_teacher as mt
from trocar.train.methods.protocol import ModelSpec, Progress

TABLE = ClassTable.from_names(["background", "a", "b"])
SPEC = ModelSpec(name="m", classes=TABLE, input=InputSpec(height=64, width=80))
MIDDLE = Progress(60, 100, 6, 10)


def config_of(name: str, **values: Any) -> Any:
    kind = find_method(name).Config
    return from_mapping(kind, values, source="test")


def entropy_by_skimage(labels: np.ndarray) -> float:
    angles = [math.radians(angle) for angle in ANGLES]
    found = graycomatrix(labels, [1], angles, levels=4, symmetric=True, normed=True)[:, :, 0]
    return float(np.mean([-(p[p > 0] * np.log(p[p > 0])).sum() for p in found.transpose(2, 0, 1)]))


def logits_of(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return 20 * torch.nn.functional.one_hot(labels, classes).permute(0, 3, 1, 2).float()


# Texture entropy


def test_the_texture_difference_is_that_of_the_grey_level_entropies() -> None:
    rng = np.random.default_rng(0)
    predicted, truth = rng.integers(0, 4, (2, 3, 9, 11)).astype(np.uint8)
    truth[:, :5] = 1
    table = ClassTable.from_names(["n0", "n1", "n2", "n3"])
    got = texture_difference(
        logits_of(torch.from_numpy(predicted).long(), 4),
        torch.from_numpy(truth).long(),
        table,
        mode="straight_through",
    )
    want = [
        abs(entropy_by_skimage(a) - entropy_by_skimage(b))
        for a, b in zip(predicted, truth, strict=True)
    ]
    assert got.tolist() == pytest.approx(want, abs=1e-5)
    assert min(want) > 0.05


def test_classes_of_one_grey_value_are_one_texture() -> None:
    rows = tuple(
        ClassRow(id=i, name=f"n{i}", colour=(0, 0, 0), grey=g) for i, g in enumerate((0, 90, 90))
    )
    mask = torch.randint(0, 3, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    swapped = torch.where(mask == 1, 2, torch.where(mask == 2, 1, mask))
    swapped[:, ::2] = mask[:, ::2]
    merged = texture_difference(logits_of(swapped, 3), mask, ClassTable(rows), mode="soft")
    apart = texture_difference(logits_of(swapped, 3), mask, TABLE, mode="soft")
    assert merged.abs().max() < 1e-4
    assert apart.abs().max() > 1e-3


def test_ignored_pixels_are_left_out_of_both_entropies() -> None:
    mask = torch.randint(0, 3, (1, 16, 16), generator=torch.Generator().manual_seed(0))
    mask[:, :, 8:] = 255
    guess = mask.clone()
    guess[:, :, 8:] = torch.randint(0, 3, (1, 16, 8))
    assert texture_difference(logits_of(guess, 3), mask, TABLE, mode="straight_through") < 1e-5
    nothing = torch.full((1, 16, 16), 255)
    logits = torch.randn(1, 3, 16, 16, requires_grad=True)
    empty = texture_difference(logits, nothing, TABLE, mode="straight_through")
    assert empty.item() == 0


def test_the_loss_is_the_weighted_sum(make_method: Callable[..., Any]) -> None:
    batch = {
        "labelled": {
            "image": torch.rand(2, 3, 64, 80) * 255,
            "mask": torch.randint(0, 3, (2, 64, 80)),
        }
    }
    values = {}
    for weights in ((1.0, 1.0), (0.5, 3.0)):
        method = make_method("texture-entropy", w_texture=weights[0], w_label=weights[1])
        torch.manual_seed(0)
        method.build(SPEC)
        torch.manual_seed(1)
        values[weights] = {k: float(v.detach()) for k, v in method.losses(batch, MIDDLE).items()}
    plain, weighted = values.values()
    assert weighted == pytest.approx({"texture": plain["texture"] / 2, "label": 3 * plain["label"]})
    logged = float(method.logged["texture_normalised"])
    assert logged == pytest.approx(plain["texture"] / (2 * math.log(3)))


def test_texture_begins_where_it_is_asked_to(make_method: Callable[..., Any]) -> None:
    method = make_method("texture-entropy", texture_from=0.5)
    method.build(SPEC)
    batch = {
        "labelled": {"image": torch.zeros(2, 3, 64, 80), "mask": torch.zeros(2, 64, 80).long()}
    }
    early = method.losses(batch, Progress(step=49, total_steps=100))
    later = method.losses(batch, Progress(step=50, total_steps=100))
    assert set(early) == {"label"}
    assert set(later) == {"label", "texture"}


@pytest.mark.parametrize("weights", [{"w_label": 0}, {"w_texture": 0}])
def test_texture_without_one_of_its_terms_is_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be above 0"):
        config_of("texture-entropy", **weights)


# Mean teacher


@pytest.fixture
def teacher(make_method: Callable[..., Any]) -> mt.MeanTeacher:
    torch.manual_seed(0)
    method = make_method("mean-teacher", w_consistency=10.0)
    method.build(SPEC).train()
    return method


def adaptation_batch() -> dict[str, Any]:
    torch.manual_seed(4)
    return {
        "source": {
            "image": torch.rand(2, 3, 64, 80) * 255,
            "mask": torch.randint(0, 3, (2, 64, 80)),
        },
        "target": {"image": torch.rand(2, 3, 64, 80) * 100},
    }


def test_student_and_teacher_see_differently_noised_views_of_one_target(
    teacher: mt.MeanTeacher,
) -> None:
    seen: dict[str, list[torch.Tensor]] = {"student": [], "teacher": []}
    for name in seen:
        getattr(teacher.pair, name).register_forward_pre_hook(
            lambda _, inputs, name=name: seen[name].append(inputs[0])
        )
    batch = adaptation_batch()
    twin = copy.deepcopy(teacher.pair.student).train()
    teacher.losses(batch, MIDDLE)
    target = batch["target"]["image"]
    styled, clean, first = seen["student"]
    (second,) = seen["teacher"]
    assert torch.equal(clean, target)
    for view in (first, second):
        noise = (view - target) / 255
        assert noise.abs().max() <= 0.2 + 1e-6
        # A normal distribution cut off at two deviations.
        assert float(noise.std()) == pytest.approx(0.1 * 0.96, rel=0.03)
    assert not torch.allclose(first, second)
    assert torch.allclose(styled, teacher.style(batch["source"]["image"], target))
    assert not torch.allclose(styled, batch["source"]["image"])
    twin(styled), twin(clean)  # running statistics are those of clean images
    kept = dict(teacher.pair.student.encoder.named_buffers())
    for name, value in twin.encoder.named_buffers():
        assert torch.equal(value, kept[name]) or "running" not in name, name


def test_reliability_is_the_teachers_certainty(teacher: mt.MeanTeacher) -> None:
    sure, torn = torch.tensor([0.98, 0.01, 0.01]), torch.full((3,), 1 / 3)
    p = torch.stack([sure, torn], dim=1).reshape(1, 3, 1, 2)
    doubt = mt.uncertainty(p)[0, 0]
    assert doubt.tolist() == pytest.approx([0.1119, math.log(3)], abs=1e-3)
    assert teacher.reliability(p, MIDDLE)[0, 0].tolist() == [1, 0]
    soft = mt.MeanTeacher(config_of("mean-teacher", reliability="soft"))
    assert soft.reliability(p, MIDDLE)[0, 0].tolist() == pytest.approx(
        [math.exp(-0.1119), 1 / 3], abs=1e-3
    )


def test_threshold_and_weight_follow_the_step(teacher: mt.MeanTeacher) -> None:
    start, end = Progress(0, 100), Progress(100, 100)
    assert teacher.threshold(end) == pytest.approx(math.log(3))
    assert teacher.threshold(start) == pytest.approx((0.75 + 0.25 * math.exp(-5)) * math.log(3))
    assert teacher.consistency_weight(start) == pytest.approx(10 * math.exp(-5))
    assert teacher.consistency_weight(Progress(20, 100)) == pytest.approx(10 * math.exp(-1.25))
    assert teacher.consistency_weight(Progress(40, 100)) == teacher.consistency_weight(end) == 10


def test_consistency_by_hand() -> None:
    student = torch.tensor([0.6, 0.4, 0.5, 0.5]).reshape(1, 2, 1, 2)
    teacher = torch.tensor([0.2, 0.9, 0.8, 0.1]).reshape(1, 2, 1, 2)
    # Pixels: ‖(.6,.5)-(.2,.8)‖² = .25 and ‖(.4,.5)-(.9,.1)‖² = .41.
    one = mt.consistency(student, teacher, torch.tensor([[[1.0, 0.0]]]))
    both = mt.consistency(student, teacher, torch.tensor([[[1.0, 0.5]]]))
    assert float(one) == pytest.approx(0.25 / 2)
    assert float(both) == pytest.approx((0.25 + 0.5 * 0.41) / (2 * 1.5))
    assert float(mt.consistency(student, teacher, torch.zeros(1, 1, 2))) == 0


def test_the_teacher_follows_the_updated_student_and_is_deployed(
    teacher: mt.MeanTeacher,
) -> None:
    with torch.no_grad():
        for value in teacher.pair.student.parameters():
            value.add_(1)
    teacher.after_step(Progress(0, 100))
    own, other = teacher.pair.teacher.state_dict(), teacher.pair.student.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in own.items())
    before = teacher.pair.teacher.decoder.head.bias.clone()
    with torch.no_grad():
        teacher.pair.student.decoder.head.bias.add_(1)
    teacher.after_step(Progress(4, 100))  # α = min(1 − 1/5, 0.99)
    assert torch.allclose(teacher.pair.teacher.decoder.head.bias, before + 0.2)
    assert teacher.deployable()[0] is teacher.pair.teacher


def test_the_teacher_of_a_short_run_averages_over_a_twentieth_of_it(
    teacher: mt.MeanTeacher,
) -> None:
    assert teacher.ema_decay(Progress(150, 200)) == pytest.approx(1 - 1 / 10)
    assert teacher.ema_decay(Progress(4, 200)) == pytest.approx(1 - 1 / 5)
    assert teacher.ema_decay(Progress(3999, 4000)) == 0.99
    assert teacher.ema_decay(Progress(5, 6)) == 0


def test_monte_carlo_passes_are_several_views(make_method: Callable[..., Any]) -> None:
    method = make_method("mean-teacher", mc_passes=3, dropout=0.2)
    method.build(SPEC).train()
    calls = []
    method.pair.teacher.register_forward_hook(lambda *_: calls.append(1))
    method.losses(adaptation_batch(), MIDDLE)
    assert len(calls) == 3
    with pytest.raises(ConfigError, match="need dropout above 0"):
        config_of("mean-teacher", mc_passes=2, dropout=0.0)


def test_frames_transferred_beforehand_serve_as_style(
    tmp_path: Path,
    toy: Any,
    make_method: Callable[..., Any],
    open_toy: Callable[..., Any],
    make_run: Callable[..., Any],
) -> None:
    import cv2

    for file in (toy.data / "images").iterdir():
        cv2.imwrite(str(tmp_path / file.name), np.full((72, 90, 3), 77, np.uint8))
    method = make_method("mean-teacher", style_folder=tmp_path)
    source = method.streams(open_toy(method, make_run()))["source"].batch(0)
    assert source["image"].std() < 40
    assert set(np.unique(source["mask"].numpy())) >= {0, 1, 2}
    gone = make_method("mean-teacher", style_folder=tmp_path / "gone")  # touches no disk
    with pytest.raises(ConfigError, match="there is no folder"):
        gone.streams(open_toy(gone, make_run()))
    with pytest.raises(ConfigError, match="did you mean fourier"):
        make_method("mean-teacher", style="furier")


@pytest.mark.parametrize("values", [{"w_consistency": 0}, {"noise": 0}, {"w_ce": 0, "w_dice": 0}])
def test_mean_teacher_without_one_of_its_elements_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        config_of("mean-teacher", **values)


# Cross-consistency


def consistency_batch() -> dict[str, Any]:
    torch.manual_seed(6)
    return {
        "labelled": {
            "image": torch.rand(2, 3, 64, 80) * 255,
            "mask": torch.randint(0, 3, (2, 64, 80)),
        },
        "unlabelled": {"image": torch.rand(2, 3, 64, 80) * 255},
    }


def consistent(make_method: Callable[..., Any], **values: Any) -> cc.CrossConsistency:
    torch.manual_seed(0)
    method: cc.CrossConsistency = make_method("cross-consistency", **values)
    method.build(SPEC).train()
    return method


def test_labelled_frames_come_first_and_the_weight_counts_from_there(
    make_method: Callable[..., Any],
) -> None:
    method = consistent(make_method, supervised_fraction=0.2, w_consistency=30.0)
    assert set(method.losses(consistency_batch(), Progress(19, 100))) == {"ce"}
    assert set(method.losses(consistency_batch(), Progress(20, 100))) == {"ce", "consistency"}
    assert method.consistency_weight(Progress(20, 100)) == pytest.approx(30 * math.exp(-5))
    assert method.consistency_weight(Progress(25, 100)) == pytest.approx(30 * math.exp(-1.25))
    assert method.consistency_weight(Progress(30, 100)) == 30


def test_the_first_loss_is_the_mse_over_decoders_and_images(
    make_method: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cc, "PERTURBATIONS", {"f-noise": lambda f, m: f, "vat": lambda f, m: f})
    method = consistent(make_method, perturbations="f-noise,vat", batch_norm="frozen", dropout=0)
    method.decoders.eval()
    features = method.decoders.main.encode(consistency_batch()["unlabelled"]["image"])
    logits = method.decoders.main.decode(features)
    p = logits.softmax(dim=1)
    others = [decoder(features).softmax(dim=1) for decoder in method.decoders.auxiliary]
    want = torch.stack([(o - p).square().mean(dim=(1, 2, 3)) for o in others]).mean(dim=0)
    assert torch.allclose(method.decoders.consistency_mse(features, logits), want)


def test_labelled_frames_share_no_batch_statistics_with_unlabelled_ones(
    make_method: Callable[..., Any],
) -> None:
    batch = consistency_batch()
    losses = []
    for shift in (0.0, 90.0):
        method = consistent(make_method)
        batch["unlabelled"] = {"image": (batch["unlabelled"]["image"] + shift).clamp(0, 255)}
        losses.append(method.losses(batch, MIDDLE))
    assert torch.equal(losses[0]["ce"], losses[1]["ce"])
    assert not torch.equal(losses[0]["consistency"], losses[1]["consistency"])


def test_auxiliary_decoders_begin_as_copies_of_the_trained_main_one(
    make_method: Callable[..., Any],
) -> None:
    method = consistent(make_method, supervised_fraction=0.2)
    main, others = method.decoders.main.decoder, method.decoders.auxiliary
    with torch.no_grad():
        for value in main.parameters():
            value.add_(1)
    method.after_step(Progress(18, 100))
    assert not any(torch.equal(o.head.bias, main.head.bias) for o in others)
    method.after_step(Progress(19, 100))  # the last step of labelled pre-training
    for other in others:
        assert all(torch.equal(v, main.state_dict()[n]) for n, v in other.state_dict().items())
    with torch.no_grad():
        main.head.bias.add_(1)
    method.after_step(Progress(20, 100))
    assert not any(torch.equal(o.head.bias, main.head.bias) for o in others)


@pytest.mark.parametrize(("on", "passes"), [("all", 2), ("unlabelled", 1)])
def test_which_images_are_made_consistent(
    make_method: Callable[..., Any], on: str, passes: int
) -> None:
    method = consistent(make_method, consistency_on=on)
    counts = []
    for decoder in method.decoders.auxiliary:
        decoder.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0][0])))
    method.losses(consistency_batch(), MIDDLE)
    assert counts == [2] * 7 * passes  # images of a pass


def test_the_consistency_trains_encoder_and_auxiliaries_not_the_main_decoder(
    make_method: Callable[..., Any],
) -> None:
    method = consistent(make_method)
    method.losses(consistency_batch(), MIDDLE)["consistency"].backward()
    main = method.decoders.main
    assert all(p.grad is None for p in main.decoder.parameters())
    assert sum(float(p.grad.abs().sum()) for p in main.encoder.parameters()) > 0
    for decoder in method.decoders.auxiliary:
        assert sum(float(p.grad.abs().sum()) for p in decoder.parameters()) > 0


def test_decoders_by_flag_and_none_of_them_deployed(make_method: Callable[..., Any]) -> None:
    method = consistent(make_method, perturbations="f-noise,f-noise,vat")
    assert len(method.decoders.auxiliary) == 3
    network, _ = method.deployable()
    supervised = make_method("supervised")
    plain = supervised.build(SPEC)
    assert network.state_dict().keys() == plain.state_dict().keys()
    with pytest.raises(ConfigError, match="did you mean f-noise"):
        config_of("cross-consistency", perturbations=["f-nose"])
    with pytest.raises(ConfigError, match="perturbations is empty"):
        config_of("cross-consistency", perturbations=[])


def test_a_blind_auxiliary_decoder_never_sees_the_skip(make_method: Callable[..., Any]) -> None:
    method = consistent(make_method, aux_skip="none")
    seen = []
    for decoder in method.decoders.auxiliary:
        decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][1].abs().sum()))
    method.losses(consistency_batch(), MIDDLE)
    assert len(seen) == 14  # unlabelled and labelled images
    assert all(float(value) == 0 for value in seen)
