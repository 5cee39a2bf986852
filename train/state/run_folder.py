"""The folder of a run: which files it holds, and how a resumed run continues them.

    folder = RunFolder(Path("runs/first")); folder.history()

Files: ``config.toml`` (a flat recipe), ``command.txt``, ``history.jsonl``, ``last.ckpt``,
``best.ckpt``, ``tensorboard/``; at the end ``metrics.json``, ``curves.png``, ``predictions.png``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trocar.contract.bundle import write_atomic
from trocar.contract.errors import OutputExistsError, SinkError
from trocar.contract.text.outside_json import load_json
from trocar.train.state.checkpoint import BEST, LAST

CONFIG, COMMAND, HISTORY, METRICS = "config.toml", "command.txt", "history.jsonl", "metrics.json"


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def last(self) -> Path:
        """The checkpoint that ``--resume`` continues from."""
        return self.path / LAST

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation score."""
        return self.path / BEST

    def check(self, *, resume: bool) -> None:
        """Refuses a folder that is not empty, unless the run resumes it.

        Raises:
            OutputExistsError: It is not empty, and the run does not resume it or cannot.
        """
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return
        if not resume:
            raise OutputExistsError(
                f"{self.path} exists already",
                remedy="choose another --out, or pass --resume to continue that run",
            )
        if not (self.path / CONFIG).is_file():
            raise OutputExistsError(
                f"{self.path} is not the folder of a run: it has no {CONFIG}",
                remedy="choose another --out",
            )

    def start(self, recipe: Mapping[str, Any], command: str) -> None:
        """Makes the folder and writes settings and command.

        Raises:
            SinkError: The disk is full or not writable.
        """
        import tomli_w

        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path / CONFIG, tomli_w.dumps(dict(recipe)).encode())
            with (self.path / COMMAND).open("a", encoding="utf-8") as file:
                file.write(command + "\n")

    def history(self) -> list[dict[str, Any]]:
        """Lines of the history; an incomplete last line is left out."""
        lines = []
        if (self.path / HISTORY).is_file():
            for text in (self.path / HISTORY).read_text(encoding="utf-8").splitlines():
                try:
                    lines.append(load_json(text))
                except ValueError:
                    break
        return lines

    def rewind(self, step: int) -> None:
        """Drops the history of steps after ``step``, which will be repeated."""
        lines = [json.dumps(line) + "\n" for line in self.history() if line["step"] <= step]
        with disk_errors(self.path):
            write_atomic(self.path / HISTORY, "".join(lines).encode())

    def add(self, line: Mapping[str, Any]) -> None:
        """Appends one line to the history."""
        with disk_errors(self.path), (self.path / HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Writes ``metrics.json``."""
        text = json.dumps(metrics, indent=1) + "\n"
        with disk_errors(self.path):
            write_atomic(self.path / METRICS, text.encode())


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raises an error that names the folder when writing into it fails.

    Raises:
        SinkError: An ``OSError`` inside the block.
    """
    try:
        yield
    except OSError as error:
        raise SinkError(
            f"cannot write into {path}: {os.strerror(error.errno) if error.errno else error}",
            remedy="free space or correct the permissions, then continue with --resume",
        ) from error
