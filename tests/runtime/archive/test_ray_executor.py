"""An archive over a local Ray cluster whose workers die: nothing lost, nothing done twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trocar.contract.errors import BackendError, ConfigError, MissingExtraError
from trocar.runtime.archive import ray_executor
from trocar.runtime.archive.ray_executor import _check_resources, run_on_ray
from trocar.runtime.archive.state import Job
from trocar.runtime.pipeline.options import ModelOptions, RunOptions

VIDEOS, FRAMES = 20, 12


def log_of(out: Path) -> list[dict[str, Any]]:
    if not (out / "log.jsonl").exists():
        return []
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def kill_one_at_work(out: Path, running: subprocess.Popen[str]) -> str:
    """Kills a worker in the middle of a recording, once half of them are done."""
    while running.poll() is None:
        lines = log_of(out)
        over = {line["attempt"] for line in lines if line["event"] != "started"}
        at_work = [line for line in lines if line["attempt"] not in over]
        if len(over) < VIDEOS // 2 or not at_work:
            time.sleep(0.01)
            continue
        victim = at_work[-1]
        # Held still first: whether it is in the middle of a recording is then certain.
        os.kill(victim["pid"], signal.SIGSTOP)
        if any(
            line["attempt"] == victim["attempt"] and line["event"] != "started"
            for line in log_of(out)
        ):
            os.kill(victim["pid"], signal.SIGCONT)
            continue
        os.kill(victim["pid"], signal.SIGKILL)
        return str(victim["recording"])
    return ""


@pytest.mark.slow
def test_twenty_videos_two_workers_one_killed_half_way(
    tiny: ModuleType, kit: ModuleType, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (extra ray)")
    model = tiny.make_tiny_bundle(tmp_path / "slow.trocar", delay=16)
    clip = kit.write_video(tmp_path / "clip.mp4", frames=FRAMES)
    for index in range(VIDEOS):
        place = tmp_path / "archive" / f"room{index % 4}" / f"op{index // 4}.mp4"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, place)
    out = tmp_path / "out"
    # Two workers on any machine.
    start = (
        "from trocar.runtime.archive import ray_executor; ray_executor.usable_cores = lambda: 2; "
        "from trocar.cli import main; main()"
    )
    command = [
        *(sys.executable, "-c", start, "run", str(model), f"{tmp_path}/archive/**/*.mp4"),
        *("--out", str(out), "--ray", "local"),
    ]
    with (tmp_path / "told").open("w") as told:
        running = subprocess.Popen(command, stderr=told, cwd=tmp_path, text=True)
        victim = kill_one_at_work(out, running)
        assert running.wait(timeout=300) == 0, (tmp_path / "told").read_text()
    assert victim
    lines = log_of(out)
    finished = Counter(line["recording"] for line in lines if line["event"] == "finished")
    assert finished == Counter(str(p) for p in (tmp_path / "archive").rglob("*.mp4"))
    started = Counter(line["recording"] for line in lines if line["event"] == "started")
    assert started == finished + Counter([victim])
    assert len({line["pid"] for line in lines if line["event"] == "finished"}) >= 2
    markers = [json.loads(p.read_text()) for p in out.glob("*/done.json")]
    assert {m["path"] for m in markers} == set(finished)
    assert len(markers) == VIDEOS
    for results in out.glob("*/results.jsonl"):
        frames = [json.loads(line)["frame"] for line in results.read_text().splitlines()]
        assert frames == list(range(FRAMES))
    assert not list(out.glob(".part.*"))
    report = (tmp_path / "told").read_text()
    assert f"{VIDEOS} done, 0 done before, 0 failed" in report
    assert f"[{VIDEOS}/{VIDEOS}]" in report


class StandIn:
    """A Ray that runs nothing: what the code does with its answers is looked at here."""

    class exceptions:
        class RayError(Exception):
            pass

    def __init__(self, **resources: float) -> None:
        self.resources = resources

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"Alive": True, "Resources": self.resources},
            {"Alive": False, "Resources": {"CPU": 64, "GPU": 8}},
        ]

    def get(self, reference: object) -> object:
        raise self.exceptions.RayError("the worker died\nof something")


def test_a_task_that_fits_no_machine_is_refused() -> None:
    _check_resources(StandIn(CPU=4), 4, 0)
    with pytest.raises(BackendError, match=r"8 core"):
        _check_resources(StandIn(CPU=4), 8, 0)
    with pytest.raises(BackendError, match=r"1 GPU"):
        _check_resources(StandIn(CPU=4), 1, 1)


def test_a_recording_whose_workers_all_died_has_failed() -> None:
    outcome = ray_executor._outcome(StandIn(), object(), Path("a.mp4"))
    assert (outcome.state, outcome.reason) == ("failed", "its worker failed: the worker died")


def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = RunOptions(model=ModelOptions(path=Path("model.trocar")))
    job = Job(options=options, out=Path("out"), model="", settings={}, outputs={}, run="a")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match="--ray needs the Python package") as caught:
        run_on_ray(job, [Path("a")], "local", print)
    assert caught.value.remedy == "pip install 'trocar[ray]'"


def test_no_cluster_at_the_address() -> None:
    class Deaf(StandIn):
        def init(self, **named: Any) -> None:
            raise ConnectionError("Could not find any running Ray instance.\nMore words.")

    with pytest.raises(
        ConfigError, match=r"no Ray cluster at 'auto': Could not find any"
    ) as caught:
        ray_executor._connect(Deaf(), "auto")
    assert "ray start --head" in caught.value.remedy
