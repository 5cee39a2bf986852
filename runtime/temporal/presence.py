"""Reports an instrument only when it has been seen for some frames."""

from __future__ import annotations

import math
from dataclasses import replace

from trocar.contract.classes import ClassTable
from trocar.contract.results import FrameResult
from trocar.runtime.locate.instruments import instrument_groups
from trocar.runtime.sources.base import Frame


class Presence:
    """Which classes are there: on after a moment of being seen, off after a moment of not.

    Args:
        table: Its instrument classes are watched.
        seconds: Time constant.
        on: Level at which a class counts as present, 0..1.
        off: Level at which it no longer does; below ``on``.
    """

    name = "presence"

    def __init__(
        self, table: ClassTable, *, seconds: float = 0.2, on: float = 0.6, off: float = 0.25
    ) -> None:
        groups = instrument_groups(table)
        self._names = [group.name for group in groups]
        self._ids = [group.class_id for group in groups]
        self._seconds = seconds
        self._on = on
        self._off = off
        self._levels = [0.0] * len(self._ids)
        self._present = [False] * len(self._ids)
        self._time: float | None = None

    def apply(self, frame: Frame, result: FrameResult) -> FrameResult:
        """Adds the names of the classes that are present."""
        dt = 0.04 if self._time is None else min(1.0, max(0.0, result.time - self._time))
        self._time = result.time
        share = 1 - math.exp(-dt / self._seconds)
        seen = {instrument.class_id for instrument in result.instruments}
        for index, class_id in enumerate(self._ids):
            level = self._levels[index]
            level += ((class_id in seen) - level) * share
            self._levels[index] = level
            limit = self._off if self._present[index] else self._on
            self._present[index] = level >= limit
        names = tuple(name for name, here in zip(self._names, self._present, strict=True) if here)
        return replace(result, present=names)
