"""``trocar data``: check, make and convert data sets.

trocar data check our_theatre/
"""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from trocar.commands._data.labels import composite_command, labels_in_command, labels_out_command
from trocar.console.progress import progress_bar
from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError


@click.group()
def data() -> None:
    """Check, make and convert data sets."""


data.add_command(composite_command)
data.add_command(labels_out_command)
data.add_command(labels_in_command)


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
    from trocar.console.data import show
    from trocar.train.data.tools.check import check

    table = ClassTable.read(classes) if classes else None
    with progress_bar("reading") as bar:
        report = check(
            folder,
            table=table,
            task=task,
            workers=workers,
            progress=bar.update,
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
@click.option("--frames", default=200, show_default=True, help="Number of frames.")
@click.option("--video", is_flag=True, help="Write a held-out video with its masks as well.")
@click.option("--size", default="640x512", show_default=True, help="WIDTHxHEIGHT in pixels.")
@click.option(
    "--domain", default="laparoscopy", show_default=True, help="Look: laparoscopy or robotic."
)
@click.option("--difficulty", default=0.5, show_default=True, help="0 (clean) to 1 (hard).")
@click.option(
    "--masks",
    default="types",
    show_default=True,
    type=click.Choice(["types", "parts"]),
    help="What masks/ tells apart.",
)
@click.option(
    "--clip-length", default=25, show_default=True, help="Frames of one scene at the most."
)
@click.option(
    "--fps",
    default=25.0,
    show_default=True,
    help="Frames of a second of scene time; fewer spread a clip in time. The video has 25.",
)
@click.option("--seed", default=0, show_default=True, help="Equal seeds give equal scenes.")
@click.option(
    "--shares",
    nargs=2,
    type=float,
    default=(0.15, 0.15),
    show_default=True,
    help="Shares of the scenes for val and test.",
)
@click.option("--workers", default=1, show_default=True, help="Processes that paint.")
def phantom_command(
    out: Path,
    frames: int,
    video: bool,
    size: str,
    domain: str,
    difficulty: float,
    masks: str,
    clip_length: int,
    fps: float,
    seed: int,
    shares: tuple[float, float],
    workers: int,
) -> None:
    """Write made-up surgical scenes with their ground truth to OUT."""
    from trocar.train.data.phantom import PhantomConfig, write_phantom

    width, height = parse_size(size)
    config = PhantomConfig(
        frames=frames,
        size=(height, width),
        seed=seed,
        domain=domain,
        difficulty=difficulty,
        clip_length=clip_length,
        fps=fps,
    )
    with progress_bar("painting", total=frames * (2 if video else 1)) as bar:
        write_phantom(
            out,
            config,
            video=video,
            masks=masks,
            shares=shares,
            workers=workers,
            progress=bar.update,
        )
    click.echo(f"wrote {frames} frames to {out}; look at them, then: trocar data check {out}")


@data.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--task", help="What the masks shall tell apart, for sets that offer several.")
@click.option(
    "--format",
    "image_format",
    default="png",
    show_default=True,
    type=click.Choice(["png", "jpg"]),
    help="Of the pictures; jpg is smaller and lossy.",
)
@click.option("--workers", default=2, show_default=True, help="Threads that decode and encode.")
def import_command(
    source: Path, out: Path, task: str | None, image_format: str, workers: int
) -> None:
    """Convert a set of any known layout to an image-and-mask folder OUT.

    Run the same command again after an interruption: it goes on where it stopped.
    """
    from trocar.train.data.readers import scan_frames
    from trocar.train.data.sample import raise_faults
    from trocar.train.data.tools.convert import import_frames

    scan, layout = scan_frames(source, task=task)
    raise_faults(source, scan.faults)
    click.echo(f"recognised {layout}", err=True)
    with progress_bar("converting", total=len(scan.frames)) as bar:
        earlier = import_frames(
            scan.frames,
            out,
            image_format=image_format,
            workers=workers,
            progress=bar.update,
        )
    again = f", {earlier} of them by an earlier run" if earlier else ""
    click.echo(f"wrote {len(scan.frames)} frames{again}: {out}")


@data.command("frames")
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--every", default=1, show_default=True, help="Look at every n-th frame.")
@click.option("--seconds", default=1.0, show_default=True, help="Least time between frames.")
@click.option(
    "--distance", default=4, show_default=True, help="Bits of 64 that copies differ by; -1: keep."
)
@click.option("--black", default=12.0, show_default=True, help="Leave out frames darker than this.")
@click.option(
    "--warm", default=0.2, show_default=True, help="Leave out frames less reddish than this; 0: no."
)
@click.option(
    "--format",
    "image_format",
    default="png",
    show_default=True,
    type=click.Choice(["png", "jpg"]),
    help="Of the pictures.",
)
@click.option(
    "--keep-names", is_flag=True, help="Name folders like the videos (may name patients)."
)
def frames_command(videos: tuple[Path, ...], out: Path, **flags: object) -> None:
    """Cut VIDEOS into a pool OUT of frames without labels."""
    from trocar.contract.config import from_mapping
    from trocar.train.data.tools.extract_frames import CutConfig, cut_videos

    config = from_mapping(CutConfig, flags, source="command line")
    with progress_bar("cutting") as bar:
        counts = cut_videos(
            videos,
            out,
            config,
            progress=bar.update,
        )
    left = ", ".join(f"{n} {reason}" for reason, n in counts.items() if reason != "taken")
    click.echo(f"took {counts['taken']} frames (left out: {left}): {out}")


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of a text such as ``640x512``.

    Raises:
        click.BadParameter: It is not of that form.
    """
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise click.BadParameter(f"{text!r}: write width and height as 640x512")
    return int(width), int(height)
