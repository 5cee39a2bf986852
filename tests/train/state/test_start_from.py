"""A way on from a run: more steps, other classes, another method, other data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_bundle import make_tiny_bundle, re_exported
from train_fixtures import paint

from trocar.contract.classes import ClassTable
from trocar.contract.config import from_mapping
from trocar.contract.errors import CheckpointError, ConfigError, DataError
from trocar.contract.manifest import InputSpec
from trocar.train.data.config import DatasetPaths
from trocar.train.data.leakage import merged
from trocar.train.methods import find_method
from trocar.train.methods.protocol import ModelSpec
from trocar.train.networks.embedding import Embedder, EmbeddingConfig
from trocar.train.networks.encoder_weights import make_encoder
from trocar.train.run import TrainRequest, run_method
from trocar.train.state.checkpoint import read_checkpoint
from trocar.train.state.run_folder import RunFolder
from trocar.train.state.start_from import Start, read_start, start_network

SETTINGS = {
    **{"size": [64, 80], "encoder": "tu-lcnet_050", "decoder_channels": 16, "batch_size": 4},
    **{"warmup": 1, "workers": 0, "device": "cpu", "augmentation": "none", "log_every": 1},
}


@pytest.fixture(scope="module")
def first(toy: DatasetPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps."""
    out = tmp_path_factory.mktemp("first") / "run"
    run_method(request(toy.data, out, steps=2))
    return out


def request(data: Path, out: Path, *, resume: bool = False, **settings: Any) -> TrainRequest:
    chosen = settings if resume else {**SETTINGS, **settings}
    return TrainRequest(method="supervised", data=data, out=out, resume=resume, settings=chosen)


def copy_of(first: Path, out: Path) -> Path:
    out.mkdir()
    for file in ("config.toml", "command.txt", "history.jsonl", "last.ckpt", "best.ckpt"):
        (out / file).write_bytes((first / file).read_bytes())
    return out


