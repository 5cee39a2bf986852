"""`trocar evaluate`: scores checkpoints and bundles on labelled data, and compares two of them.

trocar evaluate model.trocar data/ --split test
trocar evaluate runs/a data/ --against runs/b
trocar evaluate runs/fold0 endovis2017/ --fold 0
trocar evaluate tools.trocar photos/ --many 20 --few 5
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trocar.console.evaluation import against_dict, compare, print_comparison, print_scores
from trocar.contract.bundle import replaced_folder
from trocar.contract.errors import OutputExistsError
from trocar.evaluation.frames import VIDEO, VIDEO_MASKS, EvaluationFrames
from trocar.evaluation.output import EVALUATION, write_evaluation
from trocar.evaluation.streaming import evaluate_streaming

if TYPE_CHECKING:
    from trocar.evaluation.model import Predictor
    from trocar.evaluation.scoring import Evaluation


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--split",
    default=None,
    help="Split to score, or all [default: test, else val, else what was not trained on].",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for evaluation.json and pictures."
)
@click.option(
    "--against", type=click.Path(path_type=Path), help="A second model, compared frame by frame."
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda[:n].")
@click.option(
    "--video", is_flag=True, help=f"Score {VIDEO} of DATA against its {VIDEO_MASKS}/ instead."
)
@click.option(
    "--streaming",
    type=click.FloatRange(0, min_open=True),
    metavar="FPS",
    help="Also score the mask on display when each frame arrives, at so many frames a second.",
)
@click.option("--task", default=None, help="Task of a data set that has several.")
@click.option(
    "--fold",
    type=click.IntRange(0),
    default=None,
    help="Score the frames that validate in this fold of the set's protocol, counted from 0.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=2.0,
    show_default=True,
    help="Of the normalised surface Dice (NSD), in pixels of the frame.",
)
@click.option(
    "--many",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Classifiers: classes with more training photographs than this are many-shot.",
)
@click.option(
    "--few",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Classifiers: classes with at most this many are few-shot.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier evaluation in --out.")
def evaluate(
    model: Path,
    data: Path,
    split: str | None,
    out: Path | None,
    against: Path | None,
    device: str,
    video: bool,
    streaming: float | None,
    task: str | None,
    fold: int | None,
    tolerance: float,
    many: int,
    few: int,
    overwrite: bool,
) -> None:
    """Score MODEL (a bundle, run folder or checkpoint) on the labelled frames of DATA.

    IoU and Dice per class, binary and mean, the challenge protocols, normalised surface Dice,
    regions matched one by one, tool presence, calibration, and 95 % intervals by bootstrap over
    videos; all frames together and per video. For classifiers: accuracy, macro-F1, many-, medium-
    and few-shot accuracy by the counts of the data's train split, and each class.
    """
    from trocar.evaluation.model import open_predictor

    if out is not None and out.exists() and not (overwrite and (out / EVALUATION).is_file()):
        raise OutputExistsError(
            f"{out} exists already", remedy="name another --out, or --overwrite"
        )
    predictor = open_predictor(model, device=device)
    if predictor.manifest.task == "classification":
        from trocar.evaluation.photographs_output import evaluate_classes

        evaluate_classes(
            predictor,
            model,
            data,
            split=split,
            against=against,
            many=many,
            few=few,
            out=out,
            device=device,
            segmentation_flags={
                "--video": video,
                "--streaming": streaming is not None,
                "--task": task is not None,
                "--fold": fold is not None,
            },
        )
        return
    rival = None if against is None else open_predictor(against, device=device, task="segmentation")
    source = EvaluationFrames(
        data,
        predictor.manifest.classes,
        split=split,
        video=video,
        task=task,
        fold=fold,
        trained_on=[
            str(one.manifest.source.get("trained_on", "")) for one in (predictor, rival) if one
        ],
    )
    extra = {} if streaming is None else {"streaming": evaluate_streaming(model, source, streaming)}
    first = _score(predictor, source, str(model), tolerance)
    print_scores(first, predictor, source)
    comparison = None
    if rival is not None:
        comparison = compare(first, _score(rival, source, str(against), tolerance))
        print_comparison(comparison, (str(model), str(against)))
    if out is not None:
        with replaced_folder(out) as folder:
            if comparison is not None and against is not None:
                extra["against"] = against_dict(against, comparison)
            write_evaluation(folder, first, predictor, source, model, extra)
        click.echo(f"wrote {out / EVALUATION}")


def _score(
    predictor: Predictor, source: EvaluationFrames, name: str, tolerance: float
) -> Evaluation:
    from rich.console import Console
    from rich.progress import Progress

    from trocar.evaluation.scoring import score

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=source.count)
        return score(predictor, source, tolerance=tolerance, progress=lambda: bar.advance(task))
