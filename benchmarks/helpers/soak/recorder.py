"""Says what went before a change of state: silences of the input, of results, of pictures.

recorder = Recorder(); recorder.shown(event); text = recorder.before(now_ns)

An unexplained change is of little use without it: the longest silence names the thread to look at.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import pairwise

from trocar.runtime.sinks.base import FrameEvent

LOOKS_BACK_S = 2.0

_LENGTH = 2000


class Recorder:
    """The last pictures of one stream. Several threads may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Moment of showing, of capture, of the capture of the mask's frame, lateness of the input.
        self._rows: deque[tuple[float, float, float, float]] = deque(maxlen=_LENGTH)

    def shown(self, event: FrameEvent) -> None:
        """Notes a picture."""
        frame, result = event.frame, event.result
        mask = float("nan") if result is None else result.captured_ns / 1e9
        row = (time.monotonic(), frame.captured_ns / 1e9, mask, frame.arrival.late_ms)
        with self._lock:
            self._rows.append(row)

    def before(self, moment: float) -> str:
        """The longest silences in the seconds before, and the greatest ages.

        Args:
            moment: `time.monotonic`.
        """
        with self._lock:
            rows = [r for r in self._rows if moment - LOOKS_BACK_S <= r[0] <= moment + 0.1]
        if len(rows) < 2:
            return f"{len(rows)} pictures in the {LOOKS_BACK_S:g} s before"
        shown, captured, mask, late = zip(*rows, strict=True)
        masks = sorted({m for m in mask if m == m})
        return (
            f"in the {LOOKS_BACK_S:g} s before: {len(rows)} pictures, longest silence of pictures "
            f"{_gap(shown):.0f} ms, of captures {_gap(captured):.0f} ms, of results "
            f"{_gap(masks):.0f} ms; oldest picture {_oldest(shown, captured):.0f} ms, oldest mask "
            f"{_oldest(shown, mask):.0f} ms, input late by {max(late):.0f} ms at most"
        )


def _gap(moments: tuple[float, ...] | list[float]) -> float:
    return 1000 * max((b - a for a, b in pairwise(moments)), default=0.0)


def _oldest(shown: tuple[float, ...], captured: tuple[float, ...]) -> float:
    ages = [a - b for a, b in zip(shown, captured, strict=True) if b == b]
    return 1000 * max(ages, default=0.0)


class LockWatch(threading.Thread):
    """How long a thread of this process waits for the interpreter's lock, ten times a second.

    A thread that computes gives the lock up in each call of a library, some thirty times for one
    result, and may wait each time. ``schedstat`` does not see it: such a thread wants no core.

    Attributes:
        longest_ms: Longest wait for `TURNS` turns so far.
        recent: Moment and milliseconds of the last waits above `NOTED_MS`.
    """

    TURNS = 30
    NOTED_MS = 100.0

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.longest_ms = 0.0
        self.recent: deque[tuple[float, float]] = deque(maxlen=500)
        self._ended = threading.Event()

    def run(self) -> None:
        """Looks until `end`."""
        while not self._ended.wait(0.1):
            begun = time.monotonic()
            for _ in range(self.TURNS):
                time.sleep(0)
            waited_ms = (time.monotonic() - begun) * 1000
            self.longest_ms = max(self.longest_ms, waited_ms)
            if waited_ms > self.NOTED_MS:
                self.recent.append((begun, waited_ms))

    def end(self) -> None:
        """Ends it."""
        self._ended.set()

    def before(self, moment: float) -> float:
        """The longest noted wait in the second before, in milliseconds."""
        return max((ms for at, ms in self.recent if moment - 1 <= at <= moment), default=0.0)
