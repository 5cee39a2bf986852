"""The tables that `trocar evaluate` prints for segmentation models.

print_scores(evaluation, predictor, frames)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trocar.evaluation.metrics.shape_scores import class_columns

if TYPE_CHECKING:
    from trocar.evaluation.frames import EvaluationFrames
    from trocar.evaluation.metrics.bootstrap import PairedDifference
    from trocar.evaluation.metrics.negative import NegativeScores
    from trocar.evaluation.model import Predictor
    from trocar.evaluation.scoring import Evaluation
    from trocar.evaluation.video.tracking import TrackingEvaluation

_GROUP_SCORES = ("iou_binary", "iou_mean", "challenge_iou", "isi_iou", "pq")
"""What fits a terminal of 80 columns; ``evaluation.json`` and reports have more."""


def print_scores(evaluation: Evaluation, predictor: Predictor, frames: EvaluationFrames) -> None:
    """Prints the scores by class, then every other score by its exact name, then by video."""
    console = Console()
    print_model(console, predictor, f"{frames.path} ({frames.split}, {frames.count} frames)")
    names = evaluation.table.names
    columns = class_columns(evaluation.scores, names)
    table = number_table("class", *columns.values())
    for name in names:
        scores = [evaluation.scores.get(prefix + name, math.nan) for prefix in columns]
        table.add_row(escape(name), *map(number, scores))
    console.print(table)
    per_class = {prefix + name for prefix in columns for name in names}
    rows = {k: number(v) for k, v in evaluation.scores.items() if k not in per_class}
    for name, (low, high) in evaluation.intervals.items():
        rows[f"{name} 95 % interval"] = f"{number(low)} … {number(high)}"
    rows["calibration error (ECE)"] = number(evaluation.calibration["ece"])
    console.print(name_table(rows))
    if len(evaluation.groups) > 1:
        groups = number_table("video", *_GROUP_SCORES)
        for group, by_name in evaluation.groups.items():
            groups.add_row(escape(group), *(number(by_name[name]) for name in _GROUP_SCORES))
        console.print(groups)


def print_comparison(
    differences: Mapping[str, PairedDifference], *, first: Path, second: Path
) -> None:
    """Prints the difference of each per-frame score between two models."""
    console = Console()
    for key, result in differences.items():
        console.print(difference_line(f"per-frame {key}", result, first, second, "frames"))


def print_streaming(scores: Mapping[str, Any]) -> None:
    """Prints what `streaming_scores` gave, and ``fps``."""
    console = Console()
    console.print(
        f"as a live viewer sees it, {scores['fps']:g} frames/s, {scores['frames']} frames:",
        highlight=False,
    )
    for name in ("iou_binary", "iou_mean", "flicker", "age_ms_p50", "age_ms_p99"):
        value = scores[name]
        console.print(f"  {name:12s} {'–' if value is None else f'{value:.4f}'}", highlight=False)
    console.print(
        f"  frames analysed {scores['analysed']}, without a mask {scores['without_mask']}",
        highlight=False,
    )


_TRACKING = ("HOTA", "DetA", "AssA", "IDF1", "MOTA")


def print_tracking(found: TrackingEvaluation, model: Path) -> None:
    """Prints the tracking scores of a model, over all videos and for each."""
    console = Console()
    console.print(f"tracks of {model}, {_TRUTHS[found.truth]}:", highlight=False)
    table = number_table("video", *_TRACKING, "switches", "ids")
    rows = {"all": found.total, **(found.videos if len(found.videos) > 1 else {})}
    for name, scores in rows.items():
        counts = (f"{scores[key]:.0f}" for key in ("switches", "identities"))
        table.add_row(escape(name), *(number(scores[key]) for key in _TRACKING), *counts)
    console.print(table)
    if found.crowded:
        console.print(
            f"  {found.crowded} frames show several instruments of a class, which count as one",
            highlight=False,
        )


_TRUTHS = {
    "instances": "true instruments are the instances of the set",
    "classes": "each class counts as one true instrument",
}


def print_negative(found: Sequence[NegativeScores], model: Path) -> None:
    """Prints the false alarms of a model on films and folders without instruments."""
    console = Console()
    console.print(f"false alarms of {model} where there is no instrument:", highlight=False)
    table = number_table(
        "negative", "frames", "alarms/minute", "frames with alarms", "area %", "largest %"
    )
    for one in found:
        table.add_row(
            escape(str(one.path)),
            str(one.frames),
            f"{one.alarms_per_minute:.1f}",
            f"{100 * one.frames_with_alarms:.1f} %",
            f"{one.area_percent:.3f}",
            f"{one.largest_percent:.3f}",
        )
    console.print(table)


def print_model(console: Console, predictor: Predictor, data: str) -> None:
    """Prints one line: model, backend, precision, device and data."""
    console.print(
        f"[bold]{escape(predictor.manifest.name)}[/bold]  {predictor.backend} "
        f"{predictor.precision} on {predictor.device} · {escape(data)}"
    )


def difference_line(
    what: str, result: PairedDifference, first: Path, second: Path, unit: str
) -> str:
    """One line on a paired difference, with the models' names instead of A and B."""
    verdict = {
        "A is better": f"{first} is better",
        "B is better": f"{second} is better",
    }.get(result.verdict, result.verdict)
    return (
        f"{what}: {second} − {first} = {result.mean:+.4f} [{result.low:+.4f}, {result.high:+.4f}], "
        f"{result.wins} wins, {result.losses} losses of {result.frames} {unit}: {verdict}"
    )


def number_table(first: str, *columns: str) -> Table:
    """A table whose columns, but for the first, are numbers."""
    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def name_table(rows: Mapping[str, str]) -> Table:
    """A table of names and numbers without a head."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(escape(name), value)
    return table


def number(value: float) -> str:
    """Four digits after the point; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.4f}"
