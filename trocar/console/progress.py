"""The progress bar of every command.

with progress_bar("reading", total=10) as bar: bar.update(3)

One row is one stage. The bar is drawn on the error stream, so that the output of a command can be
piped, and only where the error stream is a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_MIN_SECONDS = 0.5  # a rate over less time than this changes too fast to read


class ProgressBar:
    """Rows of a bar; its methods fit the progress callbacks of the packages."""

    def __init__(self, rows: Progress, stage: str, total: int | None) -> None:
        self._rows = rows
        self._ids: dict[str, TaskID] = {}
        self._current = stage
        if stage:
            self._row(stage, total)

    def update(self, done: int, total: int | None = None) -> None:
        """Sets how much of the current stage is done; a total of ``None`` changes no total."""
        self._rows.update(self._row(self._current, total), completed=done, total=total)

    def advance(self) -> None:
        """Counts one more of the current stage."""
        self._rows.advance(self._row(self._current, None))

    def update_stage(self, stage: str, done: int, total: int | None = None) -> None:
        """Makes ``stage`` the current stage, on a new row the first time, and updates it."""
        self._current = stage
        self.update(done, total)

    def _row(self, stage: str, total: int | None) -> TaskID:
        if stage not in self._ids:
            self._ids[stage] = self._rows.add_task(stage, total=total)
        return self._ids[stage]


@contextmanager
def progress_bar(
    stage: str = "", *, total: int | None = None, unit: str = ""
) -> Iterator[ProgressBar]:
    """Shows a bar while the block runs, and removes it afterwards.

    Args:
        stage: What is done, such as ``reading``; without it, rows come with `update_stage`.
        total: How much there is to do, where it is known.
        unit: What is counted, such as ``frames``: shows a rate in ``frames/s``.
    """
    console = Console(stderr=True)
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        *([_RateColumn(unit)] if unit else []),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as rows:
        yield ProgressBar(rows, stage, total)


class _RateColumn(ProgressColumn):
    """Mean rate since the start of the stage."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        elapsed = task.elapsed or 0.0
        rate = f"{task.completed / elapsed:.1f}" if elapsed > _MIN_SECONDS else "–"
        return Text(f"{rate} {self._unit}/s")
