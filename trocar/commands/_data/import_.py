"""Convert a data set to an image-and-mask folder.

trocar data import cholec80/ frames/
"""

from __future__ import annotations

from pathlib import Path

import click

from trocar.commands._data import told_to_go_on
from trocar.console.progress import progress_bar
from trocar.contract.outputs import check_outputs


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--task", help="What the masks distinguish, for sets with several tasks.")
@click.option("--layout", help="Layout to read, e.g. folder; by default it is recognised.")
@click.option(
    "--format",
    "image_format",
    default="png",
    show_default=True,
    type=click.Choice(["png", "jpg"]),
    help="Format of the images; jpg is smaller and lossy.",
)
@click.option("--workers", default=2, show_default=True, help="Threads that decode and encode.")
def import_(
    source: Path,
    out: Path,
    task: str | None,
    layout: str | None,
    image_format: str,
    workers: int,
) -> None:
    """Convert the data set SOURCE to the new image-and-mask folder OUT.

    After an interruption, run the same command again: it continues where it stopped.
    """
    from trocar.train.data.readers import scan_frames
    from trocar.train.data.sample import raise_faults
    from trocar.train.data.tools.convert import import_frames

    check_outputs({"OUT": out}, inputs=[source])
    scan, recognised = scan_frames(source, task=task, layout=layout)
    raise_faults(source, scan.faults)
    click.echo(f"recognised {recognised}", err=True)
    with told_to_go_on(), progress_bar("converting", total=len(scan.frames)) as bar:
        earlier = import_frames(
            scan.frames, out, image_format=image_format, workers=workers, progress=bar.update
        )
    again = f" ({earlier} of them in an earlier run)" if earlier else ""
    click.echo(f"wrote {len(scan.frames)} frames{again} to {out}")
