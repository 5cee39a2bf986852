"""The exam of every classification method; a new file in ``methods/`` is found and examined."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from trocar.contract.classes import ClassTable
from trocar.contract.config import from_mapping
from trocar.contract.errors import ConfigError, InterruptedByUserError
from trocar.contract.manifest import InputSpec
from trocar.contract.toml import read_toml
from trocar.export.graph.from_torch import onnx_from_network
from trocar.export.reference import torch_reference
from trocar.train.data.classification.streams import PhotoStore
from trocar.train.data.config import DataConfig
from trocar.train.loop import train
from trocar.train.methods import find_method, method_names
from trocar.train.methods.protocol import ModelSpec, Progress
from trocar.train.metrics.classification import interval
from trocar.train.run import read_settings
from trocar.train.state.checkpoint import load_deployable, read_checkpoint
from trocar.train.state.job import Job
from trocar.train.state.settings import RunConfig

NAMES = [n for n in method_names() if find_method(n).task == "classification"]
RECIPES = Path(__file__).resolve().parents[3] / "train" / "recipes"
LATE = Progress(90, 100, 9, 10)

Examinee = tuple[Any, torch.nn.Module, dict[str, Any], Any]


@pytest.fixture(params=NAMES)
def examinee(
    request: pytest.FixtureRequest,
    make_classifier: Callable[..., Any],
    open_photos: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> Examinee:
    """A method, its module, one batch of each stream, and the data."""
    method = make_classifier(request.param)
    data = open_photos(method, make_photo_run())
    batch = {name: stream.batch(0) for name, stream in method.streams(data).items()}
    torch.manual_seed(0)
    size = method.config.size
    spec = ModelSpec(
        name="exam",
        classes=data.labelled.table,
        input=InputSpec(height=size[0], width=size[1]),
    )
    return method, method.build(spec), batch, data


def practise(examinee: Examinee, steps: int) -> list[float]:
    method, module, batch, _ = examinee
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    module.train()
    history = []
    for _ in range(steps):
        total = sum(method.losses(batch, LATE).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(float(total.detach()))
    return history


def test_each_term_alone_trains_the_network(examinee: Examinee) -> None:
    method, module, batch, _ = examinee
    practise(examinee, 1)
    names = list(method.losses(batch, LATE))
    assert names
    for name in names:
        module.zero_grad(set_to_none=True)
        method.losses(batch, LATE)[name].backward()
        grads = [p.grad for p in module.parameters() if p.grad is not None]
        assert all(torch.isfinite(g).all() for g in grads), name
        convolutions = [p.grad for p in module.parameters() if p.ndim == 4]
        assert all(g is not None and float(g.abs().sum()) > 0 for g in convolutions), name


def test_the_loss_falls_on_one_batch(examinee: Examinee) -> None:
    history = practise(examinee, 40)
    assert np.mean(history[-3:]) < 0.75 * np.mean(history[:3])


def test_the_deployable_network_exports_and_matches(examinee: Examinee) -> None:
    method, _, batch, data = examinee
    practise(examinee, 12)
    method.evaluate(data)
    network, manifest = method.deployable()
    network.eval()
    assert manifest.task == "classification"
    assert manifest.method == method.name
    content, whole = onnx_from_network(network, manifest)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["frame"]
    image = next(iter(batch.values()))["image"][:2]
    frames = image.permute(0, 2, 3, 1).to(torch.uint8).numpy()
    got = dict(
        zip([o.name for o in session.get_outputs()], session.run(None, {"frame": frames}),
            strict=True)
    )  # fmt: skip
    expected = torch_reference(network, whole)(frames)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, atol=2e-3)
    assert got["scores"].shape == (2, len(manifest.classes))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_was_stopped_resumes_exactly(
    name: str,
    tmp_path: Path,
    make_classifier: Callable[..., Any],
    open_photos: Callable[..., Any],
    make_photo_run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_photo_run()

    def job(out: Path, *, resume: bool = False) -> Job:
        method = make_classifier(name)
        data = open_photos(method, run)
        return Job(method=method, run=run, data=data, name="x", out=out, resume=resume)

    train(job(tmp_path / "whole"))
    kind = find_method(name)
    plain = kind.after_step

    def stopping(self: Any, progress: Progress) -> None:
        plain(self, progress)
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "after_step", stopping)
        with pytest.raises(InterruptedByUserError):
            train(job(tmp_path / "cut"))
    train(job(tmp_path / "cut", resume=True))
    whole = read_checkpoint(tmp_path / "whole" / "last.ckpt")
    cut = read_checkpoint(tmp_path / "cut" / "last.ckpt")
    assert cut.step == whole.step == 6
    for key, value in whole.weights.items():
        assert torch.equal(value, cut.weights[key]), key
    network, manifest = load_deployable(tmp_path / "cut")
    assert not network.training
    assert manifest.extra["classification"]["threshold"] == pytest.approx(
        float(network.threshold), abs=1e-6
    )
    assert (tmp_path / "cut" / "predictions.png").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_see_what_one_would(
    name: str, make_classifier: Callable[..., Any], open_photos: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:  # fmt: skip
    from dataclasses import replace

    if name == "few-shot":
        pytest.skip("each process has episodes of its own")
    method = make_classifier(name, **({"p": 2} if name == "head-triplet" else {}))
    data = open_photos(method, make_photo_run())
    whole = {n: s.batch(5) for n, s in method.streams(data).items()}
    parts = [
        {n: s.batch(5) for n, s in method.streams(replace(data, rank=r, world=2)).items()}
        for r in (0, 1)
    ]
    for stream, batch in whole.items():
        joined = torch.cat([part[stream]["image"] for part in parts])
        assert torch.equal(joined, batch["image"])


def test_photographs_are_augmented_anew_and_alike(
    open_photos: Callable[..., Any],
    make_classifier: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:
    method = make_classifier("classifier")
    stream = method.streams(open_photos(method, make_photo_run()))["labelled"]
    again, other = stream.batch(3), stream.batch(4)
    assert torch.equal(stream.batch(3)["image"], again["image"])
    assert not torch.equal(again["image"], other["image"])
    plain = PhotoStore(stream.store.photos, size=(32, 32)).tensor(again["index"].numpy())
    assert not torch.equal(again["image"], plain)


def test_equal_pixels_have_equal_digests(
    open_photos: Callable[..., Any],
    make_classifier: Callable[..., Any],
    make_photo_run: Callable[..., Any],
) -> None:
    method = make_classifier("head-triplet", augment="none", k=7, p=2)
    batch = method.streams(open_photos(method, make_photo_run()))["total"].batch(0)
    digests, index = batch["digest"].tolist(), batch["index"].tolist()
    assert len(set(index)) < len(index)  # a class has fewer than seven photographs
    for a in range(len(index)):
        for b in range(len(index)):
            assert (digests[a] == digests[b]) == (index[a] == index[b])


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
    history = practise((method, module, batch, data), 30)
    assert history[-1] < 0.75 * history[0]
    with pytest.raises(ConfigError, match="baseline"):
        method.deployable()


@pytest.mark.parametrize("name", NAMES)
def test_recipes_are_read(name: str) -> None:
    files = sorted(RECIPES.glob(f"{name.replace('-', '_')}*.toml"))
    assert files
    kind = find_method(name)
    for file in files:
        settings = read_settings(
            (kind.Config, DataConfig, RunConfig), recipe=file, flags={}, method=name
        )
        assert isinstance(settings[0], kind.Config)
        assert read_toml(file)["method"] == name


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("classifier", {"backbone": "resnet81"}, "did you mean"),
        ("head-triplet", {"p": 1, "k": 1}, "needs a negative.*needs a positive"),
        ("head-triplet", {"w_triplet": 0}, "both losses"),
        ("few-shot", {"ways": 1, "held_out": 1.5}, "ways.*held_out"),
    ],
)
def test_wrong_settings_are_said_at_once(name: str, wrong: dict[str, Any], words: str) -> None:
    kind = find_method(name)
    table = ClassTable.from_names(["a", "b"])
    spec = ModelSpec(name="t", classes=table, input=InputSpec(height=224, width=224))

    def make() -> None:
        kind(from_mapping(kind.Config, wrong, source="test")).build(spec)

    with pytest.raises(ConfigError, match=words):
        make()
