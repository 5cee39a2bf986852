"""The loop: cut off for good and resumed, two processes like one, and faults in words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from trocar.cli import find_command
from trocar.contract.errors import (
    BackendError,
    CheckpointError,
    ConfigError,
    OutputExistsError,
    SinkError,
    TrainingError,
)
from trocar.train.data.config import DatasetPaths
from trocar.train.loop import train
from trocar.train.methods.supervised import Supervised
from trocar.train.state import run_folder
from trocar.train.state.checkpoint import read_checkpoint
from trocar.train.state.job import Job
from trocar.train.state.settings import RunConfig
from trocar.train.step import step_seed

FLAGS = [
    *("--size", "80x64", "--encoder", "tu-lcnet_050", "--decoder-channels", "16"),
    *("--batch-size", "4", "--warmup", "1", "--device", "cpu", "--log-every", "1"),
]

MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(
    tmp_path: Path,
    make_method: Callable[..., Any],
    open_toy: Callable[..., Any],
    make_run: Callable[..., RunConfig],
) -> MakeJob:
    def make(*, resume: bool = False, method: dict[str, Any] | None = None, **run: Any) -> Job:
        made = make_method("supervised", **(method or {}))
        settings = make_run(**run)
        return Job(
            method=made,
            run=settings,
            data=open_toy(made, settings),
            name="x",
            out=tmp_path / "run",
            resume=resume,
        )

    return make


def command(data: Path, out: Path, *flags: str) -> list[str]:
    return ["-m", "trocar.cli", "train", "supervised", str(data), "--out", str(out), *FLAGS, *flags]


def run_here(data: Path, out: Path, *flags: str) -> None:
    """The command in this process, which has loaded PyTorch already, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # Without "-m trocar.cli train".
        given = command(data, out, *flags)[3:]
        done = CliRunner().invoke(find_command("train"), given, catch_exceptions=False)
    finally:
        torch.set_num_threads(threads)
    assert done.exit_code == 0, done.output


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def test_a_run_leaves_everything_behind(make_job: MakeJob, tmp_path: Path) -> None:
    metrics = train(make_job())
    out = tmp_path / "run"
    for name in ("config.toml", "command.txt", "history.jsonl", "last.ckpt", "best.ckpt"):
        assert (out / name).is_file(), name
    assert json.loads((out / "metrics.json").read_text()) == metrics
    for picture in ("curves.png", "predictions.png"):
        assert (out / picture).read_bytes()[:4] == b"\x89PNG"
    assert list((out / "tensorboard").glob("events*"))
    assert metrics["last"]["step"] == 6
    history = run_folder.RunFolder(out).history()
    losses = [line for line in history if "losses" in line]
    assert [line["step"] for line in losses] == [1, 2, 3, 4, 5, 6]
    assert all(line["loss"] == pytest.approx(sum(line["losses"].values())) for line in losses)


