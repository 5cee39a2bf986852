"""What a thread produced of late: when for the last time, how often, and how much was lost.

    shown = Activity()
    shown.done()
    shown.rate, shown.window, shown.idle_s

A thread is judged by what it produces over a window, not by its last success.
"""

from __future__ import annotations

import threading
from collections import deque

from trocar.contract.media.clock import now_ns

WINDOW_S = 5
"""Seconds that rates and shares look back."""


class Activity:
    """Counts of the last `WINDOW_S` seconds, one record a second. Several threads may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # [second, done, lost], oldest first.
        self._seconds: deque[list[int]] = deque(maxlen=WINDOW_S + 1)
        self._begun_ns = self._last_ns = now_ns()

    def done(self, count: int = 1) -> None:
        """Notes that something was produced."""
        now = now_ns()
        with self._lock:
            self._last_ns = now
            self._second(now)[1] += count

    def lost(self, count: int = 1) -> None:
        """Notes that something was lost."""
        with self._lock:
            self._second(now_ns())[2] += count

    @property
    def last_ns(self) -> int:
        """`trocar.contract.media.clock.now_ns` of the last product, at first that of the start."""
        return self._last_ns

    @property
    def idle_s(self) -> float:
        """Seconds since the last product."""
        return (now_ns() - self._last_ns) / 1e9

    @property
    def rate(self) -> float:
        """Products a second over the window."""
        now = now_ns()
        with self._lock:
            done, _ = self._sums(now)
            # The oldest second of the window counts as far as it lies within it.
            span = min(WINDOW_S + (now / 1e9) % 1, (now - self._begun_ns) / 1e9)
        return done / max(span, 0.2)

    @property
    def window(self) -> tuple[int, int]:
        """What was produced and what was lost within the window."""
        with self._lock:
            return self._sums(now_ns())

    def _second(self, now: int) -> list[int]:
        second = now // 1_000_000_000
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
        return self._seconds[-1]

    def _sums(self, now: int) -> tuple[int, int]:
        first = now // 1_000_000_000 - WINDOW_S
        recent = [entry for entry in self._seconds if entry[0] >= first]
        return sum(entry[1] for entry in recent), sum(entry[2] for entry in recent)
