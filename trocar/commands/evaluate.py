"""Score a model on labelled data, and compare two models.

trocar evaluate model.trocar data/ --split test
trocar evaluate runs/a data/ --against runs/b
trocar evaluate runs/fold0 endovis2017/ --fold 0
trocar evaluate model.trocar phantom/ --video
trocar evaluate model.trocar data/ --negative without_instruments.mp4
trocar evaluate tools.trocar photos/ --many 20 --few 5
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trocar.commands._help import GroupedCommand, grouped
from trocar.console.progress import progress_bar
from trocar.contract.bundle import replaced_folder
from trocar.contract.errors import OutputExistsError
from trocar.contract.outputs import check_outputs, check_own_files
from trocar.evaluation.frames import EvaluationFrames, open_evaluation_frames
from trocar.evaluation.metrics.negative import (
    NegativeFrames,
    NegativeScores,
    negative_frames,
    negative_scores,
)
from trocar.evaluation.model import Predictor, open_predictor
from trocar.evaluation.output import EVALUATION, write_evaluation
from trocar.evaluation.request import EvaluationRequest
from trocar.evaluation.video.frames import VIDEO, VIDEO_MASKS, open_video_frames

if TYPE_CHECKING:
    from trocar.evaluation.classification.scoring import ClassEvaluation, LabelledPhotos
    from trocar.evaluation.scoring import Evaluation


@click.command(cls=GroupedCommand)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@grouped(
    "Frames",
    click.option(
        "--split",
        help="Split to score, or all.  [default: test, else val, else what was not trained on]",
    ),
    click.option(
        "--fold",
        type=click.IntRange(0),
        help="Score the validation frames of this fold of the set's protocol, counted from 0.  "
        "[default: no fold]",
    ),
    click.option("--task", help="Task of a data set that has several.  [default: its only task]"),
    click.option(
        "--video",
        is_flag=True,
        help=f"Score {VIDEO} of DATA against its {VIDEO_MASKS}/, or else the films that its frames "
        "come from, and the tracks of the instruments in them: HOTA, IDF1, MOTA.",
    ),
)
@grouped(
    "Segmentation",
    click.option(
        "--tolerance",
        type=click.FloatRange(0),
        default=2.0,
        show_default=True,
        help="Of the normalised surface Dice (NSD), in pixels of the frame.",
    ),
    click.option(
        "--streaming",
        type=click.FloatRange(0, min_open=True),
        metavar="FPS",
        help="Also simulate a live run at FPS frames a second and score the displayed masks.  "
        "[default: no live run]",
    ),
    click.option(
        "--negative",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="FILM|FOLDER",
        help="Also count false alarms on a film or a folder of frames without instruments; may be "
        "repeated.  [default: none]",
    ),
)
@grouped(
    "Classification",
    click.option(
        "--many",
        type=click.IntRange(1),
        default=100,
        show_default=True,
        help="Classes with more training photographs than this are many-shot.",
    ),
    click.option(
        "--few",
        type=click.IntRange(1),
        default=20,
        show_default=True,
        help="Classes with at most this many training photographs are few-shot.",
    ),
)
@grouped(
    "Run and output",
    click.option(
        "--against",
        type=click.Path(path_type=Path),
        help="A second model, compared frame by frame.  [default: none]",
    ),
    click.option("--device", default="cpu", show_default=True, help="cpu or cuda[:n]."),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        help="Folder for evaluation.json and images.  [default: print only]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace an earlier evaluation in --out."),
)
def evaluate(out: Path | None, overwrite: bool, **settings: Any) -> None:
    """Score MODEL (a bundle, run folder or checkpoint) on the labelled frames of DATA.

    Segmentation: IoU and Dice per class, binary and mean, the challenge protocols, normalised
    surface Dice, matched regions, tool presence, calibration, and 95 % intervals by bootstrap over
    videos; over all frames and per video. --video adds HOTA, IDF1, MOTA and identity switches of
    the tracked instruments. --negative adds what the model reports where there is no instrument.

    Classification: accuracy, macro-F1, accuracy of many-, medium- and few-shot classes by the
    counts of the data's train split, and the scores of each class.
    """
    if out is not None and out.exists() and not (overwrite and (out / EVALUATION).is_file()):
        raise OutputExistsError(
            f"{out} exists already",
            remedy="name another --out, or pass --overwrite to replace an earlier evaluation",
        )
    request = EvaluationRequest(**settings)
    if out is not None:
        read = [path for path in (request.model, request.data, request.against) if path is not None]
        check_outputs({"--out": out}, inputs=read, folders=["--out"])
        if out.exists():
            check_own_files(out, rf"{re.escape(EVALUATION)}|[a-z]+_[0-9]+\.jpg")
    predictor = open_predictor(request.model, device=request.device)
    if predictor.manifest.task == "classification":
        _evaluate_classifier(predictor, request, out)
    else:
        _evaluate_segmentation(predictor, request, out)
    if out is not None:
        click.echo(f"wrote {out / EVALUATION}")


def _evaluate_segmentation(
    predictor: Predictor, request: EvaluationRequest, out: Path | None
) -> None:
    from trocar.console.evaluation import print_comparison, print_scores, print_streaming
    from trocar.evaluation.comparison import compare, comparison_to_dict
    from trocar.evaluation.streaming import streaming_scores

    second = None
    if request.against is not None:
        second = open_predictor(request.against, device=request.device, task="segmentation")
    models = [predictor] if second is None else [predictor, second]
    open_frames = open_video_frames if request.video else open_evaluation_frames
    frames = open_frames(
        request.data,
        predictor.manifest.classes,
        split=request.split,
        task=request.task,
        fold=request.fold,
        trained_on=[str(model.manifest.source.get("trained_on", "")) for model in models],
    )
    # Opened first: a wrong path should not be found out after an hour of scoring.
    opened = _open_negatives(predictor, request)
    extra: dict[str, Any] = {}
    if request.streaming is not None:
        live = streaming_scores(request.model, frames, fps=request.streaming)
        extra["streaming"] = {"fps": request.streaming, **live}
        print_streaming(extra["streaming"])
    evaluation = _score(predictor, frames, request.model, request.tolerance)
    print_scores(evaluation, predictor, frames)
    if request.video:
        extra["tracking"] = _score_tracks(predictor, frames, request.model)
    negative = _score_negatives(predictor, opened, request.model)
    if second is not None and request.against is not None:
        other = _score(second, frames, request.against, request.tolerance)
        differences = compare(evaluation, other)
        print_comparison(differences, first=request.model, second=request.against)
        extra["against"] = comparison_to_dict(request.against, differences)
        if request.video:
            extra["against"]["tracking"] = _score_tracks(second, frames, request.against)
        others = _score_negatives(second, _open_negatives(second, request), request.against)
        extra["against"]["negative"] = [one.to_dict() for one in others]
    if out is not None:
        with replaced_folder(out) as folder:
            write_evaluation(
                folder,
                evaluation,
                predictor,
                frames=frames,
                model=request.model,
                negative=negative,
                extra=extra,
            )


def _open_negatives(predictor: Predictor, request: EvaluationRequest) -> list[NegativeFrames]:
    return [negative_frames(path, predictor.manifest.classes) for path in request.negative]


def _score_negatives(
    predictor: Predictor, opened: list[NegativeFrames], model: Path
) -> list[NegativeScores]:
    """False alarms of a model on each ``--negative``; prints them."""
    from trocar.console.evaluation import print_negative

    found = []
    for negative in opened:
        with progress_bar(f"{model} on {negative.path}", total=negative.count) as bar:
            found.append(negative_scores(predictor, negative, progress=bar.advance))
    if found:
        print_negative(found, model)
    return found


def _score(
    predictor: Predictor, frames: EvaluationFrames, model: Path, tolerance: float
) -> Evaluation:
    from trocar.evaluation.scoring import score

    with progress_bar(str(model), total=frames.count) as bar:
        return score(predictor, frames, tolerance=tolerance, progress=bar.advance)


def _score_tracks(predictor: Predictor, frames: EvaluationFrames, model: Path) -> dict[str, Any]:
    """Tracking scores of a model over the videos, JSON-ready; prints them."""
    from trocar.console.evaluation import print_tracking
    from trocar.evaluation.video.tracking import tracking_over_videos

    with progress_bar(f"{model}, tracks", total=frames.count) as bar:
        found = tracking_over_videos(predictor, frames, progress=bar.advance)
    print_tracking(found, model)
    return found.to_dict()


def _evaluate_classifier(
    predictor: Predictor, request: EvaluationRequest, out: Path | None
) -> None:
    from rich.console import Console

    from trocar.console.classification import print_classes
    from trocar.console.evaluation import difference_line
    from trocar.evaluation.classification.output import compare_accuracy, evaluation_document

    request.check_classification()
    second = None
    if request.against is not None:
        second = open_predictor(request.against, device=request.device, task="classification")
    models = [predictor] if second is None else [predictor, second]
    # Both are scored on the same photographs: those that neither was trained on.
    trained_on = [str(model.manifest.source.get("trained_on", "")) for model in models]
    evaluation, photos = _score_photos(predictor, request, request.model, trained_on)
    print_classes(
        evaluation,
        predictor,
        f"{request.data} ({photos.split}, {len(evaluation.rows)} photographs)",
    )
    if second is not None and request.against is not None:
        other, _ = _score_photos(second, request, request.against, trained_on)
        result = compare_accuracy(evaluation, other)
        Console().print(
            difference_line("accuracy", result, request.model, request.against, "photographs")
        )
    if out is not None:
        with replaced_folder(out) as folder:
            document = evaluation_document(evaluation, predictor, photos=photos, request=request)
            (folder / EVALUATION).write_text(json.dumps(document, indent=1), encoding="utf-8")


def _score_photos(
    predictor: Predictor, request: EvaluationRequest, model: Path, trained_on: list[str]
) -> tuple[ClassEvaluation, LabelledPhotos]:
    from trocar.evaluation.classification.scoring import open_photos, score_photos

    photos = open_photos(
        request.data, predictor.manifest.classes, split=request.split, trained_on=trained_on
    )
    with progress_bar(str(model), total=len(photos.photos)) as bar:
        evaluation = score_photos(
            predictor,
            photos,
            many=request.many,
            few=request.few,
            progress=bar.advance,
        )
    return evaluation, photos
