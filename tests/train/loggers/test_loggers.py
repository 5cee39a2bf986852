"""Loggers: what they record, how they resume, and that a lost one does not end the run."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from trocar.contract.errors import ConfigError
from trocar.train.loggers import group, registry
from trocar.train.loggers.files import CsvLogger, TensorBoardLogger
from trocar.train.loggers.group import Loggers, attach, read_identities
from trocar.train.loggers.mlflow_runs import address_of
from trocar.train.loggers.protocol import RunInfo
from trocar.train.loggers.registry import LOGGERS, LoggerKind, check_packages
from trocar.train.loop import train
from trocar.train.state.job import Job
from trocar.train.state.settings import RunConfig


class Fake:
    """A server's logger that keeps what it is given."""

    opened: ClassVar[list[Fake]] = []

    def __init__(self, info: RunInfo) -> None:
        self.info = info
        self.identity = info.identity or "run-1"
        self.calls: list[tuple[Any, ...]] = []
        self.opened.append(self)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.calls.append(("scalars", step, values))

    def picture(self, name: str, path: Path, step: int) -> None:
        self.calls.append(("picture", name))

    def artefact(self, path: Path) -> None:
        self.calls.append(("artefact", path.name))

    def close(self, *, failed: bool) -> None:
        self.calls.append(("close", failed))


