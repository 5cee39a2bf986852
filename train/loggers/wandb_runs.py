"""Weights & Biases, offline: a run in the folder ``wandb/``, which ``wandb sync`` sends later.

    logger = WandbLogger(RunInfo(name="first", folder=Path("runs/first")))

Nothing is sent unless the environment says ``WANDB_MODE=online``.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trocar.train.loggers.protocol import RunInfo


class WandbLogger:
    """One run of Weights & Biases; a resumed run goes on under the same number.

    Args:
        info: See `trocar.train.loggers.protocol.RunInfo`.
    """

    def __init__(self, info: RunInfo) -> None:
        import wandb

        self._wandb: Any = wandb
        self.identity = info.identity or uuid.uuid4().hex[:8]
        self._run: Any = wandb.init(
            project=info.experiment,
            name=info.name,
            id=self.identity,
            dir=str(info.folder),
            config=dict(info.settings),
            mode=os.environ.get("WANDB_MODE", "offline"),
            resume="allow",
            settings=wandb.Settings(console="off", silent=True),
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the values."""
        self._run.log(dict(values), step=step)

    def picture(self, name: str, path: Path, step: int) -> None:
        """Logs the picture."""
        self._run.log({name: self._wandb.Image(str(path))}, step=step)

    def artefact(self, path: Path) -> None:
        """Logs a file or folder as an artefact."""
        kind = "bundle" if path.is_dir() else "file"
        one = self._wandb.Artifact(f"{self.identity}-{path.name}", type=kind)
        if path.is_dir():
            one.add_dir(str(path))
        else:
            one.add_file(str(path))
        self._run.log_artifact(one)

    def close(self, *, failed: bool) -> None:
        """Ends the run."""
        self._run.finish(exit_code=int(failed))
