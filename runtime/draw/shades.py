"""Shades for instances of one class: those in view together differ, and a track keeps its own.

shades = Shades()
shades.of(result.instruments)        # one number for each; `colours.shade_of` makes the colour
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from trocar.contract.results import Instrument
from trocar.runtime.draw.colours import SHADES

MAX_REMEMBERED = 256
"""Tracks whose shade is remembered."""


class Shades:
    """Numbers of shades, for one stream. Several threads may call it.

    An instance that is alone in its class has shade 0, the colour of the class, unless its track
    had another one before.
    """

    def __init__(self) -> None:
        self._of_track: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()

    def of(self, instruments: Sequence[Instrument]) -> list[int]:
        """The shade of each instrument; 0 for those that are no instances."""
        with self._lock:
            return self._of(instruments)

    def _of(self, instruments: Sequence[Instrument]) -> list[int]:
        shades: dict[int, int] = {}
        taken: dict[int, set[int]] = {}
        for place, one in enumerate(instruments):
            known = None
            if one.instance is not None and one.track_id is not None:
                known = self._of_track.get((one.class_id, one.track_id))
            used = taken.setdefault(one.class_id, set())
            if known is not None and known not in used:
                shades[place] = known
                used.add(known)
        for place, one in enumerate(instruments):
            if one.instance is None or place in shades:
                continue
            used = taken[one.class_id]
            shade = next((n for n in range(SHADES) if n not in used), len(used) % SHADES)
            shades[place] = shade
            used.add(shade)
            if one.track_id is not None:
                self._of_track[one.class_id, one.track_id] = shade
        while len(self._of_track) > MAX_REMEMBERED:
            self._of_track.pop(next(iter(self._of_track)))
        return [shades.get(place, 0) for place in range(len(instruments))]
