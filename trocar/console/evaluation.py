"""The tables that `trocar evaluate` prints.

print_scores(evaluation, predictor, frames); print_comparison(compare(first, second), ("a", "b"))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trocar.evaluation.bootstrap import PairedDifference, paired

if TYPE_CHECKING:
    from rich.table import Table

    from trocar.evaluation.frames import EvaluationFrames
    from trocar.evaluation.model import Predictor
    from trocar.evaluation.scoring import Evaluation


_BY_GROUP = ("iou_binary", "iou_mean", "challenge_iou", "isi_iou", "pq")
"""What fits a terminal of 80 columns; ``evaluation.json`` and reports have more."""


def print_scores(evaluation: Evaluation, predictor: Predictor, source: EvaluationFrames) -> None:
    """Prints the scores per class, then every other one under its exact name, then per video."""
    from rich.console import Console
    from rich.table import Table

    from trocar.evaluation.shape_scores import class_columns

    console = Console()
    console.print(
        f"[bold]{predictor.manifest.name}[/bold]  {predictor.backend} {predictor.precision} on "
        f"{predictor.device} · {source.path} ({source.split}, {len(evaluation.frames)} frames)"
    )
    names = [row.name for row in evaluation.table]
    columns = class_columns(evaluation.scores, names)
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for title in columns.values():
        table.add_column(title, justify="right")
    for name in names:
        found = [evaluation.scores.get(prefix + name, math.nan) for prefix in columns]
        table.add_row(name, *map(_number, found))
    console.print(table)
    named = Table(box=None, pad_edge=False, show_header=False)
    named.add_column()
    named.add_column(justify="right")
    per_class = {prefix + name for prefix in columns for name in names}
    for name, value in evaluation.scores.items():
        if name not in per_class:
            named.add_row(name, _number(value))
    for name, (low, high) in evaluation.intervals.items():
        named.add_row(f"{name} 95 % interval", f"{_number(low)} … {_number(high)}")
    named.add_row("calibration error (ECE)", _number(evaluation.calibration["ece"]))
    console.print(named)
    if len(evaluation.groups) > 1:
        console.print(_by_group(evaluation.groups))


def _by_group(groups: Mapping[str, Mapping[str, float]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("video")
    for name in _BY_GROUP:
        table.add_column(name, justify="right", no_wrap=True)
    for group, scores in groups.items():
        table.add_row(group, *(_number(scores[name]) for name in _BY_GROUP))
    return table


def compare(a: Evaluation, b: Evaluation) -> dict[str, PairedDifference]:
    """How model B differs from A on the same frames, by score of a frame, 95 % intervals."""
    return {
        key: paired(
            [getattr(frame, key) for frame in a.frames],
            [getattr(frame, key) for frame in b.frames],
            groups=[frame.group for frame in a.frames],
        )
        for key in ("iou_binary", "iou_mean")
    }


def print_comparison(found: Mapping[str, PairedDifference], names: tuple[str, str]) -> None:
    """Prints how model B differs from A, whose names are given."""
    from rich.console import Console

    console = Console()
    for key, result in found.items():
        verdict = result.verdict.replace("A is", f"{names[0]} is").replace("B is", f"{names[1]} is")
        console.print(
            f"per-frame {key}: {names[1]} − {names[0]} = {result.mean:+.4f} "
            f"[{result.low:+.4f}, {result.high:+.4f}], {result.wins} wins, {result.losses} losses "
            f"of {result.frames} frames: {verdict}"
        )


def against_dict(path: Path | None, found: Mapping[str, PairedDifference]) -> dict[str, Any]:
    """JSON-ready form of a comparison with the model at a path."""
    rows = {
        f"frame_{key}": {
            "difference": result.mean,
            "interval": [result.low, result.high],
            "wins": result.wins,
            "losses": result.losses,
            "frames": result.frames,
            "verdict": result.verdict,
        }
        for key, result in found.items()
        if result.frames
    }
    return {"path": str(path), "scores": rows}


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"
