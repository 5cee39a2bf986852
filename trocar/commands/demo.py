"""Run everything once on phantom scenes: data, training, export, video, report.

trocar demo --out demo
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

import click

from trocar.contract.errors import TrocarError
from trocar.demo.model import copy_model
from trocar.demo.plan import FULL, NEXT_STEPS, DemoOptions, Step, go_on, plan, prepare_folder


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder for all files.",
)
@click.option("--full", is_flag=True, help="Train the model for as long as it needs.")
@click.option(
    "--frames",
    type=click.IntRange(1),
    help=f"Number of labelled frames. [default: {DemoOptions.frames}, full: {FULL.frames}]",
)
@click.option(
    "--video-frames",
    type=click.IntRange(1),
    help="Number of frames of the held-out video. "
    f"[default: {DemoOptions.video_frames}, full: {FULL.video_frames}]",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    help=f"Number of training steps. [default: {DemoOptions.steps}, full: {FULL.steps}]",
)
@click.option("--small", is_flag=True, help="Small frames and network: faster, but less accurate.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo in --out.")
def demo(
    out: Path,
    full: bool,
    frames: int | None,
    video_frames: int | None,
    steps: int | None,
    small: bool,
    overwrite: bool,
) -> None:
    """Run everything once on phantom scenes: data, export, video, scores, training, report.

    A small model that Trocar ships finds the instruments at once; a short training then shows that
    a network learns. Needs no data set, no GPU and no pretrained weights. Takes about three
    minutes on two CPU cores. With --full the model is trained here, in about 15 minutes.
    """
    prepare_folder(out, overwrite=overwrite)
    started = time.monotonic()
    usual = FULL if full else DemoOptions()
    options = replace(
        usual,
        frames=frames or usual.frames,
        video_frames=video_frames or usual.video_frames,
        steps=steps or usual.steps,
    )
    if small:
        options = replace(
            options, network_size=(96, 128), frame_size=(192, 256), video_size=(192, 256)
        )
    if not full:
        copy_model(out)
    steps_in_order = plan(out, options)
    for number, step in enumerate(steps_in_order, 1):
        _execute(step, f"{number}/{len(steps_in_order)}")
        if step.command[0] == "evaluate":
            _print_scores(out, time.monotonic() - started)
    click.echo(f"\nDone in {time.monotonic() - started:.0f} s.", nl=False)
    if not full:
        click.echo(f" Train for longer:\n\n  {go_on(out, options)}", nl=False)
    click.echo(f"\n\nLook at {out / 'overlay.mp4'} and {out / 'report.html'}.\n\n{NEXT_STEPS}")


def _print_scores(out: Path, seconds: float) -> None:
    scores = json.loads((out / "evaluation" / "evaluation.json").read_text("utf-8"))["scores"]
    click.echo(
        f"\nInstruments found after {seconds:.0f} s. Held-out video: binary IoU "
        f"{scores['iou_binary']:.3f}, mean IoU over instrument parts {scores['iou_mean']:.3f}."
    )


def _execute(step: Step, position: str) -> None:
    """Prints a step and runs its command in this process."""
    from trocar.cli import cli

    click.echo("\n" + click.style(f"[{position}] {step.title}", bold=True))
    click.echo(click.style(f"$ trocar {shlex.join(step.command)}", fg="cyan"))
    argv = sys.argv
    # A command records its own command line: this step's, not the demo's.
    sys.argv = ["trocar", *step.command]
    try:
        cli.main(list(step.command), prog_name="trocar", standalone_mode=False)
    except TrocarError as error:
        raise type(error)(
            f"the demo stopped at: {step.title}: {error.message}", remedy=error.remedy
        ) from error
    finally:
        sys.argv = argv
