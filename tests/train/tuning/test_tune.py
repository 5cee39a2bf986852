"""A search over settings: shared, killed, resumed, pruned, refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from train_fixtures import TINY, TINY_RUN, paint

from trocar.contract.errors import ConfigError, DataError, TrainingError
from trocar.contract.text.toml import read_toml
from trocar.train.run import TrainRequest
from trocar.train.state.run_folder import RunFolder
from trocar.train.tuning.tune import TuneRequest, tune

optuna = pytest.importorskip("optuna")
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune") / "theatre"
    paint(folder, count=12, seed=1, tissue=(60, 50, 150), labels=True)
    return folder


def request(theatre: Path, out: Path, **given: Any) -> TuneRequest:
    values: dict[str, Any] = {
        "recipe": "supervised",
        "data": theatre,
        "out": out,
        "trials": 6,
        "search": {"lr": "1e-4:1e-1:log", "dropout": "0,0.1,0.2"},
    }
    return TuneRequest(**{**values, **given})


def pretend(made: TrainRequest) -> Mapping[str, Any]:
    """A run whose score is best at the largest learning rate; leaves a checkpoint like a run."""
    made.out.mkdir(parents=True, exist_ok=True)
    (made.out / "last.ckpt").write_bytes(b"")
    score = float(made.settings["lr"]) * 5
    if made.observe is not None:
        for share in (0.5, 0.8, 1.0):
            made.observe({"iou_mean": share * score})
    return {"best": {"scores": {"iou_mean": score}}}


def test_the_best_of_all_trials_becomes_a_recipe(theatre: Path, tmp_path: Path) -> None:
    said: list[str] = []
    outcome = tune(request(theatre, tmp_path, prune=False), train=pretend, say=said.append)
    scores = [one.score for one in outcome.trials]
    assert [one.state for one in outcome.trials] == ["complete"] * 6
    assert outcome.best is not None
    assert outcome.best.score == max(scores)
    recipe = read_toml(tmp_path / "best.toml")
    assert recipe["method"] == "supervised"
    assert recipe["lr"] == pytest.approx(max(scores) / 5)
    assert recipe["steps"] == read_toml(Path("train/recipes/supervised.toml"))["steps"]
    document = json.loads((tmp_path / "tune.json").read_text())
    assert document["best"]["number"] == outcome.best.number
    text = (tmp_path / "tune.md").read_text()
    assert "rank correlation +1.00" in text
    assert "on test frames, once" in " ".join(text.split())
    assert len([line for line in said if "iou_mean" in line]) == 6
    # The same command finds that there is nothing left to do; more trials go on.
    assert len(tune(request(theatre, tmp_path, prune=False), train=pretend).trials) == 6
    more = tune(request(theatre, tmp_path, prune=False, trials=8), train=pretend)
    assert len(more.trials) == 8


def test_a_study_of_other_settings_is_refused(theatre: Path, tmp_path: Path) -> None:
    first = request(theatre, tmp_path / "out", trials=1, prune=False)
    tune(first, train=pretend)
    others = (
        (replace(first, settings={"steps": 7}), "settings was .*, is .*7"),
        (replace(first, search={"lr": "1e-4:1e-2:log"}), "search was"),
        (replace(first, recipe="texture_entropy"), "method was supervised, is texture-entropy"),
    )
    for other, words in others:
        with pytest.raises(ConfigError, match=words) as caught:
            tune(other, train=pretend)
        assert "another --out or --study" in caught.value.remedy
    paint(tmp_path / "more", count=13, seed=2, tissue=(60, 50, 150), labels=True)
    with pytest.raises(ConfigError, match="data was"):
        tune(replace(first, data=tmp_path / "more"), train=pretend)
    # Where the set lies does not matter.
    (tmp_path / "moved").symlink_to(theatre)
    assert len(tune(replace(first, data=tmp_path / "moved"), train=pretend).trials) == 1


def test_bad_trials_are_stopped_early(theatre: Path, tmp_path: Path) -> None:
    made = request(theatre, tmp_path, trials=16)
    outcome = tune(made, train=pretend, say=lambda text: None)
    pruned = [one for one in outcome.trials if one.state == "pruned"]
    assert pruned
    complete = [one for one in outcome.trials if one.state == "complete"]
    assert len(pruned) + len(complete) == 16
    assert not (tmp_path / "trials" / pruned[0].folder / "last.ckpt").exists()
    assert outcome.best is not None
    assert all(one.settings["lr"] < outcome.best.settings["lr"] for one in pruned)


def test_a_failed_trial_does_not_count_and_many_end_the_search(
    theatre: Path, tmp_path: Path
) -> None:
    calls = []

    def sometimes(made: TrainRequest) -> Mapping[str, Any]:
        calls.append(made)
        if len(calls) == 2:
            raise TrainingError("the loss is not finite", remedy="lower --lr")
        return pretend(made)

    outcome = tune(request(theatre, tmp_path / "a", trials=3, prune=False), train=sometimes)
    assert [one.state for one in outcome.trials] == ["complete", "failed", "complete", "complete"]
    assert outcome.trials[1].why == "the loss is not finite"

    def never(made: TrainRequest) -> Mapping[str, Any]:
        raise TrainingError("memory ran out", remedy="lower --batch-size")

    with pytest.raises(TrainingError, match=r"3 trials failed .*memory ran out") as caught:
        tune(request(theatre, tmp_path / "b"), train=never)
    assert caught.value.remedy == "lower --batch-size"


def _work(made: TuneRequest, log: Path) -> None:
    """A process of a search; its trials take a while."""

    def slow(run: TrainRequest) -> Mapping[str, Any]:
        with log.open("a") as file:
            file.write(f"{os.getpid()} {run.out.name} {int(run.resume)}\n")
        run.out.mkdir(parents=True, exist_ok=True)
        (run.out / "last.ckpt").write_bytes(b"")
        time.sleep(0.3)
        return {"best": {"scores": {"iou_mean": 0.5}}}

    tune(made, train=slow, say=lambda text: None)


def test_two_processes_share_a_study_and_one_is_killed(theatre: Path, tmp_path: Path) -> None:
    made = request(theatre, tmp_path / "out", trials=5, prune=False)
    # The study is made first, so that the test does not depend on who makes it.
    tune(replace(made, trials=1), train=pretend, say=lambda text: None)
    log = tmp_path / "log.txt"
    log.touch()
    workers = [FORK.Process(target=_work, args=(made, log)) for _ in range(2)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + 30
    while str(workers[0].pid) not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert workers[0].pid is not None
    os.kill(workers[0].pid, signal.SIGKILL)
    for worker in workers:
        worker.join(60)
    # Whoever comes next finds the dead trial, if the other process was through before.
    outcome = tune(made, train=pretend_resumed, say=lambda text: None)
    states = [one.state for one in outcome.trials]
    assert states.count("complete") == 5
    assert states.count("failed") == 1
    assert states.count("running") == 0
    lost = next(one for one in outcome.trials if one.state == "failed")
    again = [one for one in outcome.trials if one.folder == lost.folder and one is not lost]
    assert [one.settings for one in again] == [lost.settings]
    assert lost.why == "its process died"
    assert len({line.split()[0] for line in log.read_text().splitlines()}) == 2


def test_a_database_holds_the_study(theatre: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tune.db"
    made = request(theatre, tmp_path / "a", trials=2, prune=False, storage=url, study="s")
    assert len(tune(made, train=pretend, say=lambda text: None).ranked) == 2
    assert not (tmp_path / "a" / "study.journal").exists()
    # Another machine has a folder of its own, and finds the trials of the first.
    other = replace(made, out=tmp_path / "b", trials=3)
    assert len(tune(other, train=pretend, say=lambda text: None).ranked) == 3
    assert len(list((tmp_path / "b" / "trials").glob("*/last.ckpt"))) == 0
    assert (tmp_path / "b" / "tune.md").is_file()


def pretend_resumed(made: TrainRequest) -> Mapping[str, Any]:
    assert made.resume
    assert not made.settings
    return {"best": {"scores": {"iou_mean": 0.5}}}


def test_real_runs_are_scored_on_validation_frames(theatre: Path, tmp_path: Path) -> None:
    settings = {**TINY, **TINY_RUN, "size": [64, 80], "steps": 2, "evaluate_every": 1}
    made = request(theatre, tmp_path, trials=2, settings=settings, search={})
    outcome = tune(made, say=lambda text: None)
    assert len(outcome.ranked) == 2
    folder = tmp_path / "trials" / outcome.trials[0].folder
    best = max(
        line["scores"]["iou_mean"] for line in RunFolder(folder).history() if "scores" in line
    )
    assert outcome.trials[0].score == pytest.approx(best)
    assert (folder / "best.ckpt").is_file()
    assert not (folder / "last.ckpt").exists()


def test_nothing_is_tuned_on_test_frames(theatre: Path, tmp_path: Path) -> None:
    paint(tmp_path / "judged", count=6, seed=3, tissue=(60, 50, 150), labels=True)
    splits = tmp_path / "judged" / "splits"
    names = [f"f{index:02}" for index in range(6)]
    (splits / "train.txt").unlink()
    (splits / "val.txt").unlink()
    (splits / "test.txt").write_text("\n".join(names) + "\n")
    made = request(theatre, tmp_path / "out", validation=tmp_path / "judged")
    with pytest.raises(DataError, match="are of the split 'test'") as caught:
        tune(made, train=pretend)
    assert "worthless" in caught.value.remedy
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"storage": "nosuch://x"}, "storage of the study cannot be used"),
        ({"settings": {"devices": 2}}, "trains in one process"),
        ({"settings": {"stepps": 5}}, "did you mean steps"),
        ({"search": {"dropout": "0:2"}}, "dropout must be in 0"),
        ({"recipe": "classifier", "search": {"border": "0:1"}}, "has no effect on classifier"),
    ],
)
def test_what_a_search_cannot_be(
    theatre: Path, tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        tune(request(theatre, tmp_path / "out", **given), train=pretend)
    assert not (tmp_path / "out" / "tune.json").exists()
