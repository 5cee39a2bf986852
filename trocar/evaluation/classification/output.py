"""The `evaluation.json` of a classifier, and the comparison of two classifiers.

document = evaluation_document(evaluation, predictor, photos=photos, request=request)
"""

from __future__ import annotations

from typing import Any

from trocar.evaluation.classification.scoring import ClassEvaluation, LabelledPhotos
from trocar.evaluation.metrics.bootstrap import PairedDifference, paired
from trocar.evaluation.model import Predictor
from trocar.evaluation.output import SCHEMA, command_line, environment
from trocar.evaluation.request import EvaluationRequest


def compare_accuracy(first: ClassEvaluation, second: ClassEvaluation) -> PairedDifference:
    """Difference ``second - first`` of the accuracy on the same photographs."""
    return paired(
        [float(row.truth == row.predicted) for row in first.rows],
        [float(row.truth == row.predicted) for row in second.rows],
        groups=[row.group for row in first.rows],
    )


def evaluation_document(
    evaluation: ClassEvaluation,
    predictor: Predictor,
    *,
    photos: LabelledPhotos,
    request: EvaluationRequest,
) -> dict[str, Any]:
    """The JSON document of one evaluation."""
    return {
        "schema": SCHEMA,
        "task": "classification",
        "model": predictor.metadata(request.model),
        "data": {
            "path": str(request.data),
            "split": photos.split,
            "photos": len(photos.photos),
        },
        "command": command_line(),
        "environment": environment(),
        **evaluation.to_dict(),
    }
