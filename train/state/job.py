"""One training run, as the loop takes it.

Job(method=Supervised(config), run=RunConfig(), data=data, name="first", out=Path("runs/first"))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trocar.contract.config import to_mapping
from trocar.train.methods.protocol import Method, TrainData
from trocar.train.state.settings import RunConfig
from trocar.train.state.start_from import Start


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run.

    Attributes:
        method: A method with its configuration.
        run: Settings of the loop.
        data: Data sets; the loop fills in the rank of this process.
        name: Model name for people.
        out: Folder of the run.
        resume: Continues from the last checkpoint where there is one.
        start: Trained network to start from, where the run does not resume.
        command: The command line that started it.
        source: Free-form JSON about the origin, stored in checkpoints.
        extra: Further lines for ``config.toml``.
    """

    method: Method
    run: RunConfig
    data: TrainData
    name: str
    out: Path
    resume: bool = False
    start: Start | None = None
    command: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self) -> dict[str, Any]:
        """The settings as one flat recipe."""
        return {
            "method": self.method.name,
            **self.extra,
            **to_mapping(self.run),
            **to_mapping(self.method.config),
        }
