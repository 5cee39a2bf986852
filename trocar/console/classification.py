"""The tables that `trocar evaluate` prints for classifiers.

print_classes(evaluation, predictor, "photos/ (test, 25 photographs)")
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from trocar.console.evaluation import name_table, number, number_table, print_model
from trocar.evaluation.classification.scoring import ClassEvaluation
from trocar.evaluation.model import Predictor


def print_classes(evaluation: ClassEvaluation, predictor: Predictor, data: str) -> None:
    """Prints one row a class, then every other score by its exact name."""
    console = Console()
    print_model(console, predictor, data)
    table = number_table("class", "training", "photos", "recall", "precision", "F1")
    for row in evaluation.per_class:
        training = "–" if row["training"] is None else str(row["training"])
        scores = [number(row[key]) for key in ("recall", "precision", "f1")]
        table.add_row(escape(row["name"]), training, str(row["photos"]), *scores)
    console.print(table)
    rows = {k: number(v) for k, v in evaluation.scores.items() if not k.startswith("recall_")}
    low, high = evaluation.accuracy_interval
    rows["accuracy 95 % interval"] = f"{number(low)} … {number(high)}"
    console.print(name_table(rows))
