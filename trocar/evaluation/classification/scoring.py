"""Scores one classifier on labelled photographs: in total, per class, per photograph.

evaluation = score_photos(open_predictor(Path("tools.trocar")), open_photos(Path("photos"), table))
print(evaluation.scores["macro_f1"], evaluation.rows[0].predicted)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import ClassTable
from trocar.contract.errors import DataError
from trocar.evaluation.frames import SEEN
from trocar.evaluation.metrics.bootstrap import interval
from trocar.evaluation.model import Predictor

if TYPE_CHECKING:
    from trocar.train.data.classification.sample import PhotoSet


@dataclass(frozen=True, kw_only=True)
class LabelledPhotos:
    """Photographs that a model is scored on.

    Attributes:
        photos: The photographs, with the data's own class ids.
        ids: The model's class id of each of the data's classes.
        counts: Training photographs ``[K]`` of each of the model's classes; ``None`` where the
            data has no ``train`` split to count.
        split: Its name; ``all`` where there is none.
    """

    photos: PhotoSet
    ids: NDArray[np.int64]
    counts: NDArray[np.int64] | None
    split: str


@dataclass(frozen=True, kw_only=True)
class PhotoScore:
    """One photograph.

    Attributes:
        name: Unique in its set.
        group: Video, patient or alphabet; empty when not known.
        truth: The model's class id.
        predicted: Class id of the best score.
        score: Softmax of that class.
        unknown: Whether the score is below the model's calibrated threshold.
    """

    name: str
    group: str
    truth: int
    predicted: int
    score: float
    unknown: bool


@dataclass(frozen=True, kw_only=True)
class ClassEvaluation:
    """A classifier on one set of photographs.

    Attributes:
        table: The model's classes.
        scores: See `trocar.train.metrics.classification`; also ``unknown``: share of photographs.
        per_class: ``photos``, ``training`` (``None`` where not known), ``recall``, ``precision``
            and ``f1`` of each class, in the order of the table.
        matrix: ``[K, K]`` counts, rows truth, columns prediction.
        accuracy_interval: 95 % bootstrap interval, over groups where they are known.
        rows: One a photograph, in order.
        many: Classes with more training photographs than this are many-shot.
        few: Classes with at most this many are few-shot.
    """

    table: ClassTable
    scores: dict[str, float]
    per_class: tuple[dict[str, Any], ...]
    matrix: NDArray[np.int64]
    accuracy_interval: tuple[float, float]
    rows: tuple[PhotoScore, ...]
    many: int
    few: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; NaN becomes null."""
        from trocar.train.metrics.segmentation import json_ready

        return {
            "classes": self.table.to_dicts(),
            "scores": json_ready(self.scores),
            "per_class": [_no_nan(row) for row in self.per_class],
            "shots": {"many_above": self.many, "few_up_to": self.few},
            "confusion": self.matrix.tolist(),
            "intervals": {"accuracy": list(self.accuracy_interval)},
            "photos": [
                {
                    "name": row.name,
                    "group": row.group,
                    "truth": self.table[row.truth].name,
                    "predicted": self.table[row.predicted].name,
                    "score": round(row.score, 6),
                    "unknown": row.unknown,
                }
                for row in self.rows
            ],
        }


def open_photos(
    path: Path,
    table: ClassTable,
    *,
    split: str | None = None,
    trained_on: Collection[str] = (),
) -> LabelledPhotos:
    """Opens photographs in any layout that training reads.

    Args:
        path: The set.
        table: The model's classes; it may know more than the set holds.
        split: Default: ``test``, else ``val``, else everything that was not trained on.
        trained_on: Training fingerprints of the models, see `trocar.train.data.leakage`.

    Raises:
        DataError: No such set or split, a class that the model does not know, or photographs that
            were trained on.
    """
    from trocar.train.data.classification import readers

    data = readers.open_photos(path)
    chosen = split or next((s for s in ("test", "val") if data.splits.get(s)), None)
    photos = data.subset(chosen) if chosen not in (None, "all") else data
    name = chosen or "all"
    if split not in SEEN:
        unseen = _unseen(photos, trained_on, whole=chosen is None, split=name)
        name = name if len(unseen) == len(photos) else "not trained on"
        photos = unseen
    used = [data.table[int(label)].name for label in np.unique(photos.labels)]
    missing = [name for name in used if name not in table.names]
    if missing:
        raise DataError(
            f"{path} has classes that the model does not know: {', '.join(missing)}; it knows "
            f"{', '.join(table.names)}",
            remedy="enrol them (`trocar enroll`), or score photographs of the model's classes",
        )
    ids = np.array([table[n].id if n in table.names else -1 for n in data.table.names], np.int64)
    counts = None
    if data.splits.get("train"):
        counts = np.zeros(len(table), np.int64)
        known = ids >= 0
        counts[ids[known]] = data.subset("train").counts[known]
    return LabelledPhotos(photos=photos, ids=ids, counts=counts, split=name)


