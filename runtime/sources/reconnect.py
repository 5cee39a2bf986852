"""A live source that comes back: opened again, with growing pauses, until it is closed.

    source = Reconnecting(lambda: open_source("rtsp://camera/1"), name="camera")

Frame numbers go on where they stopped, and time never runs backwards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic_ns

from trocar.contract.errors import SourceError, TrocarError
from trocar.runtime.sources.base import Frame, Source, redacted

Report = Callable[[str], None]


class Reconnecting:
    """Opens a source again whenever it fails or ends.

    Args:
        opener: Opens the source; may raise `SourceError`.
        name: For people.
        first_s: Pause before the first new attempt; it doubles with each failure.
        longest_s: Longest pause.
        attempts: Failures in a row after which it gives up; ``None``: never.
    """

    live = True
    total: int | None = None

    def __init__(
        self,
        opener: Callable[[], Source],
        *,
        name: str,
        first_s: float = 0.25,
        longest_s: float = 5.0,
        attempts: int | None = None,
    ) -> None:
        self.name = redacted(name)
        self.fps: float | None = None
        self.reconnects = 0
        self.on_lost: Report = _nobody
        self.on_back: Report = _nobody
        self._opener = opener
        self._first = first_s
        self._longest = longest_s
        self._attempts = attempts
        self._stop = threading.Event()
        self._current: Source | None = None

    def frames(self) -> Iterator[Frame]:
        """Gives frames for as long as it is not closed.

        Raises:
            SourceError: ``attempts`` failed in a row.
        """
        index = 0
        failures = 0
        clock = 0.0
        wall = monotonic_ns()
        while not self._stop.is_set():
            reason = "the stream ended"
            try:
                self._current = self._opener()
                self.fps = self._current.fps
                base: float | None = None
                for frame in self._current.frames():
                    if base is None:
                        # Time goes on by as much as passed while nothing came.
                        gap = 0.0 if index == 0 else (monotonic_ns() - wall) / 1e9
                        base = clock + gap - frame.time
                        if failures or index:
                            self.on_back(f"{self.name} is back")
                        failures = 0
                    clock = max(clock, frame.time + base)
                    wall = monotonic_ns()
                    yield replace(frame, index=index, time=clock)
                    index += 1
            except TrocarError as error:
                reason = redacted(error.message)
            finally:
                if self._current is not None:
                    self._current.close()
            if self._stop.is_set():
                return
            failures += 1
            if self._attempts is not None and failures > self._attempts:
                raise SourceError(
                    f"{self.name} is gone: {failures} attempts failed; the last said: {reason}",
                    remedy="check the sender and the network",
                )
            pause = min(self._longest, self._first * 2 ** min(failures - 1, 16))
            self.on_lost(f"{reason}; attempt {failures} in {pause:.2g} s")
            self.reconnects += 1
            self._stop.wait(pause)

    def close(self) -> None:
        """Stops trying."""
        self._stop.set()
        current = self._current
        if current is not None:
            current.close()


def _nobody(text: str) -> None:
    """The listener that a source has until somebody listens."""
