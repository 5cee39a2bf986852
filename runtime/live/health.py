"""States of a stream: LIVE, DEGRADED, STALE or FAULT, each with its reasons.

health = Health()
health.set("black", "DEGRADED", "the image is black")
state, reasons = health.state, health.reasons
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from trocar.contract.media.clock import now_ns
from trocar.runtime.live.dispatcher import Dispatcher

STATES = ("LIVE", "DEGRADED", "STALE", "FAULT")
"""From good to bad.

LIVE: the display is up to date and everything works. DEGRADED: it works with restrictions. STALE:
the display is old. FAULT: there are no frames, or no model.
"""


@dataclass(frozen=True)
class StateChange:
    """A change of state.

    Attributes:
        at_ns: `trocar.contract.media.clock.now_ns`.
        state: The new state, one of `STATES`.
        reasons: Its reasons, the worst first.
        conditions: Names of its conditions, sorted. Texts of reasons hold numbers that change;
            names do not.
    """

    at_ns: int
    state: str
    reasons: tuple[str, ...]
    conditions: tuple[str, ...] = ()


class Health:
    """Conditions by name; the worst of them is the state. Several threads may call it.

    Args:
        on_change: Called with every change, in order, from a thread of its own: what it does, how
            long it takes and what it raises concerns nobody else.

    Attributes:
        changes: The last 200 changes, oldest first.
    """

    def __init__(self, on_change: Callable[[StateChange], None] | None = None) -> None:
        self._conditions: dict[str, tuple[str, str, float | None]] = {}
        self._lock = threading.Lock()
        self._on_change = on_change
        self._dispatcher: Dispatcher | None = None
        self._last: tuple[str, tuple[str, ...]] = ("LIVE", ())
        self.changes: deque[StateChange] = deque(maxlen=200)

    def set(self, name: str, state: str, reason: str, *, seconds: float | None = None) -> None:
        """Sets a condition, for good or for some seconds; it replaces one of the same name."""
        until = None if seconds is None else now_ns() / 1e9 + seconds
        with self._lock:
            self._conditions[name] = (state, reason, until)
        self._notify()

    def clear(self, name: str) -> None:
        """Removes a condition."""
        with self._lock:
            removed = self._conditions.pop(name, None)
        if removed is not None:
            self._notify()

    def update(self, name: str, active: bool, state: str, reason: str) -> None:
        """Sets the condition when it is active, removes it otherwise."""
        if active:
            self.set(name, state, reason)
        else:
            self.clear(name)

    def refresh(self) -> None:
        """Removes conditions whose seconds are over."""
        now = now_ns() / 1e9
        with self._lock:
            for name, (_, _, until) in list(self._conditions.items()):
                if until is not None and now >= until:
                    del self._conditions[name]
        self._notify()

    def connection_lost(self, reason: str) -> None:
        """The source failed: FAULT until it is back (see `sources.reconnect`)."""
        self.set("source", "FAULT", f"no source: {reason}")

    def connection_restored(self) -> None:
        """The source delivers frames again."""
        self.clear("source")

    def finish(self, *, timeout_s: float = 2.0) -> None:
        """Waits, so long at most, until the listener has heard of all changes so far."""
        with self._lock:
            dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.finish(timeout_s=timeout_s)

    @property
    def state(self) -> str:
        """The worst state of all conditions; LIVE without any."""
        return self._current()[0]

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons of all conditions, the worst first."""
        return self._current()[1]

    def has(self, name: str) -> bool:
        """Whether there is a condition of that name."""
        with self._lock:
            return name in self._conditions

    def reasons_of(self, state: str) -> tuple[str, ...]:
        """The reasons of that state alone."""
        with self._lock:
            return tuple(r for s, r, _ in self._conditions.values() if s == state)

    def _current(self) -> tuple[str, tuple[str, ...]]:
        with self._lock:
            conditions = sorted(
                self._conditions.items(), key=lambda item: (-STATES.index(item[1][0]), item[0])
            )
        if not conditions:
            return "LIVE", ()
        return conditions[0][1][0], tuple(reason for _, (_, reason, _) in conditions)

    def _notify(self) -> None:
        state, reasons = self._current()
        with self._lock:
            names = (state, tuple(sorted(self._conditions)))
            if names == self._last:
                return
            self._last = names
            change = StateChange(now_ns(), state, reasons, names[1])
            self.changes.append(change)
            # Within the lock, so that the listener hears of changes in their order.
            if self._on_change is not None:
                if self._dispatcher is None:
                    self._dispatcher = Dispatcher("events")
                self._dispatcher.post(partial(self._on_change, change))
