"""The steps of `trocar demo`, as the commands that a user would type.

By default the shipped model is exported, proven, run and scored at once, and a short training
follows. A full demo trains its own model first.

for step in plan(Path("demo"), DemoOptions()): print(step.command)
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from trocar.contract.errors import OutputExistsError
from trocar.demo.model import SHIPPED
from trocar.runtime.devices import usable_cores

MARKER = ".trocar-demo"
"""File that marks a folder which a demo wrote; only such a folder is replaced."""

_SCENE = ("--difficulty", "0.3", "--masks", "parts")

NEXT_STEPS = """Next, with your own data (images/, masks/ with equal names, classes.toml):

  trocar data check data/
  trocar train supervised data/ --out runs/first
  trocar evaluate runs/first data/
  trocar export runs/first --out first.trocar
  trocar run first.trocar theatre.mp4 --overlay overlay.mp4 --json instruments.jsonl
"""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of the demo.

    Attributes:
        title: Purpose of the command.
        command: Arguments of ``trocar``.
    """

    title: str
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Numbers and sizes of a demo.

    Attributes:
        full: Train the model that is exported; otherwise the shipped one is.
        frames: Labelled phantom frames, split by clip.
        video_frames: Frames of the held-out video.
        steps: Optimiser steps.
        batch_size: Images of one step.
        network_size: Height and width of the network's input in pixels.
        frame_size: Height and width of the labelled frames in pixels.
        video_size: Height and width of the video in pixels.
    """

    full: bool = False
    frames: int = 200
    video_frames: int = 100
    steps: int = 240
    batch_size: int = 4
    network_size: tuple[int, int] = (160, 192)
    frame_size: tuple[int, int] = (256, 320)
    video_size: tuple[int, int] = (512, 640)


FULL = DemoOptions(full=True, frames=1000, video_frames=200, steps=2600)
"""The numbers of `trocar demo --full`."""


def plan(out: Path, options: DemoOptions) -> list[Step]:
    """The commands in order; every path is inside ``out``."""
    made = [_make_video(out, options), _make_frames(out, options)]
    shown = [_export(out, options), _run(out), _evaluate(out)]
    train, report = _train(out, options), _report(out)
    if options.full:
        return [*made, train, *shown, report]
    return [*made, *shown, train, report]


def go_on(out: Path, options: DemoOptions) -> str:
    """The command that trains the model of a demo for ten times as long."""
    words = [*_train(out, options).command, "--resume"]
    words[words.index("--steps") + 1] = str(10 * options.steps)
    return shlex.join(("trocar", *words))


def prepare_folder(out: Path, *, overwrite: bool) -> None:
    """Creates the folder of a demo.

    Raises:
        OutputExistsError: The folder is not empty, and may not be replaced or is of no demo.
    """
    if out.exists() and any(out.iterdir()):
        is_demo = (out / MARKER).is_file()
        if not (overwrite and is_demo):
            raise OutputExistsError(
                f"{out} exists already",
                remedy="name another --out" + (", or pass --overwrite" if is_demo else ""),
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()


def _make_frames(out: Path, options: DemoOptions) -> Step:
    # Many scenes with two frames each teach the network more than a few long clips.
    return _step(
        "Make labelled frames of phantom surgery",
        *("data", "phantom", out / "data"),
        *("--count", options.frames),
        *("--size", _width_x_height(options.frame_size)),
        *_SCENE,
        *("--clip-length", 2),
        *("--val-test-fractions", 0.1, 0),
        *("--workers", min(usable_cores(), 8)),
        *("--seed", 1),
    )


def _make_video(out: Path, options: DemoOptions) -> Step:
    return _step(
        "Make a video of a scene that training does not use",
        *("data", "phantom", out / "video"),
        *("--count", options.video_frames),
        *("--size", _width_x_height(options.video_size)),
        *_SCENE,
        *("--seed", 20000),
        "--video",
    )


def _train(out: Path, options: DemoOptions) -> Step:
    # Of the light encoders, tu-regnetx_002 learns fastest without pretrained weights.
    return _step(
        "Train" if options.full else "Train a model of your own for a short time",
        *("train", "supervised", out / "data"),
        *("--out", out / "run"),
        *("--name", "phantom"),
        *("--steps", options.steps),
        *("--batch-size", options.batch_size),
        *("--size", _width_x_height(options.network_size)),
        *("--augmentation", "light"),
        *("--encoder", "tu-regnetx_002"),
        "--channels-last",
        *("--decoder-channels", 64),
        *("--lr", 0.004),
        *("--evaluate-every", max(1, options.steps // 4)),
    )


def _export(out: Path, options: DemoOptions) -> Step:
    shipped = out / SHIPPED.name, "--frames", out / "data"
    return _step(
        f"Export {'the model' if options.full else 'the shipped model'}, and verify that the "
        "exported one equals it",
        *("export", *((out / "run",) if options.full else shipped)),
        *("--out", out / "model.trocar"),
    )


def _run(out: Path) -> Step:
    return _step(
        "Find the instruments in the held-out video",
        *("run", out / "model.trocar", out / "video" / "video.mp4"),
        *("--overlay", out / "overlay.mp4"),
        *("--json", out / "instruments.jsonl"),
        *("--metrics", out / "latency.json"),
    )


def _evaluate(out: Path) -> Step:
    return _step(
        "Score the held-out video",
        *("evaluate", out / "model.trocar", out / "video"),
        "--video",
        *("--out", out / "evaluation"),
    )


def _report(out: Path) -> Step:
    return _step(
        "Write the report",
        *("report", out / "run"),
        *("--evaluation", out / "evaluation"),
        *("--bundle", out / "model.trocar"),
        *("--latency", out / "latency.json"),
        *("--data", out / "data"),
        *("--title", "Trocar demo"),
        *("--out", out / "report.html"),
    )


def _step(title: str, *command: object) -> Step:
    return Step(title=title, command=tuple(str(word) for word in command))


def _width_x_height(size: tuple[int, int]) -> str:
    height, width = size
    return f"{width}x{height}"
