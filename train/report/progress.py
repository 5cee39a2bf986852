"""What a run prints while it trains: the progress bar and lines of scores.

with Reporter(total=100, done=0, monitor="iou_mean") as reporter: reporter.step(1, 0.7)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType

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
    """Prints progress and scores; silent in all processes but the main one.

    Args:
        total: Steps of the run.
        done: Steps that are done already.
        monitor: Name of the score to show.
        silent: Shows nothing.
    """

    def __init__(self, *, total: int, done: int, monitor: str, silent: bool = False) -> None:
        self.monitor, self.silent = monitor, silent
        self.score = math.nan
        self.console = Console(stderr=True, quiet=silent)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn(monitor + " {task.fields[score]:.3f}"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=self.console,
            disable=silent or not self.console.is_terminal,
        )
        self._task = self._bar.add_task(
            "", total=total, completed=done, loss=math.nan, score=math.nan
        )

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def step(self, done: int, loss: float) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=done, loss=loss, score=self.score)

    def scores(self, step: int, scores: Mapping[str, float], *, improved: bool) -> None:
        """Prints the scores of an evaluation."""
        self.score = scores.get(self.monitor, math.nan)
        shown = [self.monitor, *(n for n in ("iou_binary", "dice_mean") if n != self.monitor)]
        text = "  ".join(f"{n} {scores[n]:.4f}" for n in shown if n in scores)
        self.say(f"step {step}: {text}{'  (best so far)' if improved else ''}")