class Away(Fake):
    """A logger whose server goes away after the first values."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        raise ConnectionError("no route to ml:5000")


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(info: RunInfo) -> Any:
        raise OSError("name ml is not known")

    Fake.opened = []
    for name, make in (("fake", Fake), ("away", Away), ("absent", refuse)):
        monkeypatch.setitem(LOGGERS, name, LoggerKind(make=make, is_remote=name != "away"))


@pytest.mark.usefixtures("kinds")
def test_a_run_logs_everywhere_and_goes_on_without_lost_loggers(
    make_method: Callable[..., Any], make_run: Callable[..., RunConfig],
    open_toy: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    method = make_method("supervised")
    names = "csv,fake,away,absent"

    def job(steps: int, *, resume: bool = False) -> Job:
        run = make_run(steps=steps, evaluate_every=2, logger=names, experiment="trial")
        data = open_toy(method, run)
        out = tmp_path / "run"
        return Job(method=method, run=run, data=data, name="n", out=out, resume=resume)

    assert train(job(2))["steps"] == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("logger away is lost") == said.count("logger absent is lost") == 1
    assert "no route to ml:5000" in said
    assert "name ml is not known" in said
    (fake,) = [one for one in Fake.opened if type(one) is Fake]
    assert fake.info.experiment == "trial"
    assert fake.info.settings["encoder"] == "tu-lcnet_050"
    kinds = [call[0] for call in fake.calls]
    assert kinds == ["scalars"] * 3 + ["picture"] * 2 + ["artefact"] * 2 + ["close"]
    assert {"loss/ce", "loss/dice", "loss/total", "lr"} <= fake.calls[0][2].keys()
    assert fake.calls[2][2]["validation/iou_mean"] >= 0
    assert [call[1] for call in fake.calls[3:]] == [
        "curves", "predictions", "best.ckpt", "metrics.json", False,
    ]  # fmt: skip
    assert json.loads((tmp_path / "run" / "loggers.json").read_text())["fake"] == "run-1"
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert rows[0] == "step,name,value"
    assert sum(",loss/total," in row for row in rows) == 2
    assert not (tmp_path / "run" / "tensorboard").exists()

    assert train(job(4, resume=True))["steps"] == 4
    again = [one for one in Fake.opened if type(one) is Fake][-1]
    assert (again.info.identity, again.info.step) == ("run-1", 2)
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows if ",loss/total," in row] == list("1234")

    bundle = tmp_path / "m.trocar"
    bundle.mkdir()
    attach(tmp_path / "run", bundle, uri=None, say=print)
    late = [one for one in Fake.opened if type(one) is Fake][-1]
    assert late.calls == [("artefact", "m.trocar"), ("close", False)]
    assert late.info.identity == "run-1"


def test_a_server_that_never_answers_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import threading

    stop = threading.Event()

    class Silent(Fake):
        def scalars(self, step: int, values: Mapping[str, float]) -> None:
            stop.wait(20)

    monkeypatch.setitem(LOGGERS, "silent", LoggerKind(make=Silent, is_remote=True))
    monkeypatch.setattr(group, "CLOSING_S", 0.05)
    monkeypatch.setattr(group, "QUEUE", 3)
    said: list[str] = []
    with Loggers(("silent",), RunInfo(name="n", folder=tmp_path), say=said.append) as loggers:
        for step in range(9):
            loggers.scalars(step, {"loss": 1.0})
    stop.set()
    (line,) = said
    assert "logger silent is lost, training goes on" in line


def test_csv_rewinds_to_the_step_that_is_resumed(tmp_path: Path) -> None:
    logger = CsvLogger(RunInfo(name="n", folder=tmp_path))
    for step in (1, 2, 3):
        logger.scalars(step, {"a": step / 3})
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("3")
    CsvLogger(RunInfo(name="n", folder=tmp_path, step=2)).scalars(3, {"a": 9.0})
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "step,name,value", "1,a,0.333333333", "2,a,0.666666667", "3,a,9",
    ]  # fmt: skip


def test_tensorboard_has_values_and_pictures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((8, 9, 3), np.uint8))
    logger = TensorBoardLogger(RunInfo(name="n", folder=tmp_path))
    logger.scalars(3, {"loss/ce": 0.5})
    logger.picture("predictions", tmp_path / "p.png", 3)
    logger.close(failed=False)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/ce")] == [(3, 0.5)]
    (image,) = events.Images("predictions")
    assert (image.width, image.height) == (9, 8)


def test_wrong_loggers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for names, words in (
        (("mlfow",), "did you mean mlflow"),
        (("csv", "csv"), "twice"),
        (("none", "csv"), "at once"),
    ):
        with pytest.raises(ConfigError, match=words):
            RunConfig(logger=names)
    assert RunConfig(logger=("none",)).logger == ("none",)
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs the package wandb") as stop:
        check_packages(("csv", "wandb"))
    assert "trocar[wandb]" in stop.value.remedy


def test_damaged_identities_are_no_identities(tmp_path: Path) -> None:
    for text in ("{", "[1]", '{"else": "x"}'):
        (tmp_path / "loggers.json").write_text(text)
        assert read_identities(tmp_path) == {}


@pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None or importlib.util.find_spec("sqlalchemy") is None,
    reason="needs mlflow and sqlalchemy",
)
@pytest.mark.filterwarnings("ignore")  # of its own packages
def test_the_client_of_mlflow_reads_back_what_was_logged(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((8, 9, 3), np.uint8))
    info = RunInfo(name="n", folder=tmp_path, settings={"lr": 0.1}, experiment="trial")
    said: list[str] = []
    for step in (1, 2):
        with Loggers(("mlflow",), info, say=said.append) as loggers:
            loggers.scalars(step, {"loss/ce": 0.5 / step})
            loggers.picture("p", tmp_path / "p.png", step)
            loggers.artefact(tmp_path / "p.png")
    assert said == []
    client = MlflowClient(tracking_uri=address_of(info))
    run = client.get_run(read_identities(tmp_path)["mlflow"])
    assert run.data.params == {"lr": "0.1"}
    assert (run.info.run_name, run.info.status) == ("n", "FINISHED")
    history = client.get_metric_history(run.info.run_id, "loss/ce")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.25)]
    assert {f.path for f in client.list_artifacts(run.info.run_id)} == {"p.png", "pictures"}


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb")
@pytest.mark.filterwarnings("ignore")  # of its own packages
def test_weights_and_biases_writes_an_offline_run(tmp_path: Path) -> None:
    said: list[str] = []
    info = RunInfo(name="n", folder=tmp_path, settings={"lr": 0.1})
    with Loggers(("wandb",), info, say=said.append) as loggers:
        loggers.scalars(1, {"loss/ce": 0.5})
    assert said == []
    identity = read_identities(tmp_path)["wandb"]
    assert list((tmp_path / "wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb"))
