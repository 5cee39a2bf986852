"""Prints the result of an export: the report of the parity gate, and engines.

print_report(report, Path("first.trocar"))
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from trocar.contract.tensorrt.engines import EngineSidecar
    from trocar.export.parity.types import ParityReport


def print_report(report: ParityReport, out: Path) -> None:
    """Prints the totals, one line for each class, sizes, times and notes."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    metrics = report.metrics
    if report.task == "instances":
        _print_instances(console, report, out)
        return
    console.print(
        f"{out}: {report.precision}, {metrics['equal']:.4%} equal to {report.reference} on "
        f"{int(metrics['frames'])} frames; largest logit difference "
        f"{metrics.get('max_logit_difference', float('nan')):.3g} "
        f"(range {metrics['logit_range']:.3g})"
    )
    agreement = "IoU" if report.task == "segmentation" else "agreement"
    table = Table("class", agreement, "boundary F", "pixels", box=None)
    truth = {
        row["name"]: row for row in report.ground_truth.get("candidate", {}).get("classes", ())
    }
    if truth:
        for side in ("IoU", "Dice"):
            table.add_column(f"{side} (truth)")
    for row in report.classes:
        cells = [row["name"], _shown(row["agreement"]), _shown(row.get("boundary_f"))]
        cells.append(str(row.get("pixels", row.get("frames", ""))))
        if truth:
            cells += [_shown(truth[row["name"]][key]) for key in ("iou", "dice")]
        table.add_row(*cells)
    console.print(table)
    _print_facts(console, report)


def _print_instances(console: Console, report: ParityReport, out: Path) -> None:
    from rich.table import Table

    metrics = report.metrics
    console.print(
        f"{out}: {report.precision}, {int(metrics['pairs'])} instances equal to those of "
        f"{report.reference} on {int(metrics['frames'])} frames; lowest mask IoU "
        f"{metrics['min_mask_iou']:.4f}, largest score difference "
        f"{metrics['max_score_difference']:.3g}"
    )
    table = Table("class", "instances", "mean mask IoU", box=None)
    for row in report.classes:
        table.add_row(row["name"], str(row["pairs"]), _shown(row["agreement"]))
    console.print(table)
    _print_facts(console, report)


def _print_facts(console: Console, report: ParityReport) -> None:
    """Sizes, times and notes."""
    sizes = report.extra.get("onnx_bytes", {})
    times = report.extra.get("milliseconds", {})
    if sizes:
        console.print("size: " + ", ".join(f"{k} {v / 1e6:.2f} MB" for k, v in sizes.items()))
    if times:
        console.print(
            "one frame here, median: " + ", ".join(f"{k} {v:.1f} ms" for k, v in times.items())
        )
    for note in report.notes:
        console.print(f"note: {note}")


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def print_engine(name: str, sidecar: EngineSidecar, size: int) -> None:
    """Prints one engine: size, precision and where it was read, shapes, whether it was verified."""
    from rich.console import Console

    layers = ", ".join(f"{count} layers {kind}" for kind, count in sidecar.layers.items())
    Console().print(
        f"{name}: {size / 1e6:.2f} MB, {sidecar.flavour} {sidecar.version}, "
        f"{sidecar.precision_found} ({layers}; read from the {sidecar.precision_source}), takes "
        f"{sidecar.profile}; {sidecar.verification}",
        soft_wrap=True,
    )
