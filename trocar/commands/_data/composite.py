"""Clone instruments into other frames.

trocar data composite theatre/ composites/ --foreground labelled/
"""

from __future__ import annotations

from pathlib import Path

import click

from trocar.console.progress import progress_bar
from trocar.contract.errors import ConfigError
from trocar.contract.outputs import check_outputs


@click.command()
@click.argument("backgrounds", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--foreground",
    "sources",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, exists=True),
    help="A labelled set, a green-screen image, or a folder with YOLO boxes; repeatable.",
)
@click.option("--count", default=200, show_default=True, help="Number of composites to write.")
@click.option(
    "--mode",
    default="both",
    show_default=True,
    type=click.Choice(["normal", "mixed", "both"]),
    help="Cloning mode; both: drawn at random for each instrument.",
)
@click.option(
    "--class",
    "class_name",
    default="",
    help="Class of the instruments of green-screen images and YOLO boxes.",
)
@click.option(
    "--margin", default=5, show_default=True, help="Pixels cloned beyond the outline of the label."
)
@click.option(
    "--max-instruments", default=1, show_default=True, help="Largest number of instruments a frame."
)
@click.option(
    "--backgrounds-empty",
    is_flag=True,
    help="Backgrounds without masks show no instrument: label them as background, not as ignored.",
)
@click.option("--seed", default=0, show_default=True, help="Equal seeds give equal composites.")
def composite(
    backgrounds: Path,
    out: Path,
    sources: tuple[Path, ...],
    count: int,
    mode: str,
    class_name: str,
    margin: int,
    max_instruments: int,
    backgrounds_empty: bool,
    seed: int,
) -> None:
    """Clone instruments into the frames of BACKGROUNDS; write the set to the new folder OUT."""
    from trocar.contract.bundle import check_output
    from trocar.contract.config import from_mapping
    from trocar.train.data.compositing.poisson import PlacementConfig
    from trocar.train.data.compositing.write import read_foregrounds, write_composites
    from trocar.train.data.readers import open_frames

    check_outputs({"OUT": out}, inputs=[backgrounds, *sources])
    check_output(out)
    config = from_mapping(
        PlacementConfig,
        {"mode": mode, "margin": margin, "max_instruments": max_instruments},
        source="command line",
    )
    frames = open_frames(backgrounds)
    table = frames.table if len(frames.labelled()) else None
    foregrounds = []
    for source in sources:
        found, table = read_foregrounds(source, table=table, class_name=class_name)
        foregrounds += found
    if table is None:
        raise ConfigError("no foreground was given", remedy="pass --foreground")
    with progress_bar("cloning", total=count) as bar:
        write_composites(
            frames,
            foregrounds,
            out,
            table=table,
            count=count,
            config=config,
            seed=seed,
            unlabelled=0 if backgrounds_empty else 255,
            progress=bar.update,
        )
    click.echo(f"wrote {count} composites of {len(foregrounds)} instruments to {out}")
