"""The choice of memory format and precision: measured, said, recorded, and kept on resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trocar.contract.text.toml import read_toml
from trocar.train.loop import train
from trocar.train.optimisation import fastest
from trocar.train.optimisation.fastest import Candidate, Choice, candidates
from trocar.train.state.checkpoint import read_checkpoint
from trocar.train.state.job import Job
from trocar.train.state.settings import RunConfig

CPU = torch.device("cpu")


@pytest.fixture
def make_job(
    make_method: Callable[..., Any], make_run: Callable[..., RunConfig],
    open_toy: Callable[..., Any], tmp_path: Path,
) -> Callable[..., Job]:  # fmt: skip
    def make(*, out: str, resume: bool = False, **given: Any) -> Job:
        method, run = make_method("supervised"), make_run(steps=1, logger="none", **given)
        return Job(method=method, run=run, data=open_toy(method, run), name="x",
                   out=tmp_path / out, resume=resume)  # fmt: skip

    return make


def test_the_choice_is_measured_said_recorded_and_kept(
    make_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    train(make_job(out="short"))  # too short to be measured
    asked: list[Candidate] = []
    real = fastest._time_step

    def timed(losses: Any, batch: Any, one: Candidate, device: torch.device) -> float:
        asked.append(one)
        real(losses, batch, one, device)
        return {False: 0.5, True: 0.3}[one.channels_last]

    monkeypatch.setattr(fastest, "_time_step", timed)
    monkeypatch.setattr("trocar.train.setup.MIN_STEPS", 1)
    monkeypatch.setattr(fastest, "ROUNDS", 1)
    monkeypatch.setattr(fastest, "_has_bf16", lambda device: False)
    train(make_job(out="run"))
    assert len(asked) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "chose channels-last, fp32 by measurement (contiguous, fp32 500 ms" in said
    for kept in (read_checkpoint(tmp_path / "run" / "last.ckpt").run,
                 read_toml(tmp_path / "run" / "config.toml")):  # fmt: skip
        assert (kept["channels_last"], kept["precision"]) == (True, "fp32")
    asked.clear()
    train(make_job(out="run", resume=True))
    assert asked == []
    assert read_toml(tmp_path / "run" / "config.toml")["channels_last"] is True
    # What was measured left no trace: weights and random numbers are those of a run without it.
    train(make_job(out="told", channels_last=True))
    one, two, plain = (
        read_checkpoint(tmp_path / n / "last.ckpt") for n in ("run", "told", "short")
    )
    assert all(torch.equal(v, two.weights[n]) for n, v in one.weights.items())
    assert plain.run["channels_last"] is False


def test_what_is_given_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "_has_bf16", lambda device: True)
    assert len(candidates(RunConfig(), CPU)) == 4
    assert candidates(RunConfig(), CPU)[0] == Candidate(channels_last=False, precision="fp32")
    given = RunConfig(channels_last=True, precision="bf16")
    assert candidates(given, CPU) == [Candidate(channels_last=True, precision="bf16")]
    assert [str(c) for c in candidates(RunConfig(precision="fp32"), CPU)] == [
        "contiguous, fp32", "channels-last, fp32",
    ]  # fmt: skip
    monkeypatch.setattr(fastest, "_has_bf16", lambda device: False)
    assert {c.precision for c in candidates(RunConfig(), CPU)} == {"fp32"}


def test_a_small_gain_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {False: 0.50, True: 0.46}
    monkeypatch.setattr(fastest, "_time_step", lambda a, b, one, d: times[one.channels_last])
    losses: Any = torch.nn.Module()
    losses.network = torch.nn.Conv2d(3, 4, 3)
    choices = candidates(RunConfig(precision="fp32"), CPU)
    choice = fastest.measure(losses, None, choices, CPU)
    assert choice.candidate == choices[0]
    assert choice.seconds[choices[1]] == 0.46
    assert Choice(candidate=choices[0], seconds={}).text == ""
