"""The protocol of sinks, and what a sink receives for each frame.

    sink.open(info)
    sink.write(event)
    sink.close()
    sink.commit()

The sinks themselves: `records` (JSON lines, CSV, PNG folders, callback), `video` and `openigtlink`.

A file is written under a temporary name and gets its own when all sinks have succeeded. In a live
run each gets its own when it is complete; until then it is ``out.partial.mp4``, which stays if the
run dies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from threading import Lock
from time import monotonic_ns
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import FrameResult
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.sources.base import Frame


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """What a sink knows before the first frame.

    Attributes:
        name: Name of the source.
        size: ``(height, width)`` of the first frame.
        fps: Nominal frames a second.
        pixel_aspect: Width of a pixel divided by its height; players stretch the picture by it.
    """

    name: str
    size: tuple[int, int]
    fps: float
    pixel_aspect: Fraction = Fraction(1)


@dataclass(eq=False)
class FrameEvent:
    """One frame with its result, as sinks receive it.

    Attributes:
        frame: The frame.
        result: Of this frame, or (live) the newest result that is finished.
        fresh: Whether no earlier event carried this result.
        painter: Draws the overlay when a sink first asks for it.
        status: Text at the bottom of the overlay.
        alarm: Whether that text is a warning.
        visible: Whether the result is drawn; false when it is too old.
        draw_ms: Milliseconds that drawing took; 0 while no sink has asked for the overlay.
    """

    frame: Frame
    result: FrameResult | None
    painter: Painter
    fresh: bool = True
    status: str = ""
    alarm: bool = False
    visible: bool = True
    draw_ms: float = 0.0
    _overlay: NDArray[np.uint8] | None = None
    _lock: Lock = field(default_factory=Lock)

    def overlay(self) -> NDArray[np.uint8]:
        """The frame with its result drawn on it, ``[H, W, 3]`` uint8 RGB; drawn once."""
        with self._lock:
            if self._overlay is None:
                started = monotonic_ns()
                self._overlay = self.painter.draw(
                    self.frame.image,
                    self.result if self.visible else None,
                    status=self.status,
                    alarm=self.alarm,
                )
                self.draw_ms = (monotonic_ns() - started) / 1e6
            return self._overlay


@runtime_checkable
class HasNotes(Protocol):
    """A sink that has something to tell at the end of a run.

    Attributes:
        notes: What a person should know, e.g. what was lost on the way to a slow receiver.
    """

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know."""
        ...


def notes_of(sinks: Iterable[object]) -> tuple[str, ...]:
    """What sinks have to tell, in their order."""
    return tuple(note for sink in sinks if isinstance(sink, HasNotes) for note in sink.notes)


class Sink(Protocol):
    """What a pipeline needs of a sink. Calls come from one thread.

    Attributes:
        name: Name for messages; holds no password.
        wants_every_frame: Whether it gets an event for every frame, or only for fresh results.
    """

    @property
    def name(self) -> str:
        """Name for messages."""
        ...

    @property
    def wants_every_frame(self) -> bool:
        """Whether it gets an event for every frame."""
        ...

    def open(self, info: StreamInfo) -> None:
        """Prepares the output; raises `SinkError` or `OutputExistsError`."""
        ...

    def write(self, event: FrameEvent) -> None:
        """Takes one event; raises `SinkError`."""
        ...

    def close(self) -> None:
        """Flushes; raises `SinkError` when the output is incomplete."""
        ...

    def commit(self) -> None:
        """Gives the output its final name, after `close`."""
        ...

    def discard(self) -> None:
        """Removes what was written; may be called at any time, never raises."""
        ...
