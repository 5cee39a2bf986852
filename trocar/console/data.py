"""Prints the report of `trocar data check`.

print_check_report(check_frames("our_theatre/"), Console())
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trocar.train.data.tools.check import CheckReport


def print_check_report(report: CheckReport, console: Console) -> None:
    """Prints classes, counts, pixel shares, and every fault with its file name."""
    console.print(f"[bold]{escape(report.name)}[/bold] — {escape(report.layout)}", soft_wrap=True)
    _facts(report, console)
    if report.labelled or report.counts.any():
        console.print(_classes(report))
    for note in report.notes:
        console.print(f"note: {escape(note)}")
    for fault in report.faults:
        console.print(f"[red]fault[/red] {escape(str(fault))}", soft_wrap=True, highlight=False)
    if not report.faults:
        console.print("[green]no faults[/green]")


def _facts(report: CheckReport, console: Console) -> None:
    others = [name for name in report.tasks if name != report.task]
    if others:
        task = report.task or "the masks of classes.toml"
        console.print(f"task: {escape(task)}; others by --task {', '.join(map(escape, others))}")
    with_instances = ", with instance maps" if report.instances else ""
    console.print(
        f"{report.frames} frames read, {report.labelled} of them labelled{with_instances}"
    )
    if report.sizes:
        sizes = ", ".join(f"{w}x{h} ({n})" for (h, w), n in list(report.sizes.items())[:6])
        more = f" and {len(report.sizes) - 6} more sizes" if len(report.sizes) > 6 else ""
        console.print(f"sizes: {sizes}{more}", highlight=False)
    if report.splits:
        console.print("splits: " + ", ".join(f"{s} {n}" for s, n in report.splits.items()))
    else:
        console.print(f"splits: none given; training {_division(report)}")
    if report.groups:
        listed = [f"{escape(g)} ({n})" for g, n in list(report.groups.items())[:12]]
        more = f" and {len(report.groups) - 12} more" if len(report.groups) > 12 else ""
        console.print(f"groups: {', '.join(listed)}{more}", highlight=False)


def _division(report: CheckReport) -> str:
    """How training divides a set without splits, in words."""
    if report.folds:
        folds = "; ".join(f"{i}: {' + '.join(fold)}" for i, fold in enumerate(report.folds[:8]))
        more = " …" if len(report.folds) > 8 else ""
        return f"draws whole groups for validation, or takes --fold: {escape(folds)}{more}"
    if len(report.groups) == 1:
        return "needs --validation: all frames belong to one group"
    if report.groups:
        return "draws whole groups for validation"
    return "takes the last frames for validation"


def _classes(report: CheckReport) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("id", justify="right")
    table.add_column("class")
    table.add_column("frames", justify="right")
    table.add_column("pixels", justify="right")
    table.add_column("fraction", justify="right")
    for row, pixels, share, count in zip(
        report.classes, report.pixels, report.shares, report.counts, strict=True
    ):
        red, green, blue = row.colour
        swatch = f"[rgb({red},{green},{blue})]■[/] " if any(row.colour) else "□ "
        table.add_row(
            str(row.id), swatch + escape(row.name), str(count), f"{pixels}", f"{share:.3%}"
        )
    if report.ignored:
        table.add_row("255", "□ ignored", "", str(report.ignored), "")
    return table
