"""``trocar data``: check, make and convert data sets.

trocar data check our_theatre/
"""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError


@click.group()
def data() -> None:
    """Check, make and convert data sets."""


def progress_bar() -> Progress:
    """The bar of every command here; on the error stream, so that output can be piped."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


@data.command("check")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--task", help="What the masks shall tell apart: binary, parts, type, …")
@click.option(
    "--classes", type=click.Path(path_type=Path), help="Class table, where the set brings none."
)
@click.option("--workers", default=2, show_default=True, help="Threads that decode.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check_command(
    folder: Path, task: str | None, classes: Path | None, workers: int, as_json: bool
) -> None:
    """Say what FOLDER is, count classes and pixels, and list every fault."""
    from trocar.train.data.check import check
    from trocar.train.data.tables import show

    table = ClassTable.read(classes) if classes else None
    with progress_bar() as bar:
        row = bar.add_task("reading", total=None)
        report = check(
            folder,
            table=table,
            task=task,
            workers=workers,
            progress=lambda done, total: bar.update(row, completed=done, total=total),
        )
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=1))
    else:
        show(report, Console())
    if report.faults:
        raise DataError(
            f"{folder} has {len(report.faults)} fault(s), listed above",
            remedy="mend the named files and check again",
        )


@data.command("phantom")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--frames", default=200, show_default=True, help="Number of labelled frames.")
@click.option(
    "--video", is_flag=True, help="Add a video of as many frames: a scene that no split holds."
)
@click.option("--size", default="640x512", show_default=True, help="WIDTHxHEIGHT in pixels.")
@click.option(
    "--domain", default="laparoscopy", show_default=True, help="Look: laparoscopy or robotic."
)
@click.option("--difficulty", default=0.5, show_default=True, help="0 (clean) to 1 (hard).")
@click.option(
    "--masks",
    type=click.Choice(["types", "parts"]),
    default="types",
    show_default=True,
    help="What the masks tell apart: instrument types, or shaft, wrist and claspers.",
)
@click.option(
    "--clip-length", default=25, show_default=True, help="Frames of one scene at the most."
)
@click.option("--seed", default=0, show_default=True, help="Equal seeds give equal scenes.")
def phantom_command(
    out: Path,
    frames: int,
    video: bool,
    size: str,
    domain: str,
    difficulty: float,
    masks: str,
    clip_length: int,
    seed: int,
) -> None:
    """Write made-up surgical scenes with their ground truth to OUT."""
    from trocar.train.data.phantom import PhantomConfig, write_phantom

    width, height = parse_size(size)
    config = PhantomConfig(
        frames=frames,
        size=(height, width),
        domain=domain,
        difficulty=difficulty,
        clip_length=clip_length,
        seed=seed,
    )
    with progress_bar() as bar:
        row = bar.add_task("painting", total=frames * (2 if video else 1))
        write_phantom(
            out,
            config,
            video=video,
            masks=masks,
            progress=lambda done: bar.update(row, completed=done),
        )
    click.echo(f"wrote {frames} frames to {out}; look at them, then: trocar data check {out}")


@data.command("composite")
@click.argument("backgrounds", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--foreground",
    "sources",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, exists=True),
    help="A labelled set, a picture before a green screen, or a folder of YOLO boxes; repeatable.",
)
@click.option("--count", default=200, show_default=True, help="Number of composites.")
@click.option(
    "--mode",
    default="both",
    show_default=True,
    type=click.Choice(["normal", "mixed", "both"]),
    help="How to clone.",
)
@click.option("--class", "class_name", default="", help="Class of screens' and boxes' instruments.")
@click.option("--margin", default=5, show_default=True, help="Pixels cloned beyond the label.")
@click.option("--most", default=1, show_default=True, help="Instruments a frame, at most.")
@click.option(
    "--clean",
    is_flag=True,
    help="Backgrounds without masks show no instrument (else they are ignored in the labels).",
)
@click.option("--seed", default=0, show_default=True, help="Equal seeds give equal composites.")
def composite_command(
    backgrounds: Path,
    out: Path,
    sources: tuple[Path, ...],
    count: int,
    mode: str,
    class_name: str,
    margin: int,
    most: int,
    clean: bool,
    seed: int,
) -> None:
    """Clone instruments into the frames of BACKGROUNDS by Poisson editing; write the set to OUT."""
    from trocar.contract.bundle import check_output
    from trocar.contract.config import from_mapping
    from trocar.train.data.compositing import read_foregrounds, write_composites
    from trocar.train.data.poisson import PlacementConfig
    from trocar.train.data.readers import open_frames

    check_output(out)
    config = from_mapping(
        PlacementConfig, {"mode": mode, "margin": margin, "most": most}, source="command line"
    )
    frames = open_frames(backgrounds)
    table = frames.table if len(frames.labelled()) else None
    foregrounds = []
    for source in sources:
        found, table = read_foregrounds(source, table=table, class_name=class_name)
        foregrounds += found
    assert table is not None  # there is at least one source
    with progress_bar() as bar:
        row = bar.add_task("cloning", total=count)
        write_composites(
            frames,
            foregrounds,
            out,
            table=table,
            count=count,
            config=config,
            seed=seed,
            unlabelled=0 if clean else 255,
            progress=lambda done, total: bar.update(row, completed=done, total=total),
        )
    click.echo(f"cloned {len(foregrounds)} instruments into {count} frames: {out}")


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of a text such as ``640x512``.

    Raises:
        click.BadParameter: It is not of that form.
    """
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise click.BadParameter(f"{text!r}: write width and height as 640x512")
    return int(width), int(height)
