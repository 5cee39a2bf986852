"""Deadlines: counts late results, and sheds load when half of them are late.

deadline = Deadline(33.0, shed_load=True)
changed = deadline.record(41.2)
stride = deadline.level.frame_stride
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from trocar.contract.errors import ConfigError


@dataclass(frozen=True)
class LoadLevel:
    """How much work is done.

    Attributes:
        shrink: Whether frames are shrunk to network size before the model.
        frame_stride: The model gets every ``frame_stride``-th frame; 1: every frame.
    """

    shrink: bool
    frame_stride: int

    def __str__(self) -> str:
        parts = ["frames are shrunk before the model"] if self.shrink else []
        if self.frame_stride > 1:
            parts.append(f"the model gets every {_ordinal(self.frame_stride)} frame")
        return ", ".join(parts) or "no load is shed"


LOAD_LEVELS = (
    LoadLevel(False, 1),
    LoadLevel(True, 1),
    LoadLevel(True, 2),
    LoadLevel(True, 3),
    LoadLevel(True, 4),
)
"""From all work to the least."""

WINDOW = 30
"""Results that are looked at; when half of them or more are late, load is shed."""

RECOVERY = 300
"""Results in a row below `RECOVERY_SHARE` of the deadline that restore one level."""

RECOVERY_SHARE = 0.67


class Deadline:
    """Watches the age of results.

    Args:
        limit_ms: The deadline, above 0; ``None`` for none.
        shed_load: Whether to do less work when half of the last results were late.

    Attributes:
        missed: Results that were late.
        can_shrink: Whether the model takes shrunk frames; otherwise load is shed by strides alone.

    Raises:
        ConfigError: The deadline is not above 0, or load shedding has no deadline.
    """

    def __init__(self, limit_ms: float | None, *, shed_load: bool = False) -> None:
        if limit_ms is not None and limit_ms <= 0:
            raise ConfigError(
                f"the deadline is {limit_ms} ms, expected above 0",
                remedy="pass --deadline-ms above 0, e.g. --deadline-ms 33",
            )
        if shed_load and limit_ms is None:
            raise ConfigError(
                "load shedding needs a deadline", remedy="pass --deadline-ms, e.g. --deadline-ms 33"
            )
        self._limit = limit_ms
        self._shed_load = shed_load
        self._late: deque[bool] = deque(maxlen=WINDOW)
        self._in_time = 0
        self._index = 0
        self.missed = 0
        self.can_shrink = True

    @property
    def level(self) -> LoadLevel:
        """The level of work now."""
        return self._levels[self._index]

    @property
    def _levels(self) -> tuple[LoadLevel, ...]:
        if self.can_shrink:
            return LOAD_LEVELS
        strides = dict.fromkeys(level.frame_stride for level in LOAD_LEVELS)
        return tuple(LoadLevel(False, stride) for stride in strides)

    def record(self, age_ms: float) -> bool:
        """Takes the age of a result when it was ready.

        Load is shed by one level when half of the last `WINDOW` results or more were late. One
        level is restored after `RECOVERY` results in a row below two thirds of the deadline.

        Returns:
            Whether the level has changed.
        """
        if self._limit is None:
            return False
        late = age_ms > self._limit
        self.missed += late
        return self._count(late, age_ms)

    def record_failure(self) -> bool:
        """Takes a frame on which the model failed: as a late result, which is not in `missed`.

        Returns:
            Whether the level has changed.
        """
        return False if self._limit is None else self._count(True, math.inf)

    def _count(self, late: bool, age_ms: float) -> bool:
        assert self._limit is not None
        self._late.append(late)
        self._in_time = self._in_time + 1 if age_ms < self._limit * RECOVERY_SHARE else 0
        if not self._shed_load:
            return False
        if len(self._late) == WINDOW and sum(self._late) * 2 >= WINDOW:
            if self._index + 1 < len(self._levels):
                self._move(1)
                return True
        elif self._in_time >= RECOVERY and self._index:
            self._move(-1)
            return True
        return False

    def _move(self, by: int) -> None:
        self._index += by
        self._late.clear()
        self._in_time = 0


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third", 4: "fourth"}.get(number, f"{number}th")
