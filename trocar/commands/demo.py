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
from trocar.demo import NEXT_STEPS, DemoOptions, Step, plan, prepare_folder


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder for all files.",
)
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=DemoOptions.frames,
    show_default=True,
    help="Number of labelled frames.",
)
@click.option(
    "--video-frames",
    type=click.IntRange(1),
    default=DemoOptions.video_frames,
    show_default=True,
    help="Number of frames of the held-out video.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=DemoOptions.steps,
    show_default=True,
    help="Number of training steps.",
)
@click.option("--small", is_flag=True, help="Small frames and network: faster, but less accurate.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo in --out.")
def demo(
    out: Path, frames: int, video_frames: int, steps: int, small: bool, overwrite: bool
) -> None:
    """Run everything once on phantom scenes: data, training, export, video, report.

    Needs no data set, no GPU and no pretrained weights. Takes about ten minutes on two CPU cores.
    """
    prepare_folder(out, overwrite=overwrite)
    started = time.monotonic()
    options = DemoOptions(frames=frames, video_frames=video_frames, steps=steps)
    if small:
        options = replace(
            options, network_size=(96, 128), frame_size=(192, 256), video_size=(192, 256)
        )
    steps_in_order = plan(out, options)
    for number, step in enumerate(steps_in_order, 1):
        _execute(step, f"{number}/{len(steps_in_order)}")
    scores = json.loads((out / "evaluation" / "evaluation.json").read_text("utf-8"))["scores"]
    click.echo(
        f"\nDone in {time.monotonic() - started:.0f} s. Held-out video: binary IoU "
        f"{scores['iou_binary']:.3f}, mean IoU over instrument parts {scores['iou_mean']:.3f}."
    )
    click.echo(f"Look at {out / 'overlay.mp4'} and {out / 'report.html'}.\n\n{NEXT_STEPS}")


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
