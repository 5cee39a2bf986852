"""Label frames with a model, as a draft that annotators correct.

trocar prelabel model.trocar pool/ drafts/ --format coco --min-confidence 0.5
"""

from __future__ import annotations

from pathlib import Path

import click

from trocar.contract.errors import OutputExistsError
from trocar.contract.outputs import check_outputs
from trocar.evaluation.prelabel import SUFFIXES, label_frames, model_digest


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("frames", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(tuple(SUFFIXES)),
    help="Also write OUT/labels_FORMAT for an annotation tool; repeatable.  [default: none]",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Write 255 (ignored) where the confidence is below this value.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda[:n].")
@click.option("--task", help="Task of a data set that has several.  [default: its only task]")
def prelabel(
    model: Path,
    frames: Path,
    out: Path,
    formats: tuple[str, ...],
    min_confidence: float,
    device: str,
    task: str | None,
) -> None:
    """Label FRAMES with MODEL (a bundle, run folder or checkpoint) and write them to OUT.

    OUT is an image-and-mask folder; `trocar train` and `trocar evaluate` read it. After an
    interruption, the same call continues where it stopped.
    """
    from trocar.console.progress import progress_bar
    from trocar.evaluation.model import open_predictor
    from trocar.train.data.annotations.exchange import export_labels
    from trocar.train.data.readers import open_frames
    from trocar.train.data.tools.convert import import_frames

    check_outputs({"OUT": out}, inputs=[model, frames])
    if out.exists():
        raise OutputExistsError(f"{out} exists already", remedy="name another OUT")
    predictor = open_predictor(model, device=device, task="segmentation")
    source = open_frames(frames, task=task)
    draft = label_frames(
        predictor, source, min_confidence=min_confidence, digest=model_digest(model)
    )
    with progress_bar("labelling", total=len(draft)) as bar:
        # One thread: the model runs one frame at a time.
        import_frames(draft, out, workers=1, progress=bar.update)
    written = open_frames(out)
    for kind in formats:
        export_labels(written, out / f"labels_{kind}{SUFFIXES[kind]}", kind=kind)
    click.echo(f"wrote {len(written)} labelled frames to {out}")
