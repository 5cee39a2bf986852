"""Extract frames from videos, without copies and dark frames.

trocar data extract-frames op1.mp4 op2.mp4 pool/ --seconds 2
"""

from __future__ import annotations

from pathlib import Path

import click

from trocar.console.progress import progress_bar
from trocar.contract.outputs import check_outputs


@click.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--every", default=1, show_default=True, help="Consider every n-th frame.")
@click.option(
    "--seconds", default=1.0, show_default=True, help="Shortest time between two frames considered."
)
@click.option(
    "--max-hash-distance",
    default=4,
    show_default=True,
    help="A frame is a copy if at most so many of 64 hash bits differ; -1: extract copies too.",
)
@click.option(
    "--min-brightness",
    default=12.0,
    show_default=True,
    help="Skip frames with a mean brightness below this (0 to 255).",
)
@click.option(
    "--min-red-fraction",
    default=0.2,
    show_default=True,
    help="Skip frames in which a smaller fraction of the lit pixels is reddish; 0: skip none.",
)
@click.option(
    "--format",
    "image_format",
    default="png",
    show_default=True,
    type=click.Choice(["png", "jpg"]),
    help="Format of the images.",
)
@click.option(
    "--keep-names",
    is_flag=True,
    help="Name the folders after the videos instead of numbering them (may identify patients).",
)
def extract_frames(videos: tuple[Path, ...], out: Path, **flags: object) -> None:
    """Extract frames from VIDEOS to the new folder OUT, for training without labels."""
    from trocar.contract.config import from_mapping
    from trocar.train.data.tools.extract_frames import ExtractConfig, extract

    check_outputs({"OUT": out}, inputs=videos)
    config = from_mapping(ExtractConfig, flags, source="command line")
    with progress_bar("extracting") as bar:
        counts = extract(videos, out, config, progress=bar.update)
    skipped = ", ".join(f"{n} {reason}" for reason, n in counts.items() if reason != "taken")
    click.echo(f"wrote {counts['taken']} frames to {out} (skipped: {skipped})")
