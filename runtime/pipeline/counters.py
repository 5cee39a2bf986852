"""What a run counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trocar.runtime.telemetry.latency import Stages


@dataclass
class Counts:
    """Frames on their way, and what became of them.

    Attributes:
        read: Decoded.
        processed: Given a result of their own.
        written: Taken by all sinks (lossless), or shown (live).
        dropped: Decoded and never shown (live).
        missed: Results that were older than the budget when they were ready (live).
        failed: Frames on which the model raised (live).
    """

    read: int = 0
    processed: int = 0
    written: int = 0
    dropped: int = 0
    missed: int = 0
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run did.

    Attributes:
        counts: Frames.
        seconds: Wall time from the first frame's request to the last one's writing.
        stages: Durations.
        size: ``(height, width)`` of the frames.
    """

    counts: Counts
    seconds: float
    stages: Stages
    size: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "read": self.counts.read,
            "processed": self.counts.processed,
            "written": self.counts.written,
            "dropped": self.counts.dropped,
            "seconds": round(self.seconds, 3),
            "fps": round(self.counts.processed / self.seconds, 2) if self.seconds else 0.0,
            "size": list(self.size),
            "stages_ms": self.stages.summary(),
        }
