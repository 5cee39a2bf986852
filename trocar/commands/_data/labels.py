"""``trocar data composite``, ``labels-out`` and ``labels-in``: commands that make or move labels.

trocar data composite theatre/ composites/ --foreground labelled/
"""

from __future__ import annotations

from pathlib import Path

import click

from trocar.console.progress import progress_bar
from trocar.contract.classes import ClassTable


@click.command("composite")
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
    from trocar.train.data.compositing.poisson import PlacementConfig
    from trocar.train.data.compositing.write import read_foregrounds, write_composites
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
    with progress_bar("cloning", total=count) as bar:
        write_composites(
            frames,
            foregrounds,
            out,
            table=table,
            count=count,
            config=config,
            seed=seed,
            unlabelled=0 if clean else 255,
            progress=bar.update,
        )
    click.echo(f"cloned {len(foregrounds)} instruments into {count} frames: {out}")


@click.command("labels-out")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    default="coco",
    show_default=True,
    type=click.Choice(["coco", "coco-rle", "labelme", "cvat", "cvat-rle"]),
    help="For which tool.",
)
@click.option("--task", help="What the masks shall tell apart, for sets that offer several.")
def labels_out_command(folder: Path, out: Path, kind: str, task: str | None) -> None:
    """Write the masks of FOLDER, predicted ones too, to OUT for an annotation tool."""
    from trocar.train.data.annotations.exchange import export_labels
    from trocar.train.data.readers import open_frames

    frames = open_frames(folder, task=task)
    with progress_bar("writing", total=len(frames)) as bar:
        export_labels(frames, out, kind=kind, progress=bar.update)
    click.echo(f"wrote the labels of {len(frames)} frames: {out}")


@click.command("labels-in")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.argument("images", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--classes", type=click.Path(path_type=Path), help="Class table to read them by.")
def labels_in_command(source: Path, images: Path, out: Path, classes: Path | None) -> None:
    """Make a set OUT of corrected labels (COCO, CVAT or LabelMe) and their IMAGES."""
    from trocar.train.data.annotations.exchange import import_labels

    table = ClassTable.read(classes) if classes else None
    with progress_bar("reading") as bar:
        import_labels(
            source,
            images,
            out,
            table=table,
            progress=bar.update,
        )
    click.echo(f"wrote {out}; next: trocar data check {out}")
