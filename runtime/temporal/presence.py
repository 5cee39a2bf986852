"""Which classes are present: reported after a class was seen for some frames, not at once.

presence = Presence(table); result = presence.apply(frame, result)
"""

from __future__ import annotations

import math
from dataclasses import replace

from trocar.contract.classes import ClassTable
from trocar.contract.location import LocationOptions
from trocar.contract.results import FrameResult
from trocar.runtime.locate.groups import DEFAULTS, instrument_groups
from trocar.runtime.sources.base import Frame


class Presence:
    """Presence of each instrument class: a low-pass filter with hysteresis.

    Args:
        table: Its instrument classes are reported.
        options: What counts as an instrument.
        time_constant_s: Time constant of the filter in seconds.
        on_level: Filter output, 0..1, from which on an absent class is present.
        off_level: Filter output below which a present class is absent; below ``on_level``.
    """

    name = "presence"

    def __init__(
        self,
        table: ClassTable,
        options: LocationOptions = DEFAULTS,
        *,
        time_constant_s: float = 0.2,
        on_level: float = 0.6,
        off_level: float = 0.25,
    ) -> None:
        groups = instrument_groups(table, options)
        self._names = [group.name for group in groups]
        self._ids = [group.class_id for group in groups]
        self._time_constant_s = time_constant_s
        self._on_level = on_level
        self._off_level = off_level
        self._levels = [0.0] * len(self._ids)
        self._present = [False] * len(self._ids)
        self._time: float | None = None

    def apply(self, frame: Frame, result: FrameResult) -> FrameResult:
        """The result with the names of the classes that are present; results in order of time."""
        dt = 0.04 if self._time is None else min(1.0, max(0.0, result.time - self._time))
        self._time = result.time
        weight = 1 - math.exp(-dt / self._time_constant_s)
        seen = {instrument.class_id for instrument in result.instruments}
        for index, class_id in enumerate(self._ids):
            level = self._levels[index]
            level += ((class_id in seen) - level) * weight
            self._levels[index] = level
            threshold = self._off_level if self._present[index] else self._on_level
            self._present[index] = level >= threshold
        names = tuple(
            name for name, is_present in zip(self._names, self._present, strict=True) if is_present
        )
        return replace(result, present=names)
