"""Where results go: the protocol of sinks, and files that take their name when they are whole.

    sink.open(info); sink.write(shot); sink.close(); sink.commit()

The sinks themselves: `records` (JSON lines, CSV, pictures, callback) and `encode` (video).

A file is written under a temporary name and takes its own when all sinks are done, unless it is
``direct``: a live recording has its name from the start, for it must outlive a crash.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from time import monotonic_ns
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import FrameResult
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.sources.base import Frame


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """What a sink should know before the first frame.

    Attributes:
        name: Of the source.
        size: ``(height, width)`` of the first frame.
        fps: Nominal frames per second.
    """

    name: str
    size: tuple[int, int]
    fps: float


@dataclass(eq=False)
class Shot:
    """One frame on its way to the sinks.

    Attributes:
        frame: The frame.
        result: What is known: of this frame, or (live) of the newest one that is finished.
        fresh: Whether no earlier shot carried this result.
        painter: Draws the picture when somebody first asks for it.
        status: Line for the bottom of the picture.
        alarm: Whether that line is a warning.
        visible: Whether the result is drawn; false when it is too old to be shown.
        draw_ms: What drawing took; 0 while nobody asked.
    """

    frame: Frame
    result: FrameResult | None
    painter: Painter
    fresh: bool = True
    status: str = ""
    alarm: bool = False
    visible: bool = True
    draw_ms: float = 0.0
    _picture: NDArray[np.uint8] | None = None
    _lock: Lock = field(default_factory=Lock)

    def picture(self) -> NDArray[np.uint8]:
        """The frame with what was found drawn on it; drawn once, however many sinks ask."""
        with self._lock:
            if self._picture is None:
                started = monotonic_ns()
                self._picture = self.painter.draw(
                    self.frame.image,
                    self.result if self.visible else None,
                    status=self.status,
                    alarm=self.alarm,
                )
                self.draw_ms = (monotonic_ns() - started) / 1e6
            return self._picture


class Sink(Protocol):
    """What a pipeline needs of a sink. Calls come from one thread.

    Attributes:
        name: For people; holds no password.
        pictures: Whether it wants every shot, or only those with a fresh result.
    """

    @property
    def name(self) -> str:
        """Name for people."""
        ...

    @property
    def pictures(self) -> bool:
        """Whether it wants every shot."""
        ...

    def open(self, info: StreamInfo) -> None:
        """Makes ready; raises `SinkError` or `OutputExistsError`."""
        ...

    def write(self, shot: Shot) -> None:
        """Takes one shot; raises `SinkError`."""
        ...

    def close(self) -> None:
        """Flushes; raises `SinkError` when what was written is not whole."""
        ...

    def commit(self) -> None:
        """Puts the output in its place, after `close`."""
        ...

    def discard(self) -> None:
        """Removes what was written; may be called at any time, never raises."""
        ...
