"""Frames from Python as a source, and a file that plays at its own speed.

source = IteratorSource([np.zeros((720, 1280, 3), np.uint8)], fps=25.0)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

from numpy.typing import NDArray

from trocar.contract.media.clock import now_ns
from trocar.contract.media.video.damage import Damage
from trocar.runtime.frames import check_frame
from trocar.runtime.sources.base import Frame, GivesNv12, ReportsDamage, Source

LONGEST_WAIT_S = 1.0
"""Seconds (two frames where that is longer) by which a frame may be early or late before a
recording's pace is set anew."""


class IteratorSource:
    """Frames from any Python iterable.

    Args:
        images: ``[H, W, 3]`` uint8 RGB arrays.
        fps: Frames a second, for the frames' times; ``None`` takes the clock's.
        name: Name for messages.
        live: Whether frames arrive at their own pace.
    """

    def __init__(
        self,
        images: Iterable[NDArray[Any]],
        *,
        fps: float | None = None,
        name: str = "iterator",
        live: bool = False,
    ) -> None:
        self.name = name
        self.fps = fps
        self.live = live
        self.total: int | None = len(images) if isinstance(images, Sized) else None
        self._images = images
        self._closed = False

    def frames(self) -> Iterator[Frame]:
        """Takes one image after the other; the time of a live frame is when it was taken.

        Raises:
            ArgumentError: A frame has the wrong type or shape.
        """
        started = now_ns()
        for index, image in enumerate(self._images):
            if self._closed:
                return
            now = now_ns()
            nominal = self.fps is not None and not self.live
            yield Frame(
                image=check_frame(image),
                index=index,
                time=index / self.fps if nominal and self.fps else (now - started) / 1e9,
                captured_ns=now,
            )

    def close(self) -> None:
        """Stops."""
        self._closed = True


class RealtimeSource:
    """A file that plays like a camera: each frame comes at its time.

    Args:
        source: The file.
        speed: Multiple of its own speed, above 0.
    """

    live = True

    def __init__(self, source: Source, *, speed: float = 1.0) -> None:
        self._source = source
        self._speed = speed
        self.name = source.name
        self.fps = None if source.fps is None else source.fps * speed
        self.total = source.total

    @property
    def nv12(self) -> bool:
        """Whether frames are NV12 where the recording can give it."""
        return isinstance(self._source, GivesNv12) and self._source.nv12

    @nv12.setter
    def nv12(self, wanted: bool) -> None:
        if isinstance(self._source, GivesNv12):
            self._source.nv12 = wanted

    @property
    def damage(self) -> Damage:
        """What was damaged so far."""
        return self._source.damage if isinstance(self._source, ReportsDamage) else Damage()

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know of the recording."""
        return self._source.notes if isinstance(self._source, ReportsDamage) else ()

    def frames(self) -> Iterator[Frame]:
        """Waits until each frame is due; its capture time is the moment when it is passed on.

        A gap of more than `LONGEST_WAIT_S` in the recording's time stamps is not waited for. After
        a stop that is longer (a slow disk, a process that was halted) it plays on at its speed; a
        camera would not deliver the past either.
        """
        begun: int | None = None
        longest = max(LONGEST_WAIT_S, 2 / self.fps if self.fps else 0.0)
        for frame in self._source.frames():
            due_ns = round(frame.time / self._speed * 1e9)
            ahead = 0.0 if begun is None else (begun + due_ns - now_ns()) / 1e9
            if begun is None or abs(ahead) > longest:
                begun = now_ns() - due_ns
            else:
                time.sleep(max(0.0, ahead))
            yield frame.changed(captured_ns=now_ns())

    def close(self) -> None:
        """Stops."""
        self._source.close()