def test_notes_on_the_data_and_of_the_method_are_printed(
    make_job: MakeJob, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(steps=2)
    labelled = replace(job.data.labelled, notes=("4 frames [of one] group validate",))
    job.method.notes.append("three classes are left out")
    train(replace(job, data=replace(job.data, labelled=labelled)))
    said = capsys.readouterr().err
    for note in ("4 frames [of one] group validate", "three classes are left out"):
        assert said.count(f"note: {note}") == 1


@pytest.mark.parametrize("layout", [[], ["--channels-last"]])
def test_kill_9_and_resume_give_the_weights_of_an_uninterrupted_run(
    toy: DatasetPaths, tmp_path: Path, layout: list[str]
) -> None:
    flags = ["--steps", "40", "--evaluate-every", "20", "--save-every", "3", *layout]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_here(toy.data, whole, *flags, "--workers", "0")
    # Loader processes in the run that is killed: batches do not depend on who reads them.
    process = subprocess.Popen(
        [sys.executable, *command(toy.data, cut, *flags, "--workers", "1")],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (cut / "last.ckpt").is_file() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = read_checkpoint(cut / "last.ckpt").step
    assert 0 < reached < 40
    run_here(toy.data, cut, "--resume", "--workers", "0", *layout)
    one, two = read_checkpoint(whole / "last.ckpt"), read_checkpoint(cut / "last.ckpt")
    assert one.step == two.step == 40
    for name, value in one.weights.items():
        assert torch.equal(value, two.weights[name]), name
    for index, state in one.optimizer["state"].items():
        assert torch.equal(state["exp_avg_sq"], two.optimizer["state"][index]["exp_avg_sq"])
    lines = [
        [li for li in run_folder.RunFolder(p).history() if "losses" in li] for p in (whole, cut)
    ]
    assert [li["loss"] for li in lines[0]] == [li["loss"] for li in lines[1]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_says_so_and_goes_on_later(
    number: signal.Signals, toy: DatasetPaths, tmp_path: Path
) -> None:
    flags = ["--steps", "400", "--evaluate-every", "400", "--save-every", "3", "--workers", "0"]
    process = subprocess.Popen(
        [sys.executable, *command(toy.data, tmp_path / "cut", *flags)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "cut" / "last.ckpt").is_file() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    reached = read_checkpoint(tmp_path / "cut" / "last.ckpt").step
    assert 0 < reached < 400
    run_here(toy.data, tmp_path / "cut", "--resume", "--steps", str(reached + 1), "--workers", "0")
    assert read_checkpoint(tmp_path / "cut" / "last.ckpt").step == reached + 1


def test_two_processes_give_the_loss_curve_of_one(toy: DatasetPaths, tmp_path: Path) -> None:
    flags = [
        "--steps",
        "6",
        "--batch-norm",
        "frozen",
        "--decoder-norm",
        "frozen",
        "--dropout",
        "0",
        "--workers",
        "0",
    ]
    one, two = tmp_path / "one", tmp_path / "two"
    run_here(toy.data, one, *flags)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*launcher, "--nproc-per-node", "2", *command(toy.data, two, *flags)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    curves = [
        [line["loss"] for line in run_folder.RunFolder(path).history() if "losses" in line]
        for path in (one, two)
    ]
    assert len(curves[0]) == 6
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0][0] != pytest.approx(curves[0][-1], rel=1e-2)
    assert json.loads((two / "metrics.json").read_text())["processes"] == 2


def test_a_loss_that_is_not_finite_stops_and_saves_nothing(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Supervised.losses

    def broken(self: Any, batch: Any, progress: Any) -> dict[str, Tensor]:
        terms = plain(self, batch, progress)
        return {**terms, "ce": terms["ce"] * float("nan")} if progress.step == 4 else terms

    monkeypatch.setattr(Supervised, "losses", broken)
    with pytest.raises(TrainingError) as stop:
        train(make_job())
    assert "step 4" in stop.value.message
    assert "ce nan" in stop.value.message
    assert "f0" in stop.value.message
    assert "--lr" in stop.value.remedy
    for name in ("last.ckpt", "best.ckpt"):
        kept = read_checkpoint(tmp_path / "run" / name)
        assert kept.step == 3
        assert all(torch.isfinite(v).all() for v in kept.weights.values() if v.is_floating_point())


def test_a_gradient_that_is_not_finite_stops(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Supervised.losses

    def broken(self: Any, batch: Any, progress: Any) -> dict[str, Tensor]:
        terms = plain(self, batch, progress)
        # The root's gradient at 0 is infinite though its value is fine.
        return {**terms, "root": (terms["ce"] - terms["ce"].detach()).abs().sqrt()}

    monkeypatch.setattr(Supervised, "losses", broken)
    with pytest.raises(TrainingError, match="gradient is not finite at step 0"):
        train(make_job())


def test_memory_that_runs_out_names_the_flag_to_lower(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(self: Any, batch: Any, progress: Any) -> dict[str, Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Supervised, "losses", hungry)
    with pytest.raises(TrainingError, match="memory ran out at step 0") as stop:
        train(make_job())
    assert "--batch-size (now 4)" in stop.value.remedy


def test_an_output_that_exists_is_refused(make_job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(OutputExistsError):
            train(make_job(resume=resume))
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_resuming_fetches_no_starting_weights(make_job: MakeJob, tmp_path: Path) -> None:
    from trocar.train.networks.encoder_weights import make_encoder

    weights = tmp_path / "encoder.pth"
    torch.save(make_encoder("tu-lcnet_050", weights="none").state_dict(), weights)
    settings = {"encoder_weights": str(weights)}
    train(make_job(steps=2, method=settings))
    weights.unlink()
    train(make_job(steps=2, method=settings, resume=True))


def test_resuming_with_other_settings_names_them(make_job: MakeJob) -> None:
    train(make_job(steps=2))
    with pytest.raises(CheckpointError) as stop:
        train(make_job(steps=4, resume=True, method={"w_dice": 0.5}))
    assert "w_dice was 1.0, is 0.5" in stop.value.message
    assert "steps" not in stop.value.message.partition(":")[2]


def test_a_full_disk_is_told_in_words(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trocar.train.state.checkpoint.write_atomic", full)
    with pytest.raises(SinkError, match=r"cannot write .*best.ckpt"):
        train(make_job())
    assert not list((tmp_path / "run").glob("*.ckpt"))


def test_what_cannot_be_had_is_refused(make_job: MakeJob) -> None:
    with pytest.raises(BackendError, match="fp16 training was asked for on the CPU"):
        train(make_job(precision="fp16"))
    if not torch.cuda.is_available():
        with pytest.raises(BackendError, match="CUDA devices were asked for"):
            train(make_job(device="cuda"))
    with pytest.raises(ConfigError, match="batch normalisation cannot train on 1 image"):
        train(make_job(batch_size=1))
    with pytest.raises(ConfigError, match="2 processes"):
        train(make_job(batch_size=3, devices=2))


def test_bf16_trains(make_job: MakeJob) -> None:
    assert train(make_job(precision="bf16", steps=2))["precision"] == "bf16"


def test_epochs_decide_over_steps(make_job: MakeJob) -> None:
    assert train(make_job(epochs=2, steps=50))["steps"] == 4


def test_the_learning_rate_follows_from_the_step() -> None:
    run = RunConfig(steps=100, warmup=10, lr=1.0)
    assert [run.rate(s) for s in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert run.rate(55) == pytest.approx(0.5)
    assert run.rate(100) == pytest.approx(0.0)
    assert RunConfig(schedule="constant", warmup=0, lr=0.5).rate(999) == 0.5
    assert RunConfig(schedule="poly", warmup=0, steps=100, lr=1.0).rate(50) == pytest.approx(
        0.5**0.9
    )


def test_every_step_and_process_draws_differently() -> None:
    seeds = {step_seed(s, t, r) for s in range(3) for t in range(3) for r in range(3)}
    assert len(seeds) == 27
    assert step_seed(1, 2, 3) == step_seed(1, 2, 3)
