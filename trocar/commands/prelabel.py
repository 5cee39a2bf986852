"""`trocar prelabel`: a model's labels of frames, for annotators to correct.

trocar prelabel model.trocar pool/ drafts/ --format coco
trocar data import-labels corrected.json drafts/images corrected/
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trocar.contract.bundle import MANIFEST, check_output

if TYPE_CHECKING:
    from trocar.evaluation.model import Predictor
    from trocar.train.data.sample import FrameSet

SUFFIXES = {"coco": ".json", "coco-rle": ".json", "labelme": "", "cvat": ".xml", "cvat-rle": ".xml"}
"""Of the annotation file by format; LabelMe's is a folder."""


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("frames", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format", "kinds", multiple=True, type=click.Choice(tuple(SUFFIXES)),
    help="Also write OUT/labels_FORMAT for an annotation tool; repeatable.",
)  # fmt: skip
@click.option(
    "--least", type=click.FloatRange(0, 1), default=0.0, show_default=True,
    help="Pixels below this confidence are left to the annotator as ignored (255).",
)  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda[:n].")
@click.option("--task", default=None, help="Task of a data set that has several.")
def prelabel(
    model: Path,
    frames: Path,
    out: Path,
    kinds: tuple[str, ...],
    least: float,
    device: str,
    task: str | None,
) -> None:
    """Label FRAMES by MODEL (a bundle, run folder or checkpoint) and write them to OUT.

    OUT is an image-and-mask folder: it can be corrected, trained on and evaluated like any other.
    A call that was interrupted goes on where it stopped.
    """
    from trocar.console.progress import progress_bar
    from trocar.evaluation.model import open_predictor
    from trocar.train.data.annotations.exchange import export_labels
    from trocar.train.data.readers import open_frames
    from trocar.train.data.tools.convert import import_frames

    check_output(out)
    predictor = open_predictor(model, device=device, task="segmentation")
    seen = labelled_by(predictor, open_frames(frames, task=task), _digest(model), least=least)
    with progress_bar("labelling", total=len(seen)) as bar:
        # One thread: a model is asked by one at a time.
        import_frames(seen, out, workers=1, progress=bar.update)
    made = open_frames(out)
    for kind in kinds:
        export_labels(made, out / f"labels_{kind}{SUFFIXES[kind]}", kind=kind)
    click.echo(f"wrote {len(made)} labelled frames to {out}")


def labelled_by(
    predictor: Predictor, frames: FrameSet, digest: str, *, least: float = 0.0
) -> FrameSet:
    """The same frames with the labels that a model gives them.

    Args:
        predictor: The model.
        frames: Frames; masks that they have are not read into the result.
        digest: Of the model: an interrupted import goes on only with the model that began it.
        least: Confidence below which a pixel is ignored.
    """
    from trocar.contract.classes import IGNORE_INDEX
    from trocar.train.data.sample import Item, Sample

    def read(item: Item) -> Sample:
        image = frames.read(item).image
        labels, confidence = predictor.predict(image)
        if least > 0:
            labels = labels.copy()
            labels[confidence < least] = IGNORE_INDEX
        return Sample(name=item.name, image=image, mask=labels)

    name = f"{frames.name}, labelled by {predictor.manifest.name} {digest} from {least:g} on"
    return replace(frames, name=name, read=read, table=predictor.manifest.classes, task="")


def _digest(model: Path) -> str:
    names = (MANIFEST, "best.ckpt", "last.ckpt")
    file = next((model / name for name in names if (model / name).is_file()), model)
    return hashlib.sha256(file.read_bytes()).hexdigest()[:8]
