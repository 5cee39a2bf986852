"""What an export shows on the terminal: a bar for each stage, and what the gate found.

with progress_bar() as progress: export_bundle(..., progress=progress)
print_report(report, out)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trocar.contract.engines import EngineSidecar
    from trocar.export.gate import Progress
    from trocar.export.parity.types import ParityReport


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """One rich line a stage; nothing but plain text where the output is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield tell


def print_report(report: ParityReport, out: Path) -> None:
    """Prints the gate's numbers: totals, one line a class, notes."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    numbers = report.numbers
    console.print(
        f"{out}: {report.precision}, {numbers['equal']:.4%} equal to {report.reference} on "
        f"{int(numbers['frames'])} frames; largest logit difference "
        f"{numbers.get('largest_logit_difference', float('nan')):.3g} "
        f"(spread {numbers['logit_spread']:.3g})"
    )
    table = Table("class", "agreement", *(["boundary F", "pixels"]), box=None)
    truth = {row["name"]: row for row in report.truth.get("candidate", {}).get("classes", ())}
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
    """Prints one engine: what it is, where its precision was read, whether it ran."""
    from rich.console import Console

    layers = ", ".join(f"{count} layers {kind}" for kind, count in sidecar.layers.items())
    Console().print(
        f"{name}: {size / 1e6:.2f} MB, {sidecar.flavour} {sidecar.version}, "
        f"{sidecar.precision_found} ({layers}; read from the {sidecar.precision_source}), takes "
        f"{sidecar.profile}; {sidecar.proof}",
        soft_wrap=True,
    )
