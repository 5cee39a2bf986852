"""`trocar evaluate` of classifiers: the tables that it prints and the JSON that it writes.

trocar evaluate tools.trocar photos/ --split test --many 20 --few 5 --out scores
"""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trocar.contract.bundle import replaced_folder
from trocar.contract.errors import ConfigError
from trocar.evaluation.bootstrap import paired
from trocar.evaluation.model import Predictor, open_predictor
from trocar.evaluation.output import EVALUATION, SCHEMA, environment
from trocar.evaluation.photographs import (
    ClassEvaluation,
    LabelledPhotos,
    open_labelled,
    score_classes,
)


def evaluate_classes(
    predictor: Predictor,
    model: Path,
    data: Path,
    *,
    split: str | None,
    against: Path | None,
    many: int,
    few: int,
    out: Path | None,
    device: str,
    segmentation_flags: Mapping[str, bool],
) -> None:
    """Scores a classifier, prints, compares with another, writes ``evaluation.json``.

    Raises:
        ConfigError: Flags that only segmentation has.
        BundleError: ``against`` is no classifier.
        DataError: See `open_labelled`.
    """
    from rich.console import Console

    given = [flag for flag, on in segmentation_flags.items() if on]
    if given or few > many:
        faults = [f"{flag} is for models that segment" for flag in given]
        faults += [f"--few is {few}, above --many, {many}"] if few > many else []
        raise ConfigError(f"{model}: " + "; ".join(faults), remedy="see `trocar evaluate --help`")
    first, source = _scored(predictor, model, data, split, many, few)
    print_classes(first, predictor, source, data)
    if against is not None:
        rival = open_predictor(against, device=device, task="classification")
        second, _ = _scored(rival, against, data, split, many, few)
        result = paired(
            [float(row.truth == row.predicted) for row in first.rows],
            [float(row.truth == row.predicted) for row in second.rows],
            groups=[row.group for row in first.rows],
        )
        verdict = result.verdict.replace("A is", f"{model} is").replace("B is", f"{against} is")
        Console().print(
            f"accuracy: {against} − {model} = {result.mean:+.4f} [{result.low:+.4f}, "
            f"{result.high:+.4f}], {result.wins} wins, {result.losses} losses of "
            f"{result.frames} photographs: {verdict}"
        )
    if out is None:
        return
    with replaced_folder(out) as folder:
        document = _document(first, source, predictor, model, data)
        (folder / EVALUATION).write_text(json.dumps(document, indent=1), encoding="utf-8")
    Console().print(f"wrote {out / EVALUATION}", soft_wrap=True)


def print_classes(
    found: ClassEvaluation, predictor: Predictor, source: LabelledPhotos, data: Path
) -> None:
    """Prints every class, then every other score under its exact name."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(
        f"[bold]{predictor.manifest.name}[/bold]  {predictor.backend} {predictor.precision} on "
        f"{predictor.device} · {data} ({source.split}, {len(found.rows)} photographs)"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for column in ("training", "photos", "recall", "precision", "F1"):
        table.add_column(column, justify="right")
    for row in found.per_class:
        training = "–" if row["training"] is None else str(row["training"])
        numbers = [_number(row[key]) for key in ("recall", "precision", "f1")]
        table.add_row(escape(row["name"]), training, str(row["photos"]), *numbers)
    console.print(table)
    named = Table(box=None, pad_edge=False, show_header=False)
    named.add_column()
    named.add_column(justify="right")
    for name, value in found.scores.items():
        if not name.startswith("recall_"):
            named.add_row(escape(name), _number(value))
    low, high = found.accuracy_interval
    named.add_row("accuracy 95 % interval", f"{_number(low)} … {_number(high)}")
    console.print(named)


def _scored(
    predictor: Predictor, model: Path, data: Path, split: str | None, many: int, few: int
) -> tuple[ClassEvaluation, LabelledPhotos]:
    from rich.console import Console
    from rich.progress import Progress

    source = open_labelled(data, predictor.manifest.classes, split=split)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(str(model), total=len(source.photos))
        found = score_classes(
            predictor, source, many=many, few=few, progress=lambda: bar.advance(task)
        )
    return found, source


def _document(
    found: ClassEvaluation,
    source: LabelledPhotos,
    predictor: Predictor,
    model: Path,
    data: Path,
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "task": "classification",
        "model": predictor.about(model),
        "data": {"path": str(data), "split": source.split, "photos": len(source.photos)},
        "command": shlex.join(["trocar", *sys.argv[1:]]),
        "environment": environment(),
        **found.to_dict(),
    }


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"
