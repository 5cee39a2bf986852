"""Write synthetic surgical scenes with exact ground truth.

trocar data phantom phantom/ --count 200 --size 640x512
"""

from __future__ import annotations

from pathlib import Path

import click

from trocar.commands._types import SizeType
from trocar.console.progress import progress_bar
from trocar.contract.outputs import check_outputs


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--count", default=200, show_default=True, help="Number of frames to write.")
@click.option("--video", is_flag=True, help="Also write a held-out video with its masks.")
@click.option(
    "--size", type=SizeType(), default="640x512", show_default=True, help="Frame size in pixels."
)
@click.option(
    "--domain",
    default="laparoscopy",
    show_default=True,
    type=click.Choice(["laparoscopy", "robotic"]),
    help="Appearance of the scenes.",
)
@click.option("--difficulty", default=0.5, show_default=True, help="0 (clean) to 1 (hard).")
@click.option(
    "--masks",
    default="types",
    show_default=True,
    type=click.Choice(["types", "parts"]),
    help="What masks/ distinguishes.",
)
@click.option(
    "--clip-length", default=25, show_default=True, help="Largest number of frames in a scene."
)
@click.option(
    "--fps",
    default=25.0,
    show_default=True,
    help="Frames per second of scene time; the video always has 25.",
)
@click.option(
    "--crossing",
    is_flag=True,
    help="Two or three instruments of one type in a scene, most of which cross.",
)
@click.option("--seed", default=0, show_default=True, help="Equal seeds give equal scenes.")
@click.option(
    "--val-test-fractions",
    metavar="VAL TEST",
    nargs=2,
    type=float,
    default=(0.15, 0.15),
    show_default=True,
    help="Fractions of the scenes for val and test.",
)
@click.option("--workers", default=1, show_default=True, help="Processes that render.")
def phantom(
    out: Path,
    count: int,
    video: bool,
    size: tuple[int, int],
    domain: str,
    difficulty: float,
    masks: str,
    clip_length: int,
    fps: float,
    crossing: bool,
    seed: int,
    val_test_fractions: tuple[float, float],
    workers: int,
) -> None:
    """Write synthetic surgical scenes with exact ground truth to the new folder OUT."""
    from trocar.train.data.phantom import PhantomConfig, write_phantom

    check_outputs({"OUT": out}, inputs=[])
    config = PhantomConfig(
        frames=count,
        size=size,
        seed=seed,
        domain=domain,
        difficulty=difficulty,
        clip_length=clip_length,
        fps=fps,
        crossing=crossing,
        instruments=(2, 3) if crossing else (1, 3),
    )
    with progress_bar("rendering", total=count * (2 if video else 1)) as bar:
        write_phantom(
            out,
            config,
            video=video,
            masks=masks,
            val_test_fractions=val_test_fractions,
            workers=workers,
            progress=bar.update,
        )
    click.echo(f"wrote {count} frames to {out}; next: trocar data check {out}")
