"""Deadlines: counts what is late, and steps down before everything is.

budget = Budget(33.0, step_down=True); budget.record(41.2)
budget.level.shrink, budget.level.every
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from trocar.contract.errors import ConfigError


@dataclass(frozen=True)
class Level:
    """How much is done.

    Attributes:
        shrink: Whether frames are shrunk to network size before the model.
        every: Every how many frames the model runs.
    """

    shrink: bool
    every: int

    def __str__(self) -> str:
        parts = ["frames are shrunk before the model"] if self.shrink else []
        if self.every > 1:
            parts.append(f"the model sees every {_ordinal(self.every)} frame")
        return ", ".join(parts) or "everything is done"


LEVELS = (Level(False, 1), Level(True, 1), Level(True, 2), Level(True, 3), Level(True, 4))
_WINDOW = 30
_CALM = 300


class Budget:
    """Watches the age of results.

    Args:
        limit_ms: The deadline; ``None`` for none.
        step_down: Whether to do less when most of the last results were late.

    Attributes:
        level: What is done now.
        missed: Results that were late.
    """

    def __init__(self, limit_ms: float | None, *, step_down: bool = False) -> None:
        if limit_ms is not None and limit_ms <= 0:
            raise ConfigError(f"budget is {limit_ms} ms", remedy="give a number above 0")
        if step_down and limit_ms is None:
            raise ConfigError(
                "stepping down needs a budget", remedy="pass --budget-ms, e.g. --budget-ms 33"
            )
        self._limit = limit_ms
        self._step_down = step_down
        self._late: deque[bool] = deque(maxlen=_WINDOW)
        self._calm = 0
        self._index = 0
        self.missed = 0

    @property
    def level(self) -> Level:
        """What is done now."""
        return LEVELS[self._index]

    def record(self, age_ms: float) -> bool:
        """Takes the age of a result when it was ready; true when the level has changed.

        Half of the last thirty late: one level down. Three hundred in a row in time, with a third
        of the budget to spare: one level up.
        """
        if self._limit is None:
            return False
        late = age_ms > self._limit
        self.missed += late
        self._late.append(late)
        self._calm = self._calm + 1 if age_ms < self._limit * 0.67 else 0
        if not self._step_down:
            return False
        if len(self._late) == _WINDOW and sum(self._late) * 2 > _WINDOW:
            if self._index + 1 < len(LEVELS):
                self._move(1)
                return True
        elif self._calm >= _CALM and self._index:
            self._move(-1)
            return True
        return False

    def _move(self, by: int) -> None:
        self._index += by
        self._late.clear()
        self._calm = 0


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third", 4: "fourth"}.get(number, f"{number}th")
