"""What a frame tells on its arrival: its picture, its lateness, damage, steps of the clock.

checks = ArrivalChecks(Health(), Counts(), stages=Stages(), captured=Activity(), max_age_ms=300.0)
checks.check(frame, stepped=False)
"""

from __future__ import annotations

from trocar.contract.media.clock import now_ns
from trocar.runtime.live.activity import Activity
from trocar.runtime.live.health import Health
from trocar.runtime.live.image_checks import ImageQualityCheck
from trocar.runtime.pipeline.counters import Counts
from trocar.runtime.sources.base import PROMPT, Frame
from trocar.runtime.telemetry.latency import Stages

HOLD_S = 0.5
"""Seconds for which the state of a picture without a mask, or of a late one, is kept."""

EVENT_S = 3.0
"""Seconds for which a single event (damage, a step of the clock) makes a stream DEGRADED."""

IMAGE_FAULTS = {
    "black": "the image is black",
    "frozen": "the image is frozen",
    "out_of_body": "the camera seems to be outside the body",
}


class ArrivalChecks:
    """Turns what frames tell into conditions of a stream; called by its capture thread.

    Args:
        health: Of the stream.
        counts: Of the stream; ``damaged`` is written.
        stages: Where the lateness of the input is recorded.
        captured: Where frames that were passed over are noted.
        max_age_ms: Lateness above which frames are late.
        red_share: Whether pictures without red count as outside the body.
    """

    def __init__(
        self,
        health: Health,
        counts: Counts,
        *,
        stages: Stages,
        captured: Activity,
        max_age_ms: float,
        red_share: bool = True,
    ) -> None:
        self._health = health
        self._counts = counts
        self._stages = stages
        self._captured = captured
        self._limit = max_age_ms
        self._red_share = red_share
        self._check = ImageQualityCheck()
        self._faults: frozenset[str] = frozenset()

    def check(self, frame: Frame, *, stepped: bool) -> None:
        """Looks at a frame.

        Args:
            frame: The frame, as it came.
            stepped: Whether the source's clock stepped before it.
        """
        self._check_arrival(frame, stepped=stepped)
        self._check_image(frame)

    def _check_arrival(self, frame: Frame, *, stepped: bool) -> None:
        arrival, health = frame.arrival, self._health
        if arrival is not PROMPT:
            self._stages.record("input", arrival.late_ms)
        if arrival.late_ms > self._limit:
            text = f"frames come more than {self._limit:g} ms late by the source's clock"
            health.set("late", "STALE", text, seconds=HOLD_S)
        if arrival.skipped:
            self._captured.lost(arrival.skipped)
        if arrival.damaged:
            self._counts.damaged += arrival.damaged
            health.set("damage", "DEGRADED", "data of the source are damaged", seconds=EVENT_S)
        if stepped or arrival.clock_steps:
            text = "the source's clock stepped; time goes on"
            health.set("clock", "DEGRADED", text, seconds=EVENT_S)

    def _check_image(self, frame: Frame) -> None:
        faults = self._check.update(frame.picture, now_ns() / 1e9)
        if not self._red_share:
            faults -= {"out_of_body"}
        for name in faults ^ self._faults:
            self._health.update(name, name in faults, "DEGRADED", IMAGE_FAULTS[name])
        self._faults = faults
