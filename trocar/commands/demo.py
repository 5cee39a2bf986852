"""`trocar demo`: the whole way once, on made-up scenes, by the commands that a user would type.

trocar demo --out demo
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import click

from trocar.contract.errors import OutputExistsError, TrocarError
from trocar.runtime.devices import usable_cores

MARKER = ".trocar-demo"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of the demo.

    Attributes:
        title: What it is for, in the user's words.
        command: Arguments of ``trocar``.
    """

    title: str
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a demo is.

    Attributes:
        frames: Labelled phantom frames, split by clip.
        video_frames: Frames of the held-out video.
        steps: Optimiser steps.
        network: Network height and width.
        frame: Height and width of the labelled frames.
        video: Height and width of the video.
        batch: Images of one step.
    """

    frames: int = 1000
    video_frames: int = 200
    steps: int = 2600
    network: tuple[int, int] = (160, 192)
    frame: tuple[int, int] = (256, 320)
    video: tuple[int, int] = (512, 640)
    batch: int = 4


def plan(out: Path, size: Size) -> list[Step]:
    """The commands in order; every path is inside ``out``."""
    data, video, run = str(out / "data"), str(out / "video"), str(out / "run")
    model, evaluation = str(out / "model.trocar"), str(out / "evaluation")
    frame, wide, network = (
        f"{width}x{height}" for height, width in (size.frame, size.video, size.network)
    )
    make = ("data", "phantom")
    scene = ("--difficulty", "0.3", "--masks", "parts")
    return [
        Step(
            title="Make labelled frames of phantom surgery",
            # Many scenes and few frames of each: they teach more than long clips.
            command=(
                *make,
                data,
                "--count",
                str(size.frames),
                "--size",
                frame,
                *scene,
                "--clip-length",
                "2",
                "--val-test-fractions",
                "0.1",
                "0",
                "--workers",
                str(min(usable_cores(), 8)),
                "--seed",
                "1",
            ),
        ),
        Step(
            title="Make a video of a scene that training never sees",
            command=(
                *make,
                video,
                "--count",
                str(size.video_frames),
                "--size",
                wide,
                *scene,
                "--seed",
                "20000",
                "--video",
            ),
        ),
        Step(
            title="Train",
            command=(
                "train",
                "supervised",
                data,
                "--out",
                run,
                "--name",
                "phantom",
                "--steps",
                str(size.steps),
                "--batch-size",
                str(size.batch),
                "--size",
                network,
                "--augmentation",
                "light",
                # Of the light encoders the one that learns fastest from nothing.
                "--encoder",
                "tu-regnetx_002",
                "--channels-last",
                "--decoder-channels",
                "64",
                "--lr",
                "0.004",
                "--evaluate-every",
                str(max(1, size.steps // 4)),
            ),
        ),
        Step(
            title="Export, and prove the exported model equal to the trained one",
            command=("export", run, "--out", model),
        ),
        Step(
            title="Find the instruments in the held-out video",
            command=(
                "run",
                model,
                f"{video}/video.mp4",
                "--overlay",
                str(out / "overlay.mp4"),
                "--json",
                str(out / "instruments.jsonl"),
                "--metrics",
                str(out / "latency.json"),
            ),
        ),
        Step(
            title="Score the held-out video",
            command=("evaluate", model, video, "--video", "--out", evaluation),
        ),
        Step(
            title="Write the report",
            command=(
                "report",
                run,
                "--evaluation",
                evaluation,
                "--bundle",
                model,
                "--latency",
                str(out / "latency.json"),
                "--data",
                data,
                "--title",
                "Trocar demo",
                "--out",
                str(out / "report.html"),
            ),
        ),
    ]


NEXT = """Next, with your own data (images/, masks/ with equal names, classes.toml):

  trocar data check data/
  trocar train supervised data/ --out runs/first
  trocar evaluate runs/first data/
  trocar export runs/first --out first.trocar
  trocar run first.trocar theatre.mp4 --overlay overlay.mp4 --json instruments.jsonl
"""


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder for everything.",
)
@click.option("--frames", default=Size.frames, show_default=True, help="Labelled frames.")
@click.option("--video-frames", default=Size.video_frames, show_default=True, help="Video frames.")
@click.option("--steps", default=Size.steps, show_default=True, help="Training steps.")
@click.option("--small", is_flag=True, help="Small frames and network: quick, and a worse model.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo in --out.")
def demo(
    out: Path, frames: int, video_frames: int, steps: int, small: bool, overwrite: bool
) -> None:
    """The whole way once, on made-up scenes: data, training, export, video, report.

    Needs no data set, no GPU and no download of weights; takes some minutes on two cores.
    """
    _prepare(out, overwrite=overwrite)
    started = time.monotonic()
    size = Size(frames=frames, video_frames=video_frames, steps=steps)
    if small:
        size = replace(size, network=(96, 128), frame=(192, 256), video=(192, 256))
    steps_to_do = plan(out, size)
    for number, step in enumerate(steps_to_do, 1):
        _do(step, f"{number}/{len(steps_to_do)}")
    scores = json.loads((out / "evaluation" / "evaluation.json").read_text("utf-8"))["scores"]
    click.echo(
        f"\nDone in {time.monotonic() - started:.0f} s. Held-out video: binary IoU "
        f"{scores['iou_binary']:.3f}, mean IoU over instrument parts {scores['iou_mean']:.3f}."
    )
    click.echo(f"Look at {out / 'overlay.mp4'} and {out / 'report.html'}.\n\n{NEXT}")


def _prepare(out: Path, *, overwrite: bool) -> None:
    """Makes the folder; replaces only what an earlier demo made."""
    if out.exists() and any(out.iterdir()):
        if not overwrite or not (out / MARKER).is_file():
            raise OutputExistsError(
                f"{out} exists already",
                remedy="name another --out"
                + (", or pass --overwrite" if (out / MARKER).is_file() else ""),
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()


def _do(step: Step, place: str) -> None:
    """Runs one command in this process, after saying what and why."""
    from trocar.cli import cli

    click.echo("\n" + click.style(f"[{place}] {step.title}", bold=True))
    click.echo(click.style(f"$ trocar {shlex.join(step.command)}", fg="cyan"))
    argv = sys.argv
    # What a command records as its own command line shall be this step's, not the demo's.
    sys.argv = ["trocar", *step.command]
    try:
        cli.main(list(step.command), prog_name="trocar", standalone_mode=False)
    except TrocarError as error:
        raise type(error)(
            f"the demo stopped at: {step.title}: {error.message}", remedy=error.remedy
        ) from error
    finally:
        sys.argv = argv
