"""The protocol of a logger, and what it is told of the run.

class MyLogger: ...          # satisfies `RunLogger`; a package adds it as a plug-in
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What a logger is told when a run starts or resumes.

    Attributes:
        name: Name of the model.
        folder: The run's folder.
        settings: The run's settings as one flat recipe.
        step: Steps that are done; what was logged of later steps comes again.
        experiment: Name that groups runs, where the logger has groups.
        uri: Address of a server or a store; ``None`` for the logger's own default.
        identity: What `RunLogger.identity` was before, where the run resumes; else empty.
    """

    name: str
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    step: int = 0
    experiment: str = "trocar"
    uri: str | None = None
    identity: str = ""


class RunLogger(Protocol):
    """A record of a run. Any exception that a method raises ends this logger, not the run.

    Attributes:
        identity: What a resumed run needs to go on with the same record; empty for nothing.
    """

    identity: str

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Values by name after a step: ``loss/ce``, ``validation/iou_mean``, ``lr``."""
        ...

    def picture(self, name: str, path: Path, step: int) -> None:
        """A PNG file."""
        ...

    def artefact(self, path: Path) -> None:
        """A file or folder that the run made: a checkpoint, a bundle."""
        ...

    def close(self, *, failed: bool) -> None:
        """The end; nothing comes after it."""
        ...
