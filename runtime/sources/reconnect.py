"""A live source that is opened again after it fails, with growing pauses, until it is closed.

    source = ReconnectingSource(lambda: open_source("rtsp://camera/1"), name="camera")

Frame numbers continue across connections. Time goes on by what has really passed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from trocar.contract.errors import SourceError, TrocarError
from trocar.contract.media.video.damage import Damage
from trocar.contract.text.words import first_line
from trocar.runtime.sources.addresses import redacted
from trocar.runtime.sources.base import Frame, GivesNv12, ReportsDamage, Source
from trocar.runtime.sources.source_clock import ContinuousTime


class ConnectionListener(Protocol):
    """Is told when a connection is lost and when it is back. Calls come from the reading thread."""

    def connection_lost(self, reason: str) -> None:
        """The source failed or ended; ``reason`` holds no password."""
        ...

    def connection_restored(self) -> None:
        """The first frame after a failure has arrived."""
        ...


class _NoListener:
    def connection_lost(self, reason: str) -> None:
        """Does nothing."""

    def connection_restored(self) -> None:
        """Does nothing."""


class ReconnectingSource:
    """Opens a source again whenever it fails or ends.

    Args:
        opener: Opens the source; may raise `SourceError`.
        name: Name for messages; passwords in it are replaced.
        listener: Is told of lost and restored connections; default: none.
        initial_pause_s: Seconds before the first new attempt; doubled with each failure.
        max_pause_s: Longest pause in seconds.
        max_attempts: Failures in a row after which it raises; ``None``: it never does.

    Attributes:
        reconnects: Attempts to connect again so far.
        damage: What was damaged in all connections so far; complete when the frames have ended.
        notes: What a person should know of the last connection.
        nv12: Whether frames are NV12 where a connection can give it. Set before `frames`.
    """

    live = True
    total: int | None = None

    def __init__(
        self,
        opener: Callable[[], Source],
        *,
        name: str,
        listener: ConnectionListener | None = None,
        initial_pause_s: float = 0.25,
        max_pause_s: float = 5.0,
        max_attempts: int | None = None,
    ) -> None:
        self.name = redacted(name)
        self.fps: float | None = None
        self.reconnects = 0
        self.nv12 = False
        self.damage = Damage()
        self.notes: Sequence[str] = ()
        self._listener = listener or _NoListener()
        self._opener = opener
        self._initial_pause = initial_pause_s
        self._max_pause = max_pause_s
        self._max_attempts = max_attempts
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._current: Source | None = None

    def frames(self) -> Iterator[Frame]:
        """Returns frames until it is closed.

        Raises:
            SourceError: More than ``max_attempts`` attempts failed in a row.
        """
        index = 0
        failures = 0
        clock = ContinuousTime()
        while not self._stop.is_set():
            reason = "the stream ended"
            source: Source | None = None
            try:
                source = self._opener()
                if isinstance(source, GivesNv12):
                    source.nv12 = self.nv12
                if not self._took(source):
                    return
                self.fps = source.fps
                clock.reconnected()
                is_first = True
                for frame in source.frames():
                    if self._stop.is_set():
                        return
                    if is_first and (failures or index):
                        self._listener.connection_restored()
                    is_first, failures = False, 0
                    yield frame.changed(
                        index=index, time=clock.time_of(frame.time, frame.captured_ns)
                    )
                    index += 1
            except TrocarError as error:
                reason = redacted(error.message)
            except Exception as error:  # Whatever a driver or a decoder raises is a lost source.
                reason = redacted(first_line(error))
            finally:
                if source is not None:
                    source.close()
                    self._add_report(source)
            if self._stop.is_set():
                return
            failures += 1
            if self._max_attempts is not None and failures > self._max_attempts:
                raise SourceError(
                    f"{self.name} is lost: {failures} attempts failed; the last error: {reason}",
                    remedy="check the sender and the network",
                )
            pause = min(self._max_pause, self._initial_pause * 2 ** min(failures - 1, 16))
            self._listener.connection_lost(f"{reason}; attempt {failures} in {pause:.2g} s")
            self.reconnects += 1
            self._stop.wait(pause)

    def close(self) -> None:
        """Stops; no further attempt is made, and a source that is being opened is closed."""
        with self._guard:
            self._stop.set()
            current = self._current
        if current is not None:
            current.close()

    def _add_report(self, source: Source) -> None:
        if isinstance(source, ReportsDamage):
            self.damage.packets += source.damage.packets
            self.damage.frames += source.damage.frames
            self.notes = source.notes

    def _took(self, source: Source) -> bool:
        """Makes the source the current one; false when `close` was called while it was opened."""
        with self._guard:
            self._current = source
            return not self._stop.is_set()
