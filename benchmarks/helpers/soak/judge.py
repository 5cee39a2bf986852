"""Compares what a live run tells of its pictures with the time that is printed in them.

seen = Seen(1_000_000); judge(event, seen, 0, injector, options); age_report([seen])

All memory is taken at the start, so that the judge is no part of the run's growth.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from helpers.live.bar_code import read_stamp
from helpers.live.faults import Fault, Injector
from numpy.typing import NDArray

from trocar.runtime.pipeline.options import LiveOptions
from trocar.runtime.sinks.base import FrameEvent

MAX_ERROR_MS = 250
"""An age that differs more from the true one is wrong."""

UNJUDGED = ("freeze", "lose")
"""Faults whose pictures show another time than that of their capture: the camera repeats one, or
the decoder fills with old squares what was lost."""


class Seen:
    """What the pictures of one stream showed.

    Args:
        most: Pictures that are noted.

    Attributes:
        pictures: How many were shown.
        judged: How many of them were compared, and are noted.
        lies: Pictures that were LIVE with a mask that was truly too old.
        unread: Pictures whose time could not be read.
    """

    def __init__(self, most: int) -> None:
        self.pictures = self.judged = self.lies = self.unread = 0
        # Written once, so that the pages are there.
        self._moments = np.full(most, np.nan)
        self._offsets = np.full(most, np.nan, np.float32)

    def note(self, moment: float, offset_ms: float) -> None:
        """Notes the true age minus the told one."""
        if self.judged < len(self._moments):
            self._moments[self.judged], self._offsets[self.judged] = moment, offset_ms
            self.judged += 1

    @property
    def offsets(self) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """`time.monotonic`, and the true age minus the told age in ms, of the judged pictures."""
        return self._moments[: self.judged], self._offsets[: self.judged]


@dataclass(frozen=True, kw_only=True)
class AgeReport:
    """How honest the ages of all streams were.

    Attributes:
        judged: Pictures.
        middle_ms: Median of true age minus told age: the sender's encoder.
        difference_ms: Percentiles of what ages differ from it.
        wrong: ``(stream, moment, error in ms)`` of ages that differ by more than `MAX_ERROR_MS`.
    """

    judged: int
    middle_ms: float
    difference_ms: dict[str, float]
    wrong: list[tuple[int, float, float]]


def age_report(seen: list[Seen]) -> AgeReport:
    """Compares the ages of all streams with their median."""
    parts = [one.offsets for one in seen]
    offsets = np.concatenate([offset for _, offset in parts])
    if not len(offsets):
        return AgeReport(judged=0, middle_ms=float("nan"), difference_ms={}, wrong=[])
    middle = float(np.median(offsets))
    apart = np.abs(offsets - middle)
    wrong = [
        (number, float(moments[index]), float(own[index] - middle))
        for number, (moments, own) in enumerate(parts)
        for index in np.flatnonzero(np.abs(own - middle) > MAX_ERROR_MS)
    ]
    return AgeReport(
        judged=len(offsets),
        middle_ms=round(middle, 1),
        difference_ms={
            "p50": round(float(np.percentile(apart, 50)), 1),
            "p99.9": round(float(np.percentile(apart, 99.9)), 1),
            "max": round(float(apart.max()), 1),
        },
        wrong=wrong,
    )


def judge(
    event: FrameEvent, seen: Seen, number: int, injector: Injector, options: LiveOptions
) -> None:
    """Looks at one picture that was shown."""
    now = time.monotonic()
    seen.pictures += 1
    stamped = read_stamp(event.frame.image)
    if stamped is None:
        seen.unread += 1
        return
    recent = [f for f in injector.faults[-3:] if f.kind in UNJUDGED]
    said = [Fault(kind, number, a, b) for kind, a, b in injector.effects(number)[-2:]]
    if any(f.explains(number, now) for f in [*recent, *said] if f.kind in UNJUDGED):
        return
    true_ms = now * 1000 - stamped
    seen.note(now, true_ms - (now * 1000 - event.frame.captured_ns / 1e6))
    if event.status.startswith("LIVE") and event.result is not None:
        # The mask's frame was captured that much earlier than the picture's.
        mask_ms = true_ms + (event.frame.captured_ns - event.result.captured_ns) / 1e6
        seen.lies += not event.visible or mask_ms > options.max_age_ms + MAX_ERROR_MS