def test_a_finished_run_trains_longer(
    toy: DatasetPaths, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copy_of(first, tmp_path / "run")
    before = read_checkpoint(out / "last.ckpt")
    metrics = run_method(request(toy.data, out, resume=True, steps=4))
    assert metrics["steps"] == 4
    assert "steps was 2, is 4; 2 are done, and the learning rate goes on from 0.00075" in (
        " ".join(capsys.readouterr().err.split())
    )
    after = read_checkpoint(out / "last.ckpt")
    assert (before.step, after.step, after.run["steps"]) == (2, 4, 4)
    losses = [line for line in RunFolder(out).history() if "losses" in line]
    assert [line["step"] for line in losses] == [1, 2, 3, 4]
    assert losses[2]["lr"] == pytest.approx(0.00075)
    with pytest.raises(CheckpointError, match="steps is 3, but 4 steps are done"):
        run_method(request(toy.data, out, resume=True, steps=3))


def test_steps_replace_the_epochs_of_the_run(toy: DatasetPaths, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_method(request(toy.data, out, epochs=1))  # 8 frames, 2 steps
    assert run_method(request(toy.data, out, resume=True, steps=3))["steps"] == 3


def test_other_data_are_refused_when_resuming(
    toy: DatasetPaths, first: Path, tmp_path: Path
) -> None:
    out = copy_of(first, tmp_path / "run")
    paint(tmp_path / "other", count=12, seed=9, tissue=(60, 50, 150), labels=True)
    with pytest.raises(CheckpointError, match="8 of the 8 training frames are new") as caught:
        run_method(request(tmp_path / "other", out, resume=True))
    assert "--start-from" in str(caught.value.remedy)
    with pytest.raises(CheckpointError, match=r"label_share was 1\.0, is 0\.5"):
        run_method(request(toy.data, out, resume=True, label_share=0.5))
    with pytest.raises(CheckpointError, match="validation was None, is"):
        run_method(replace(request(toy.data, out, resume=True), validation=toy.data))
    moved = tmp_path / "moved"
    moved.symlink_to(toy.data)
    assert run_method(request(moved, out, resume=True))["steps"] == 2


def test_a_run_starts_from_another_and_remembers_its_frames(
    toy: DatasetPaths, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paint(tmp_path / "other", count=12, seed=9, tissue=(60, 50, 150), labels=True)
    table = tmp_path / "other" / "classes.toml"
    table.write_text(table.read_text().replace('"scissors"', '"hook"'))
    out = tmp_path / "second"
    run_method(
        replace(request(tmp_path / "other", out, steps=1, lr=1e-12, seed=5), start_from=first)
    )
    said = " ".join(capsys.readouterr().err.split())
    assert "classes: kept background, grasper; new hook; dropped scissors" in said
    old, new = read_checkpoint(first / "best.ckpt"), read_checkpoint(out / "last.ckpt")
    assert torch.allclose(
        new.weights["encoder.model.conv_stem.weight"],
        old.weights["encoder.model.conv_stem.weight"],
        atol=1e-6,
    )
    heads = old.weights["decoder.head.weight"], new.weights["decoder.head.weight"]
    assert torch.allclose(heads[0][:2], heads[1][:2], atol=1e-6)
    assert not torch.allclose(heads[0][2], heads[1][2], atol=1e-2)
    assert merged([new.source["trained_on"], old.source["trained_on"]]) == new.source["trained_on"]
    assert new.source["started_from"]["step"] == old.step
    # A resumed run keeps the record, and is not taken for one on other frames.
    run_method(request(tmp_path / "other", out, resume=True, steps=2))
    assert read_checkpoint(out / "last.ckpt").source["trained_on"] == new.source["trained_on"]


def test_student_and_teacher_start_equal(first: Path, three_classes: ClassTable) -> None:
    method = _method("mean-teacher")
    built = method.build(_spec(three_classes))
    start = read_start(first)
    classes = start.classes
    start_network(built, classes, start)
    wanted = start.network.state_dict()
    for network in (built.student, built.teacher):
        assert all(torch.equal(value, wanted[name]) for name, value in network.state_dict().items())


def test_the_auxiliary_decoders_stay_as_they_are(first: Path, three_classes: ClassTable) -> None:
    method = _method("cross-consistency")
    built = method.build(_spec(three_classes))
    start = read_start(first)
    before = {n: v.clone() for n, v in built.state_dict().items() if not n.startswith("main.")}
    start_network(built, start.classes, start)
    after = built.state_dict()
    assert before
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert torch.equal(after["main.decoder.head.weight"], start.network.decoder.head.weight)


def test_a_classifier_keeps_its_embedding_and_the_rows_of_known_classes(tmp_path: Path) -> None:
    def network() -> Embedder:
        config = EmbeddingConfig(backbone="modules", size=(32, 32), embedding_size=8)
        return Embedder(config, classes=2, input=InputSpec(height=32, width=32))

    old, new = network(), network()
    old.centroids.fill_(3.0)
    tables = [ClassTable.from_names(names) for names in (["hook", "clip"], ["clip", "mesh"])]
    fresh = new.head.weight[1].detach().clone()
    start = Start(
        file=tmp_path, network=old, classes=tables[0], config={}, origin={}, trained_on=""
    )
    start_network(new, tables[1], start)
    assert torch.equal(new.project.weight, old.project.weight)
    assert torch.equal(new.head.weight[0], old.head.weight[1])
    assert torch.equal(new.head.weight[1], fresh)
    assert not new.centroids.any()


def test_what_does_not_fit_is_refused(
    toy: DatasetPaths, first: Path, tmp_path: Path, three_classes: ClassTable
) -> None:
    wrong = request(toy.data, tmp_path / "run", steps=1, decoder_channels=24)
    with pytest.raises(CheckpointError, match="decoder_channels was 16, is 24"):
        run_method(replace(wrong, start_from=first))
    assert not (tmp_path / "run").exists()
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "model.onnx").touch()
    with pytest.raises(CheckpointError, match="is an exported model"):
        read_start(tmp_path / "bundle")
    origin = {"checkpoint": "best.ckpt", "checkpoint_sha256": "ab12", "step": 70}
    exported = re_exported(make_tiny_bundle(tmp_path / "tiny.trocar"), source=origin)
    for named in (exported, exported / "model.onnx"):
        with pytest.raises(CheckpointError, match=r"best.ckpt of step 70 with the SHA-256 ab12"):
            read_start(named)
    with pytest.raises(CheckpointError, match="there is no"):
        read_start(tmp_path / "missing.ckpt")
    with pytest.raises(CheckpointError, match="does not contain"):
        start_network(torch.nn.Linear(2, 2), three_classes, read_start(first))
    with pytest.raises(DataError, match="is a checkpoint of a whole run") as caught:
        make_encoder("tu-lcnet_050", weights=str(first / "best.ckpt"))
    assert "--start-from" in str(caught.value.remedy)
    with pytest.raises(ConfigError, match="exclude each other"):
        run_method(replace(request(toy.data, first, resume=True), start_from=first))


def _method(name: str) -> Any:
    kind = find_method(name)
    values = {key: SETTINGS[key] for key in ("size", "encoder", "decoder_channels")}
    return kind(from_mapping(kind.Config, values, source="test"))


def _spec(classes: ClassTable) -> ModelSpec:
    return ModelSpec(name="n", classes=classes, input=InputSpec(height=64, width=80))


def test_a_run_takes_the_normalisation_of_the_run_it_starts_from(
    toy: DatasetPaths, tmp_path: Path
) -> None:
    weights = tmp_path / "encoder.pth"
    torch.save(make_encoder("tu-lcnet_050", weights="none").state_dict(), weights)
    run_method(request(toy.data, tmp_path / "first", steps=1, encoder_weights=str(weights)))
    second = replace(request(toy.data, tmp_path / "second", steps=1), start_from=tmp_path / "first")
    run_method(second)
    for name in ("first", "second"):
        stored = read_checkpoint(tmp_path / name / "last.ckpt").config
        assert (stored["batch_norm"], stored["decoder_norm"]) == ("frozen", "group")
    other = replace(
        request(toy.data, tmp_path / "third", steps=1, decoder_norm="batch"),
        start_from=tmp_path / "first",
    )
    with pytest.raises(CheckpointError, match="decoder_norm was group, is batch"):
        run_method(other)
