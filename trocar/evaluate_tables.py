"""The tables that `trocar evaluate` prints.

print_scores(evaluation, predictor, frames); print_comparison(first, second, ("a", "b"))
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trocar.bootstrap import paired

if TYPE_CHECKING:
    from trocar.evaluate_frames import EvaluationFrames
    from trocar.predict import Predictor
    from trocar.scoring import Evaluation


def print_scores(evaluation: Evaluation, predictor: Predictor, source: EvaluationFrames) -> None:
    """Prints IoU and Dice per class, then every other score under its exact name."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(
        f"[bold]{predictor.manifest.name}[/bold]  {predictor.backend} {predictor.precision} on "
        f"{predictor.device} · {source.path} ({source.split}, {len(evaluation.frames)} frames)"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    table.add_column("IoU", justify="right")
    table.add_column("Dice", justify="right")
    for row in evaluation.table:
        table.add_row(
            row.name,
            _number(evaluation.scores[f"iou_{row.name}"]),
            _number(evaluation.scores[f"dice_{row.name}"]),
        )
    console.print(table)
    named = Table(box=None, pad_edge=False, show_header=False)
    named.add_column()
    named.add_column(justify="right")
    per_class = {f"{kind}_{row.name}" for row in evaluation.table for kind in ("iou", "dice")}
    for name, value in evaluation.scores.items():
        if name not in per_class:
            named.add_row(name, _number(value))
    for name, (low, high) in evaluation.intervals.items():
        named.add_row(f"{name} 95 % interval", f"{_number(low)} … {_number(high)}")
    named.add_row("calibration error (ECE)", _number(evaluation.calibration["ece"]))
    console.print(named)


def print_comparison(a: Evaluation, b: Evaluation, names: tuple[str, str]) -> None:
    """Prints how model B differs from A on the same frames, with 95 % intervals."""
    from rich.console import Console

    console = Console()
    for key in ("iou_binary", "iou_mean"):
        result = paired(
            [getattr(frame, key) for frame in a.frames],
            [getattr(frame, key) for frame in b.frames],
            groups=[frame.group for frame in a.frames],
        )
        verdict = result.verdict.replace("A is", f"{names[0]} is").replace("B is", f"{names[1]} is")
        console.print(
            f"per-frame {key}: {names[1]} − {names[0]} = {result.mean:+.4f} "
            f"[{result.low:+.4f}, {result.high:+.4f}], {result.wins} wins, {result.losses} losses "
            f"of {result.frames} frames: {verdict}"
        )


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"
