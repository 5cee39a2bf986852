"""Everything once, small: the commands of the demo and of the README, in a new folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest
from example_commands import faults_of_command
from places import ROOT

from trocar.contract.errors import IntegrityError
from trocar.demo import model
from trocar.demo.plan import FULL, DemoOptions, go_on, plan

SMALL_DEMO = DemoOptions(
    frames=80, steps=60, network_size=(96, 128), frame_size=(192, 256), video_size=(192, 256)
)
SMALL = {"train": ["--steps", "4", "--batch-size", "2", "--size", "80x64", "--workers", "0"]}


def trocar(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trocar.cli", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
    )


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    done = trocar(
        "demo", "--out", "demo", "--frames", "80", "--video-frames", "10", "--steps", "60",
        "--small", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Held-out video: binary IoU" in done.stdout
    assert f"{go_on(Path('demo'), SMALL_DEMO)}\n" in done.stdout
    return folder / "demo"


@pytest.mark.slow
def test_the_demo_writes_a_report_a_video_and_a_verified_bundle(small_demo: Path) -> None:
    page = (small_demo / "report.html").read_text(encoding="utf-8")
    for part in (
        "Training",
        "Evaluation of",
        "Verification of",
        "Latency",
        "trocar train supervised",
    ):
        assert part in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "a request would leave the page"
    assert len(page) < 5_000_000
    with av.open(str(small_demo / "overlay.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 10
    lines = (small_demo / "instruments.jsonl").read_text().splitlines()
    assert len(lines) == 10
    assert json.loads(lines[0])["schema"] == "1.1"
    parity = json.loads((small_demo / "model.trocar" / "parity.json").read_text())
    assert parity["passed"]
    evaluation = json.loads((small_demo / "evaluation" / "evaluation.json").read_text("utf-8"))
    # The shipped model, which the demo's own short training does not touch.
    assert evaluation["scores"]["iou_binary"] > 0.6


@pytest.mark.slow
def test_the_demo_does_not_overwrite(small_demo: Path) -> None:
    done = trocar("demo", "--out", str(small_demo), cwd=small_demo.parent)
    assert done.returncode == 11
    assert "--overwrite" in done.stderr
    assert (small_demo / "report.html").is_file()


def readme_block(heading: str, language: str = "") -> str:
    """The first block of code of that language below a heading of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split(f"## {heading}\n")[1]
    return text.split(f"```{language}\n")[1].split("```")[0]


@pytest.mark.slow
def test_the_readme_commands_and_its_program_work(small_demo: Path, tmp_path: Path) -> None:
    shutil.copytree(small_demo / "data", tmp_path / "data")
    shutil.copy(small_demo / "video" / "video.mp4", tmp_path / "theatre.mp4")
    # A model of a few steps predicts one class only, and an export refuses to compare that. The run
    # of the demo takes the place of the long training that the README means.
    block = readme_block("Your own data in six commands")
    commands = [shlex.split(line) for line in block.strip().splitlines()]
    assert [words[0] for words in commands] == ["pip", *["trocar"] * 5]
    for words in commands[1:]:
        extra = SMALL.get(words[1], [])
        done = trocar(*words[1:], *extra, cwd=tmp_path)
        assert done.returncode == 0, f"{shlex.join(words)}: {done.stdout}{done.stderr}"
        if words[1] == "train":
            shutil.rmtree(tmp_path / "runs" / "first")
            shutil.copytree(small_demo / "run", tmp_path / "runs" / "first")
    assert (tmp_path / "overlay.mp4").is_file()
    assert (tmp_path / "instruments.jsonl").is_file()

    with av.open(str(tmp_path / "theatre.mp4")) as video:
        next(video.decode(video=0)).to_image().save(tmp_path / "frame.png")
    program = readme_block("In your program", "python")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = readme_block("In your program", "text").splitlines()
    form = re.compile(r"\w[\w -]* [01]\.\d\d \[\d+, \d+, \d+, \d+\]")
    assert shown
    assert all(form.fullmatch(line) for line in (*shown, *done.stdout.splitlines()))


@pytest.mark.parametrize("options", [DemoOptions(), FULL], ids=["short", "full"])
def test_the_steps_of_the_demo_are_real_commands(options: DemoOptions) -> None:
    steps = [shlex.join(("trocar", *step.command)) for step in plan(Path("demo"), options)]
    for command in (*steps, go_on(Path("demo"), options)):
        assert faults_of_command(command) == []
    kinds = [step.command[0] for step in plan(Path("demo"), options)]
    # Only a full demo exports what it trains.
    assert (kinds.index("train") < kinds.index("export")) == options.full


def test_the_shipped_model_is_small_and_a_changed_one_is_refused(monkeypatch, tmp_path) -> None:
    record = json.loads(model.RECORD.read_text(encoding="utf-8"))
    copy = model.copy_model(tmp_path)
    assert copy.read_bytes() == model.SHIPPED.read_bytes()
    assert copy.stat().st_size < 3_000_000
    assert record["commands"][1].startswith("trocar train supervised")

    changed = bytearray(copy.read_bytes())
    changed[-1] ^= 1
    copy.write_bytes(changed)
    monkeypatch.setattr(model, "SHIPPED", copy)
    with pytest.raises(IntegrityError, match="missing or was changed"):
        model.copy_model(tmp_path)
