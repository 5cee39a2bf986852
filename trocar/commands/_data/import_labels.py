"""Make a data set of corrected labels and their images.

trocar data import-labels corrected.json theatre/images corrected/
"""

from __future__ import annotations

from pathlib import Path

import click

from trocar.commands._data import told_to_go_on
from trocar.console.progress import progress_bar
from trocar.contract.classes import ClassTable
from trocar.contract.outputs import check_outputs


@click.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.argument("images", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--classes",
    type=click.Path(path_type=Path),
    help="Class table; by default the labels in the order of the file.",
)
@click.option(
    "--skip-lines",
    is_flag=True,
    help="Leave out lines, which have no area; otherwise they are faults.",
)
@click.option(
    "--instances/--no-instances",
    default=True,
    show_default=True,
    help="Write instance maps, where each shape of SOURCE is one instance.",
)
def import_labels(
    source: Path,
    images: Path,
    out: Path,
    classes: Path | None,
    skip_lines: bool,
    instances: bool,
) -> None:
    """Make the new data set OUT of the labels SOURCE (COCO, CVAT or LabelMe) and their IMAGES.

    After an interruption, run the same command again: it continues where it stopped.
    """
    from trocar.train.data.annotations.exchange import import_labels as make_set

    check_outputs({"OUT": out}, inputs=[source, images, *([classes] if classes else [])])
    table = ClassTable.read(classes) if classes else None
    with told_to_go_on(), progress_bar("reading") as bar:
        notes = make_set(
            source,
            images,
            out,
            table=table,
            skip_lines=skip_lines,
            write_instances=instances,
            progress=bar.update_stage,
        )
    for note in notes:
        click.echo(f"note: {note}")
    click.echo(f"wrote {out}; next: trocar data check {out}")
