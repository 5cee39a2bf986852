"""Counters of a run, and the summary that it returns.

counts = Counts(read=30, processed=30)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trocar.contract.media.video.damage import Damage
from trocar.runtime.telemetry.latency import Stages


@dataclass
class Counts:
    """Numbers of frames.

    Attributes:
        read: Frames that were decoded.
        processed: Frames that went through the model.
        written: Frames that all sinks took (lossless), or that were shown (live).
        dropped: Frames that were decoded and not shown (live).
        missed: Results that were ready after the deadline (live).
        failed: Frames on which the model raised an error (live).
        damaged: Damaged packets and frames of the source (live).
    """

    read: int = 0
    processed: int = 0
    written: int = 0
    dropped: int = 0
    missed: int = 0
    failed: int = 0
    damaged: int = 0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Result of a run.

    Attributes:
        counts: Numbers of frames.
        seconds: Wall time from the request of the first frame to the writing of the last one.
        stages: Durations by stage.
        size: ``(height, width)`` of the frames.
        damage: What of the source was damaged or missing.
        notes: What a person should know of the source.
        processor_seconds: Processor time of the whole process meanwhile; ``None`` where it was not
            measured. Unlike ``seconds`` it hardly depends on what else the machine does.
    """

    counts: Counts
    seconds: float
    stages: Stages
    size: tuple[int, int]
    damage: Damage = field(default_factory=Damage)
    notes: tuple[str, ...] = ()
    processor_seconds: float | None = None

    @property
    def processor_ms(self) -> float | None:
        """Milliseconds of processor time a frame; ``None`` where it was not measured."""
        if self.processor_seconds is None or not self.counts.processed:
            return None
        return self.processor_seconds * 1000 / self.counts.processed

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "read": self.counts.read,
            "processed": self.counts.processed,
            "written": self.counts.written,
            "dropped": self.counts.dropped,
            "seconds": round(self.seconds, 3),
            "fps": round(self.counts.processed / self.seconds, 2) if self.seconds else 0.0,
            **self._processor_time(),
            "size": list(self.size),
            **self.damage.to_dict(),
            "notes": list(self.notes),
            "stages_ms": self.stages.summary(),
        }

    def _processor_time(self) -> dict[str, float]:
        spent = self.processor_ms
        return {} if spent is None else {"processor_ms": round(spent, 2)}
