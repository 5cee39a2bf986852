"""Loggers that write into the run's folder: TensorBoard and CSV.

logger = CsvLogger(RunInfo(name="first", folder=Path("runs/first")))
logger.scalars(1, {"loss/ce": 0.7})
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trocar.contract.bundle import write_atomic
from trocar.train.loggers.protocol import RunInfo

CSV_NAME = "metrics.csv"


class TensorBoardLogger:
    """Event files in ``tensorboard/``.

    Args:
        info: See `trocar.train.loggers.protocol.RunInfo`.
    """

    identity = ""

    def __init__(self, info: RunInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # A resumed run repeats steps after its checkpoint; their old events are purged.
        self._board: Any = SummaryWriter(  # type: ignore[no-untyped-call]
            str(info.folder / "tensorboard"), purge_step=info.step or None
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds points to the curves."""
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        if any(name.startswith("validation/") for name in values):
            self._board.flush()

    def picture(self, name: str, path: Path, step: int) -> None:
        """Adds the picture."""
        from trocar.contract.media.pictures import read_image

        self._board.add_image(name, read_image(path), step, dataformats="HWC")

    def artefact(self, path: Path) -> None:
        """Nothing: the file lies beside the events."""

    def close(self, *, failed: bool) -> None:
        """Closes the file."""
        self._board.close()


class CsvLogger:
    """``metrics.csv`` with the columns step, name, value: one line a value.

    Args:
        info: See `trocar.train.loggers.protocol.RunInfo`.
    """

    identity = ""

    def __init__(self, info: RunInfo) -> None:
        self.path = info.folder / CSV_NAME
        kept = ["step,name,value"]
        if self.path.is_file() and info.step:
            lines = self.path.read_text(encoding="utf-8").splitlines()[1:]
            kept += [line for line in lines if _step(line) <= info.step]
        write_atomic(self.path, ("\n".join(kept) + "\n").encode())

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Appends the values."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows((step, name, f"{value:.9g}") for name, value in values.items())

    def picture(self, name: str, path: Path, step: int) -> None:
        """Nothing: a table has no pictures."""

    def artefact(self, path: Path) -> None:
        """Nothing: the file lies beside the table."""

    def close(self, *, failed: bool) -> None:
        """Nothing: every line is complete."""


def _step(line: str) -> float:
    """The step of a line; infinite for a line that was cut off, which is dropped."""
    parts = line.rsplit(",", 1)[0].partition(",")
    return int(parts[0]) if parts[0].isdigit() and parts[2] else float("inf")