def _unseen(photos: PhotoSet, trained_on: Collection[str], *, whole: bool, split: str) -> PhotoSet:
    """Of a whole set, keeps what was not trained on; refuses a split that was trained on."""
    from trocar.train.data.leakage import unseen_photos

    left = photos
    for packed in trained_on:
        left = unseen_photos(left, packed)
    seen = len(photos) - len(left)
    if seen and (not whole or not len(left)):
        raise DataError(
            f"the model was trained on {seen} of the {len(photos)} photographs of {photos.root} "
            f"({split}), or on others of their images or videos",
            remedy="score photographs that are new to the model; "
            f"--split {' or '.join(SEEN)} scores those of the training",
        )
    return left


def score_photos(
    predictor: Predictor,
    labelled: LabelledPhotos,
    *,
    many: int = 100,
    few: int = 20,
    progress: Callable[[], None] | None = None,
) -> ClassEvaluation:
    """Runs the classifier on every photograph and computes all scores.

    Args:
        predictor: A classifier.
        labelled: See `open_photos`.
        many: Classes with more training photographs than this are many-shot.
        few: Classes with at most this many are few-shot.
        progress: Called after each photograph.

    Raises:
        DataError: A photograph cannot be read.
    """
    from trocar.runtime.enrolment.classes import UNKNOWN
    from trocar.runtime.pipeline.crop_classifier import DecisionRule
    from trocar.train.metrics.classification import classification_scores

    table, photos = predictor.manifest.classes, labelled.photos
    rule = DecisionRule.from_manifest(predictor.manifest)
    rows = []
    for item in photos:
        logits = predictor.infer(photos.read(item)[None])["scores"][0].astype(np.float32)
        answer = rule(logits)
        rows.append(
            PhotoScore(
                name=item.name,
                group=item.group,
                truth=int(labelled.ids[item.label]),
                predicted=int(logits.argmax()),
                score=answer.score,
                unknown=answer.name == UNKNOWN,
            )
        )
        if progress is not None:
            progress()
    truth = np.array([row.truth for row in rows], np.int64)
    predicted = np.array([row.predicted for row in rows], np.int64)
    known = labelled.counts is not None
    counts = labelled.counts if labelled.counts is not None else np.zeros(len(table), np.int64)
    scores = classification_scores(truth, predicted, table=table, counts=counts, many=many, few=few)
    if not known:
        scores |= dict.fromkeys(("accuracy_many", "accuracy_medium", "accuracy_few"), math.nan)
    scores["unknown"] = float(np.mean([row.unknown for row in rows]))
    size = len(table)
    matrix = np.bincount(truth * size + predicted, minlength=size**2).reshape(size, size)
    return ClassEvaluation(
        table=table,
        scores=scores,
        per_class=_per_class(matrix.astype(np.int64), table, labelled.counts),
        matrix=matrix.astype(np.int64),
        accuracy_interval=interval(
            [float(row.truth == row.predicted) for row in rows], groups=[r.group for r in rows]
        ),
        rows=tuple(rows),
        many=many,
        few=few,
    )


def _per_class(
    matrix: NDArray[np.int64], table: ClassTable, counts: NDArray[np.int64] | None
) -> tuple[dict[str, Any], ...]:
    hits, true, predicted = np.diagonal(matrix), matrix.sum(1), matrix.sum(0)
    return tuple(
        {
            "name": row.name,
            "training": None if counts is None else int(counts[row.id]),
            "photos": int(true[row.id]),
            "recall": _share(hits[row.id], true[row.id]),
            "precision": _share(hits[row.id], predicted[row.id]),
            "f1": _share(2 * hits[row.id], true[row.id] + predicted[row.id]),
        }
        for row in table
    )


def _share(part: np.int64, total: np.int64) -> float:
    return float(part / total) if total else math.nan


def _no_nan(row: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
