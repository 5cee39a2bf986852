"""Few-shot classification as a method: its losses against loops, its episodes, its baselines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import method_formulas as formulas
import numpy as np
import pytest
import torch
from method_cases import CASES, LATE
from method_subjects import Subject, config_of

from trocar.contract.errors import ConfigError
from trocar.contract.manifest import InputSpec
from trocar.train.methods import few_shot
from trocar.train.methods.protocol import ModelSpec
from trocar.train.metrics.classification import interval


def recorded_features(method: Any, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Features of every pass of the network from now on."""
    made: list[torch.Tensor] = []
    plain = method.network.features

    def features(*arguments: Any, **named: Any) -> torch.Tensor:
        made.append(plain(*arguments, **named))
        return made[-1]

    monkeypatch.setattr(method.network, "features", features)
    return made


@pytest.mark.parametrize("gradient", ["none", "through"])
def test_the_losses_are_those_of_the_formulas(
    make_subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch, gradient: str
) -> None:
    how = {"attention": 7.0, "weighting": 20.0, "temperature": 5.0}
    subject = make_subject(
        "few-shot",
        attention_temperature=7.0,
        weight_temperature=20.0,
        temperature=5.0,
        w_support=0.7,
        attention_gradient=gradient,
    )
    made = recorded_features(subject.method, monkeypatch)
    terms = subject.losses()
    features = made[0].detach().numpy().astype(float)
    supports, queries = features[:9].reshape(3, 3, *features.shape[1:]), features[9:]
    logits = [formulas.few_shot_logits(q, [list(s) for s in supports], **how) for q in queries]
    query = formulas.class_cross_entropy(np.array(logits), np.arange(3).repeat(2))
    assert float(terms["query"].detach()) == pytest.approx(query, rel=1e-3)
    rows = []
    for label in range(3):
        for number in range(3):
            others = [list(s) for s in supports]
            alone = others[label].pop(number)
            rows.append(formulas.few_shot_logits(alone, others, **how))
    support = 0.7 * formulas.class_cross_entropy(np.array(rows), np.arange(3).repeat(3))
    assert float(terms["support"].detach()) == pytest.approx(support, rel=1e-3)


@pytest.mark.parametrize("whole_map", [True, False])
def test_the_global_part_is_the_whole_map_or_its_mean(
    make_subject: Callable[..., Subject], whole_map: bool
) -> None:
    network = make_subject("few-shot", whole_map=whole_map).method.network
    channels, cells = network.shape
    assert cells > 1
    prototypes = network.prototypes_from(torch.rand(3, channels, cells), torch.eye(3))
    size = channels * cells if whole_map else channels
    assert prototypes.descriptions.shape == (3, size + channels)


def test_one_shot_has_no_loss_of_supports(make_subject: Callable[..., Subject]) -> None:
    assert set(make_subject("few-shot", shots=1).losses()) == {"query"}


def test_test_episodes_are_of_held_out_classes(
    make_subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = make_subject("few-shot", held_out=0.5, ways=2)
    novel = set(subject.method.novel.tolist())
    assert len(novel) == 2
    tested: set[int] = set()

    class Recorded(few_shot.EpisodeSampler):
        def episode(self, number: int) -> Any:
            drawn = super().episode(number)
            tested.update(drawn.classes.tolist())
            return drawn

    monkeypatch.setattr(few_shot, "EpisodeSampler", Recorded)
    with torch.no_grad():
        subject.method.evaluate(subject.data)
    assert tested == novel


def test_test_classes_are_neither_trained_on_nor_choose_the_checkpoint(
    photo_kit: Any,
    tmp_path: Path,
    open_photos: Callable[..., Any],
    make_classifier: Callable[..., Any],
    make_photo_run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for split, first in (("train", 0), ("val", 50)):
        kinds = dict.fromkeys(photo_kit.KINDS, 3)
        photo_kit.write_folders(tmp_path, kinds, split=split, first=first)
    method = make_classifier(
        "few-shot", held_out=0.3, test_share=0.3, ways=2, shots=1, queries=1, episodes=3
    )
    data = open_photos(method, make_photo_run(), tmp_path)
    stream = method.streams(data)["episode"]
    size = InputSpec(height=48, width=48)
    method.build(ModelSpec(name="t", classes=data.labelled.table, input=size))
    drawn: list[set[int]] = []
    plain = method.episode_accuracies

    def recorded(*given: Any, within: Any, **more: Any) -> Any:
        drawn.append(set(within.tolist()))
        return plain(*given, within=within, **more)

    monkeypatch.setattr(method, "episode_accuracies", recorded)
    with torch.no_grad():
        scores = method.evaluate(data)
    trained = {int(label) for step in range(9) for label in stream.batch(step)["label"]}
    assert drawn == [set(method.novel.tolist()), set(method.tested.tolist())]
    assert [len(one) for one in (*drawn, trained)] == [2, 2, 2]
    assert len(drawn[0] | drawn[1] | trained) == 6
    assert {"test_accuracy", "test_interval"} <= scores.keys()
    assert method.monitor == "episode_accuracy"
    with pytest.raises(ConfigError, match="test_share needs held_out"):
        config_of("few-shot", held_out=0.0, test_share=0.2)


def test_held_out_classes_are_never_trained_on(
    open_photos: Callable[..., Any],
    make_classifier: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:
    method = make_classifier("few-shot", held_out=0.5, ways=2)
    data = open_photos(method, make_photo_run())
    stream = method.streams(data)["episode"]
    met = {int(label) for step in range(30) for label in stream.batch(step)["label"]}
    assert len(method.novel) == 2
    assert not met & set(method.novel.tolist())


def test_few_shot_scores_have_an_interval(
    open_photos: Callable[..., Any],
    make_classifier: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:
    method = make_classifier("few-shot", episodes=20, augment="upright")
    data = open_photos(method, make_photo_run())
    stream = method.streams(data)["episode"]
    torch.manual_seed(0)
    module = method.build(
        ModelSpec(name="t", classes=data.labelled.table, input=InputSpec(height=48, width=48))
    )
    optimizer = torch.optim.Adam(module.parameters(), lr=4e-3)
    module.train()
    for step in range(60):
        total = sum(method.losses({"episode": stream.batch(step)}, LATE).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    with torch.no_grad():
        scores = method.evaluate(data)
        features = method._features(np.arange(len(method.train)))
    assert 0.6 < scores["episode_accuracy"] <= 1
    values = method.episode_accuracies(features, method.train.photos.labels)
    again = method.episode_accuracies(features, method.train.photos.labels)
    assert len(values) == 20
    assert np.array_equal(values, again)
    assert interval(np.array([0.2, 0.4, 0.6])) == pytest.approx((0.4, 1.96 * 0.2 / np.sqrt(3)))


@pytest.mark.parametrize("comparison", ["proto", "dn4"])
def test_baselines_train_and_stay_in_training(
    comparison: str, open_photos: Callable[..., Any], make_classifier: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:  # fmt: skip
    method = make_classifier("few-shot", comparison=comparison)
    data = open_photos(method, make_photo_run())
    batch = {name: stream.batch(0) for name, stream in method.streams(data).items()}
    torch.manual_seed(0)
    module = method.build(
        ModelSpec(name="t", classes=data.labelled.table, input=InputSpec(height=48, width=48))
    )
    subject = Subject(CASES["few-shot"], method, module.train(), batch, data)
    history = subject.train(30)
    assert history[-1] < 0.75 * history[0]
    with pytest.raises(ConfigError, match="baseline"):
        method.deployable()
