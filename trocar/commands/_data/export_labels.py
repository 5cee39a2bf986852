"""Write masks for an annotation tool.

trocar data export-labels theatre/ labels.json --format coco
"""

from __future__ import annotations

from pathlib import Path

import click

from trocar.console.progress import progress_bar
from trocar.contract.outputs import check_outputs


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    default="coco",
    show_default=True,
    type=click.Choice(["coco", "coco-rle", "labelme", "cvat", "cvat-rle"]),
    help="Annotation format; -rle: run lengths instead of polygons.",
)
@click.option("--task", help="What the masks distinguish, for sets with several tasks.")
def export_labels(folder: Path, out: Path, kind: str, task: str | None) -> None:
    """Write the masks of the data set FOLDER to OUT: a file, or a folder for LabelMe."""
    from trocar.train.data.annotations.exchange import export_labels as write_labels
    from trocar.train.data.readers import open_frames

    check_outputs({"OUT": out}, inputs=[folder])
    frames = open_frames(folder, task=task)
    with progress_bar("writing", total=len(frames)) as bar:
        write_labels(frames, out, kind=kind, progress=bar.update)
    click.echo(f"wrote the labels of {len(frames)} frames to {out}")
