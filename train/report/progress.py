"""What a user sees while a run goes on: the progress bar, lines of scores, TensorBoard.

with Reporter(folder, total=100, first=0, best="iou_mean") as reporter: reporter.step(1, 0.7)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Reporter:
    """The one place that talks; a silent one for all processes but the first.

    Args:
        folder: The run's folder, for TensorBoard.
        total: Steps of the run.
        first: Steps that are done already.
        best: Name of the score to show.
        silent: Shows and writes nothing.
    """

    def __init__(
        self, folder: Path, *, total: int, first: int, best: str, silent: bool = False
    ) -> None:
        self.best, self.silent = best, silent
        self.score = math.nan
        self.console = Console(stderr=True, quiet=silent)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn(best + " {task.fields[score]:.3f}"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=self.console,
            disable=silent or not self.console.is_terminal,
        )
        self._task = self._bar.add_task(
            "", total=total, completed=first, loss=math.nan, score=math.nan
        )
        self._board: Any = None
        if not silent:
            from torch.utils.tensorboard import SummaryWriter

            # Events of steps that a resumed run makes again are purged by its first step.
            self._board = SummaryWriter(  # type: ignore[no-untyped-call]
                str(folder / "tensorboard"), purge_step=first if first else None
            )

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def step(self, done: int, loss: float) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=done, loss=loss, score=self.score)

    def losses(
        self, step: int, values: Mapping[str, float], logged: Mapping[str, float], rate: float
    ) -> None:
        """Writes loss terms, what else the method logs, and the learning rate to TensorBoard."""
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"loss/{name}", value, step)
            for name, value in logged.items():
                self._board.add_scalar(f"logged/{name}", value, step)
            self._board.add_scalar("lr", rate, step)

    def scores(self, step: int, scores: Mapping[str, float], *, improved: bool) -> None:
        """Prints and writes the scores of an evaluation."""
        self.score = scores.get(self.best, math.nan)
        shown = [self.best, *(n for n in ("iou_binary", "dice_mean") if n != self.best)]
        text = "  ".join(f"{n} {scores[n]:.4f}" for n in shown if n in scores)
        self.say(f"step {step}: {text}{'  (best so far)' if improved else ''}")
        if self._board is not None:
            for name, value in scores.items():
                self._board.add_scalar(f"validation/{name}", value, step)
            self._board.flush()
