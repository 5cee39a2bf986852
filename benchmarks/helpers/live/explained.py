"""Which changes of state are explained by what was put in, and which by a starved machine.

changes = changes_to_worse(told)
explanation(changes[0], 0, faults, stalls)     # "off", "starved" or ""
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from helpers.live.faults import Fault

from trocar.runtime.live.activity import WINDOW_S
from trocar.runtime.live.health import STATES, StateChange

DELAYS = {
    # Conditions by what they look back on, in seconds; the others are told at once.
    "skipped": float(WINDOW_S),
    "sink": float(WINDOW_S),
    "frames": 1.0,
    "display": 1.0,
    "frozen": 4.0,
}

HARMLESS = ("terminal", "disk_full")
"""Faults that must change no state, and so explain nothing."""


@dataclass(frozen=True)
class Worse:
    """A change that brought a worse state or a new condition.

    Attributes:
        change: The change.
        new: Names of the conditions that are new; all where the state alone is worse.
    """

    change: StateChange
    new: tuple[str, ...]

    @property
    def moment(self) -> float:
        """`time.monotonic` of the change."""
        return self.change.at_ns / 1e9


def changes_to_worse(told: Sequence[StateChange]) -> list[Worse]:
    """Conditions are compared by name: a reason whose number changes is not a new one."""
    found, state, names = [], "LIVE", set[str]()
    for change in told:
        new = set(change.conditions) - names
        if not new and STATES.index(change.state) > STATES.index(state):
            new = set(change.conditions)
        if new:
            found.append(Worse(change, tuple(sorted(new))))
        state, names = change.state, set(change.conditions)
    return found


def explanation(worse: Worse, stream: int, faults: Sequence[Fault], stalls: Sequence[Fault]) -> str:
    """Kind of the fault that explains a change, ``starved``, or nothing.

    Every new condition must lie within a second of a fault, plus what the condition looks back on.
    """
    faults = [fault for fault in faults if fault.kind not in HARMLESS]
    for group in (faults, [*faults, *stalls]):
        kinds = [_kind_of(name, worse.moment, stream, group) for name in worse.new]
        if all(kinds):
            return "starved" if "starved" in kinds else kinds[0]
    return ""


def _kind_of(name: str, moment: float, stream: int, faults: Sequence[Fault]) -> str:
    delay = DELAYS.get(name.partition(":")[0], 0.0)
    for fault in reversed(faults):
        if fault.explains(stream, moment) or fault.explains(stream, moment, delay_s=delay):
            return fault.kind
    return ""
