"""Rates by part, a frozen encoder, accumulation, averages, the end: each does it, and resumes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from method_subjects import SPEC

from trocar.contract.errors import CheckpointError, ConfigError
from trocar.train.loop import train
from trocar.train.methods.supervised import Supervised
from trocar.train.optimisation.averaging import averaged, make_average
from trocar.train.optimisation.best import check_score, gain
from trocar.train.optimisation.groups import EncoderFreeze, encoders_of, parameter_groups
from trocar.train.state.checkpoint import load_method, read_checkpoint
from trocar.train.state.job import Job
from trocar.train.state.settings import RunConfig

ALL_ON: dict[str, Any] = {
    "freeze_encoder": 1,
    "encoder_lr": 0.3, "accumulate": 2, "ema": 0.9, "early_stop": 9,
    "best_by": "dice_mean", "evaluate_every": 2,
}  # fmt: skip

MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(
    tmp_path: Path,
    make_method: Callable[..., Any],
    open_toy: Callable[..., Any],
    make_run: Callable[..., RunConfig],
) -> MakeJob:
    def make(name: str, *, out: str, resume: bool = False, **run: Any) -> Job:
        method = make_method(name, loss="ce=1,dice=1,lovasz=0.5", class_weights="balanced")
        settings = make_run(**run)
        data = open_toy(method, settings, oversample=0.9)
        return Job(
            method=method, run=settings, data=data, name="x", out=tmp_path / out, resume=resume
        )

    return make


def test_two_steps_and_two_more_are_four_with_all_settings_on(
    make_job: MakeJob, tmp_path: Path
) -> None:
    train(make_job("supervised", out="whole", schedule="constant", steps=4, **ALL_ON))
    train(make_job("supervised", out="cut", schedule="constant", steps=2, **ALL_ON))
    train(make_job("supervised", out="cut", schedule="constant", steps=4, resume=True, **ALL_ON))
    for name in ("last.ckpt", "best.ckpt"):
        one, two = (read_checkpoint(tmp_path / out / name) for out in ("whole", "cut"))
        assert one.step == two.step
        assert one.config == two.config
        for kind in ("weights", "average"):
            values, others = getattr(one, kind), getattr(two, kind)
            assert values.keys() == others.keys()
            assert all(torch.equal(value, others[key]) for key, value in values.items()), kind
    last, best = (read_checkpoint(tmp_path / "whole" / f"{n}.ckpt") for n in ("last", "best"))
    assert one.config["class_weights"].count(",") == 2
    # The plain weights go on being trained; what is deployed are the averages.
    assert last.average
    assert not best.average
    head = "decoder.head.weight"
    assert not torch.equal(last.weights[head], last.average[head])
    assert torch.equal(last.deployed[head], last.average[head])
    if best.step == last.step:
        assert torch.equal(best.weights[head], last.average[head])
    method, _ = load_method(tmp_path / "whole" / "last.ckpt")
    torch.testing.assert_close(method.deployable()[0].state_dict()[head], last.average[head])
    changed = {**ALL_ON, "schedule": "constant", "accumulate": 1, "ema": 0.0}
    job = make_job("supervised", out="cut", steps=4, resume=True, **changed)
    with pytest.raises(CheckpointError, match=r"accumulate was 2, is 1; ema was 0.9, is 0"):
        train(job)


def test_an_average_and_statistics_of_the_plain_weights_are_refused(
    make_method: Callable[..., Any], make_run: Callable[..., Any], open_toy: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    method = make_method("supervised", bn_batches=2)
    run = make_run(steps=2, ema=0.9)
    job = Job(method=method, run=run, data=open_toy(method, run), name="x", out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"bn_batches is 2 and ema is 0\.9"):
        train(job)


def test_accumulation_is_the_gradient_of_the_larger_batch(
    make_method: Callable[..., Any], make_run: Callable[..., Any], open_toy: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    weights = []
    for batch, parts in ((4, 2), (8, 1)):
        method = make_method("supervised", batch_norm="frozen", decoder_norm="frozen", dropout=0.0)
        run = make_run(batch_size=batch, accumulate=parts, steps=2, lr=0.01, clip=0.0)
        data = open_toy(method, run)
        train(Job(method=method, run=run, data=data, name="x", out=tmp_path / str(batch)))
        weights.append(read_checkpoint(tmp_path / str(batch) / "last.ckpt").weights)
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-3, atol=2e-4)


def test_the_encoder_waits_and_then_learns_at_its_own_rate(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, torch.Tensor]] = []
    plain = Supervised.losses

    def losses(self: Any, batch: Any, progress: Any) -> Any:
        states.append({n: v.clone() for n, v in self.network.state_dict().items()})
        return plain(self, batch, progress)

    monkeypatch.setattr(Supervised, "losses", losses)
    train(make_job("supervised", out="x", steps=4, freeze_encoder=2, lr=1e-3, schedule="constant"))
    encoder = [name for name in states[0] if name.startswith("encoder.")]
    for step, moved in ((1, False), (2, False), (3, True)):
        changed = any(not torch.equal(states[step - 1][n], states[step][n]) for n in encoder)
        assert changed is moved, step
    assert any("running_mean" in name for name in encoder)
    head = "decoder.head.weight"
    assert not torch.equal(states[0][head], states[1][head])


def test_groups_have_the_rates_of_their_part(make_method: Callable[..., Any]) -> None:
    network = make_method("supervised").build(SPEC)
    plain = parameter_groups(network, RunConfig())
    assert [group["weight_decay"] for group in plain] == [0.01, 0.0]
    assert not any("lr_scale" in group for group in plain)
    groups = parameter_groups(network, RunConfig(encoder_lr=0.1))
    assert sorted(group.get("lr_scale", 1.0) for group in groups) == [0.1, 0.1, 1.0, 1.0]
    slow = {p for group in groups if group.get("lr_scale") == 0.1 for p in group["params"]}
    assert slow == set(network.encoder.parameters())
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    pair = make_method("mean-teacher").build(SPEC)
    assert encoders_of(pair) == [pair.student.encoder]
    decoders = make_method("cross-consistency").build(SPEC)
    assert encoders_of(decoders) == [decoders.main.encoder]
    with pytest.raises(ConfigError, match="layer_decay was given"):
        parameter_groups(network, RunConfig(layer_decay=0.5))
    with pytest.raises(ConfigError, match="freeze_encoder is 3, but this network has no encoder"):
        EncoderFreeze(torch.nn.Linear(2, 2), steps=3)


def test_layers_of_a_vit_decay() -> None:
    import timm

    body = torch.nn.Module()
    body.encoder = timm.create_model("test_vit", num_classes=0)
    body.head = torch.nn.Linear(4, 2)
    groups = parameter_groups(body, RunConfig(layer_decay=0.5, encoder_lr=0.1))
    scales = {p: group.get("lr_scale", 1.0) for group in groups for p in group["params"]}
    blocks = [scales[block.attn.qkv.weight] for block in body.encoder.blocks]
    assert all(b == pytest.approx(2 * a) for a, b in itertools.pairwise(blocks))
    assert scales[body.encoder.patch_embed.proj.weight] == pytest.approx(blocks[0] / 2)
    assert max(blocks) <= 0.1
    assert scales[body.head.weight] == 1.0


def test_averages_are_given_back_and_a_mean_teacher_has_its_own(
    make_method: Callable[..., Any],
) -> None:
    network = torch.nn.BatchNorm1d(2)
    average = make_average(network, decay=0.5)
    with torch.no_grad():
        network.weight.fill_(3.0)
    for step in (1, 2, 3):
        average.update(network, step=step)
    with torch.no_grad():
        network.weight.fill_(5.0)
    average.update(network, step=9)
    with averaged(network, average):
        assert network.weight.tolist() == [4.0, 4.0]
    assert network.weight.tolist() == [5.0, 5.0]
    with pytest.raises(ConfigError, match="teacher of this method is an average"):
        make_average(make_method("mean-teacher").build(SPEC), decay=0.9)


def test_a_run_ends_after_evaluations_without_gain(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.1, 0.5, 0.4, 0.5, 0.3, 0.9, 0.9, 0.9])
    monkeypatch.setattr(Supervised, "evaluate", lambda *_: {"iou_mean": next(scores)})
    job = make_job("supervised", out="x", steps=9, evaluate_every=1, early_stop=2)
    metrics = train(job)
    assert (metrics["steps"], metrics["best"]["step"]) == (4, 2)
    again = make_job("supervised", out="x", steps=9, evaluate_every=1, early_stop=2, resume=True)
    assert train(again)["steps"] == 4
    # 0.5 once more is no gain, 0.9 after it is one.
    more = replace(again, run=replace(again.run, early_stop=4, steps=6))
    assert train(more)["best"]["step"] == 6


def test_the_best_is_chosen_by_the_score_that_was_named(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = iter([(0.1, 0.9), (0.1, 0.9), (0.2, 0.5), (0.3, 0.7)])
    monkeypatch.setattr(
        Supervised,
        "evaluate",
        lambda *_: dict(zip(("iou_mean", "false_alarm_area"), next(rows), strict=True)),
    )
    job = make_job("supervised", out="x", steps=3, evaluate_every=1, best_by="false_alarm_area")
    metrics = train(job)
    assert (metrics["best"]["step"], metrics["best_by"]) == (2, "false_alarm_area")
    with pytest.raises(ConfigError, match="did you mean iou_mean"):
        check_score({"iou_mean": 0.5}, "iou_man")
    assert gain({"a": 0.2}, {"a": None}, "a")
    assert not gain({"a": float("nan")}, {"a": 0.0}, "a")
