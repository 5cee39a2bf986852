"""The mean teacher: what its source demands, and its losses against the formulas."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import method_formulas as formulas
import numpy as np
import pytest
import torch
from method_subjects import SPEC, config_of, labelled_images, method_of, run_config

from trocar.contract.errors import ConfigError
from trocar.train.loop import train
from trocar.train.methods import mean_teacher as mt
from trocar.train.methods.protocol import Progress
from trocar.train.networks.mean_teacher_pair import StudentTeacher
from trocar.train.state.checkpoint import read_checkpoint
from trocar.train.state.job import Job

MIDDLE = Progress(60, 100, 6, 10)
EARLY = Progress(30, 100, 3, 10)


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
    everywhere = torch.ones(1, 1, 2)
    assert teacher.reliability(p, MIDDLE, everywhere)[0, 0].tolist() == [1, 0]
    soft = mt.MeanTeacher(config_of("mean-teacher", reliability="soft"))
    assert soft.reliability(p, MIDDLE, everywhere)[0, 0].tolist() == pytest.approx(
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


def outputs_of(method: mt.MeanTeacher) -> dict[str, list[torch.Tensor]]:
    """Logits of every pass of student and teacher from now on."""
    made: dict[str, list[torch.Tensor]] = {"student": [], "teacher": []}
    for name, logits in made.items():
        getattr(method.pair, name).register_forward_hook(
            lambda *arguments, logits=logits: logits.append(arguments[2].detach())
        )
    return made


@pytest.mark.parametrize("reliability", ["hard", "soft"])
def test_the_losses_are_those_of_the_formulas(
    make_method: Callable[..., Any], reliability: str
) -> None:
    method = make_method(
        "mean-teacher", w_ce=0.7, w_dice=1.3, w_texture=0.4, texture_distance=2,
        texture_from=0.2, w_consistency=3.0, rampup_fraction=0.5, reliability=reliability,
    )  # fmt: skip
    torch.manual_seed(0)
    method.build(SPEC).train()
    with torch.no_grad():
        # Sure of some pixels and unsure of others, unlike the student.
        method.pair.teacher.decoder.head.weight.mul_(5)
    made = outputs_of(method)
    batch = {**adaptation_batch(), "source": labelled_images()}
    outside = torch.zeros(2, 64, 80, dtype=torch.int64)
    outside[0, 40:] = outside[1, :, :30] = 255
    batch["target"]["outside"] = outside
    terms = method.losses(batch, EARLY)
    styled, _, noised = [m.numpy() for m in made["student"]]
    (view,) = [m.numpy() for m in made["teacher"]]
    student, teacher = formulas.softmax(noised), formulas.softmax(view)
    doubt = formulas.uncertainty(teacher)
    threshold = (0.75 + 0.25 * formulas.ramp(30, 100)) * math.log(3)
    counted = (doubt < threshold).astype(float) if reliability == "hard" else np.exp(-doubt)
    assert 0.05 < counted.mean() < 0.95
    counted = counted * (outside.numpy() == 0)
    expected = 3.0 * formulas.ramp(30, 50) * formulas.teacher_consistency(student, teacher, counted)
    assert float(terms["consistency"].detach()) == pytest.approx(expected, rel=1e-3)
    mask = batch["source"]["mask"].numpy()
    texture = formulas.texture_difference(styled, mask, distance=2).mean()
    for name, value in (
        ("ce", 0.7 * formulas.cross_entropy(styled, mask).mean()),
        ("dice", 1.3 * formulas.dice(styled, mask).mean()),
        ("texture", 0.4 * texture),
    ):
        assert float(terms[name].detach()) == pytest.approx(value, rel=1e-3), name


def test_reliability_comes_from_the_teacher_and_silences_the_consistency(
    teacher: mt.MeanTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = outputs_of(teacher)
    given = []

    def nothing(probability: torch.Tensor, *others: Any) -> torch.Tensor:
        given.append(probability)
        return torch.zeros_like(probability[:, 0])

    monkeypatch.setattr(teacher, "reliability", nothing)
    terms = teacher.losses(adaptation_batch(), MIDDLE)
    assert float(terms["consistency"].detach()) == 0
    assert float(terms["ce"].detach()) > 0
    torch.testing.assert_close(given[0], made["teacher"][0].softmax(dim=1))


def test_each_stop_of_the_gradient_stops_it_alone() -> None:
    torch.manual_seed(0)
    student, view = (torch.rand(1, 3, 4, 4, requires_grad=True) for _ in range(2))
    reliability = torch.rand(1, 4, 4, requires_grad=True)
    mt.consistency(student, view, reliability).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert view.grad is None
    assert reliability.grad is None
    pair = StudentTeacher(torch.nn.Conv2d(3, 2, 1))
    assert not any(p.requires_grad for p in pair.teacher.parameters())
    pair.teacher.requires_grad_(True)
    assert not pair.teacher_probabilities([torch.rand(1, 3, 4, 4)]).requires_grad


def test_several_passes_are_averaged() -> None:
    torch.manual_seed(0)
    pair = StudentTeacher(torch.nn.Conv2d(3, 2, 1))
    views = [torch.rand(1, 3, 4, 4) for _ in range(3)]
    expected = torch.stack([pair.teacher(view).softmax(dim=1) for view in views]).mean(dim=0)
    torch.testing.assert_close(pair.teacher_probabilities(views), expected.detach())


def test_the_teacher_takes_over_the_student_after_the_optimisers_step(
    open_sets: Callable[..., Any], tmp_path: Path
) -> None:
    method, run = method_of("mean-teacher"), run_config(steps=1)
    train(Job(method=method, run=run, data=open_sets(method, run), name="x", out=tmp_path / "run"))
    weights = read_checkpoint(tmp_path / "run" / "last.ckpt").weights
    # At the first step the teacher keeps nothing of itself.
    for name in [name for name in weights if name.startswith("teacher.")]:
        assert torch.equal(weights[name], weights[name.replace("teacher.", "student.")]), name


def test_the_most_certain_share_of_the_pixels_of_all_classes_or_of_each() -> None:
    torch.manual_seed(2)
    logits = torch.randn(2, 3, 8, 10) * 3
    logits[:, 0] += 4  # background, which a teacher is surest of
    probability = logits.softmax(dim=1)
    doubt, seen = mt.uncertainty(probability), probability.argmax(dim=1)
    inside = torch.ones(2, 8, 10)
    inside[0, :3] = inside[1, :, 6:] = 0
    chosen = {}
    for kind in ("top", "top-per-class"):
        config = config_of("mean-teacher", reliability=kind, reliable_share=0.4)
        chosen[kind] = mt.MeanTeacher(config).reliability(probability, MIDDLE, inside)
        assert not (chosen[kind] * (1 - inside)).any()
    for image in range(2):
        where = inside[image] > 0
        counted = chosen["top"][image][where] > 0
        assert int(counted.sum()) == math.ceil(0.4 * int(where.sum()))
        assert doubt[image][where][counted].max() < doubt[image][where][~counted].min()
        for label in seen[image][where].unique():
            members = where & (seen[image] == label)
            counted = chosen["top-per-class"][image][members] > 0
            assert int(counted.sum()) == math.ceil(0.4 * int(members.sum()))
    assert not torch.equal(chosen["top"], chosen["top-per-class"])


def test_strong_weak_and_clean_views(
    make_method: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mt, "strong_view", lambda image: image * 0.5)
    method = make_method("mean-teacher", student_view="strong", teacher_noise=0.0, noise=0.01)
    method.build(SPEC).train()
    seen: dict[str, list[torch.Tensor]] = {"student": [], "teacher": []}
    for name, views in seen.items():
        getattr(method.pair, name).register_forward_pre_hook(
            lambda _, inputs, views=views: views.append(inputs[0])
        )
    batch = adaptation_batch()
    method.losses(batch, MIDDLE)
    target = batch["target"]["image"]
    assert torch.equal(seen["teacher"][0], target)
    assert 0 < float((seen["student"][-1] - target * 0.5).abs().max()) <= 255 * 0.02 + 1e-3


def test_strength_bound_and_probability_of_the_style() -> None:
    torch.manual_seed(0)
    source, target = torch.rand(16, 3, 8, 8) * 20 + 100, torch.rand(16, 3, 8, 8) * 255

    def restyled(**values: Any) -> torch.Tensor:
        return mt.MeanTeacher(config_of("mean-teacher", **values)).restyled(source, target)

    whole = restyled()
    assert torch.allclose(restyled(style_strength=0.5), (source + whole) / 2, atol=1e-3)
    assert not torch.allclose(restyled(style_ratio=1.0), whole, atol=1)
    some = restyled(style_probability=0.5)
    changed = [not torch.equal(a, b) for a, b in zip(some, source, strict=True)]
    assert 2 < sum(changed) < 14
    assert all(torch.equal(a, b) for a, b, c in zip(some, whole, changed, strict=True) if c)
    assert torch.equal(restyled(style_probability=0.0), source)
