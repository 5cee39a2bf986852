"""States that say the truth: LIVE, DEGRADED, STALE or FAULT, each with its reasons.

health = Health(); health.set("black", "DEGRADED", "the picture is black")
health.state, health.reasons
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic_ns

STATES = ("LIVE", "DEGRADED", "STALE", "FAULT")
"""From good to bad.

LIVE: what is shown is new and everything works. DEGRADED: it works, with something amiss. STALE:
what is shown is old. FAULT: no frames, or no model.
"""


@dataclass(frozen=True)
class Event:
    """A change of state.

    Attributes:
        at_ns: `time.monotonic_ns`.
        state: The new state.
        reasons: Why, in words.
    """

    at_ns: int
    state: str
    reasons: tuple[str, ...]


class Health:
    """Conditions by name; the worst of them is the state. Safe for many threads."""

    def __init__(self, on_change: Callable[[Event], None] | None = None) -> None:
        self._conditions: dict[str, tuple[str, str, float | None]] = {}
        self._lock = threading.Lock()
        self._on_change = on_change
        self._last: tuple[str, tuple[str, ...]] = ("LIVE", ())
        self.events: deque[Event] = deque(maxlen=200)

    def set(self, name: str, state: str, reason: str, *, seconds: float | None = None) -> None:
        """States a condition, for good or for so many seconds; an older one of that name goes."""
        until = None if seconds is None else monotonic_ns() / 1e9 + seconds
        with self._lock:
            self._conditions[name] = (state, reason, until)
        self._tell()

    def clear(self, name: str) -> None:
        """The condition is over."""
        with self._lock:
            gone = self._conditions.pop(name, None)
        if gone is not None:
            self._tell()

    def hold(self, name: str, wrong: bool, state: str, reason: str) -> None:
        """Sets or clears a condition, whichever is true now."""
        if wrong:
            self.set(name, state, reason)
        else:
            self.clear(name)

    def refresh(self) -> None:
        """Lets conditions that were set for some seconds run out."""
        now = monotonic_ns() / 1e9
        with self._lock:
            for name, (_, _, until) in list(self._conditions.items()):
                if until is not None and now >= until:
                    del self._conditions[name]
        self._tell()

    @property
    def state(self) -> str:
        """The worst of what is stated."""
        return self._now()[0]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, the worst first."""
        return self._now()[1]

    def _now(self) -> tuple[str, tuple[str, ...]]:
        with self._lock:
            stated = sorted(
                self._conditions.items(), key=lambda item: (-STATES.index(item[1][0]), item[0])
            )
        if not stated:
            return "LIVE", ()
        return stated[0][1][0], tuple(reason for _, (_, reason, _) in stated)

    def _tell(self) -> None:
        state, reasons = self._now()
        with self._lock:
            names = (state, tuple(sorted(self._conditions)))
            if names == self._last:
                return
            self._last = names
            event = Event(monotonic_ns(), state, reasons)
            self.events.append(event)
        if self._on_change is not None:
            self._on_change(event)
