"""What a viewer would have seen: the mask on display at the time of each frame, and its age.

    for shown in displayed(analyser, frames, fps=25.0):
        shown.labels, shown.age_ms

A live run is replayed on a clock of its own: frames arrive at their rate, the model takes the
newest one whenever it is free and is busy for as long as it really took (or for a given time, and
then the replay is deterministic). So a slow, good model is scored for what it shows too late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import monotonic_ns

import numpy as np
from numpy.typing import NDArray

from trocar.contract.config import require
from trocar.contract.results import FrameResult
from trocar.runtime.pipeline.frame_processor import Analyser
from trocar.runtime.sources.base import Frame


@dataclass(frozen=True, kw_only=True)
class Displayed:
    """What is on display when a frame arrives.

    Attributes:
        index: The frame's number.
        time: When it arrives, in seconds.
        result: The newest finished result that is still shown; ``None`` when there is none.
        source_index: Number of the frame that the result is of.
        age_ms: Time from that frame's arrival to this one's.
    """

    index: int
    time: float
    result: FrameResult | None = None
    source_index: int | None = None
    age_ms: float | None = None

    @property
    def labels(self) -> NDArray[np.uint8] | None:
        """``[h, w]`` uint8 on display, at network size."""
        return None if self.result is None else self.result.labels


@dataclass(frozen=True)
class _Run:
    """A frame in the model, and when it will be done."""

    index: int
    arrived: float
    done: float
    result: FrameResult


def displayed(
    analyser: Analyser,
    frames: Iterable[NDArray[np.uint8]],
    *,
    fps: float,
    latency_ms: float | None = None,
    max_age_ms: float = 300.0,
) -> Iterator[Displayed]:
    """Replays a live run.

    Args:
        analyser: The model, with whatever steadies its answers.
        frames: ``[H, W, 3]`` uint8 RGB, at ``fps``.
        fps: Frames a second.
        latency_ms: What each frame takes in the model; default: what it really takes, measured.
        max_age_ms: Age above which a mask is not shown.

    Yields:
        One `Displayed` for each frame, in order.
    """
    require(
        (fps > 0, f"fps is {fps}, expected above 0"),
        (latency_ms is None or latency_ms >= 0, f"latency_ms is {latency_ms}, expected 0 or more"),
    )
    waiting: tuple[int, NDArray[np.uint8], float] | None = None
    running: _Run | None = None
    shown: _Run | None = None
    free_at = 0.0
    for index, image in enumerate(frames):
        now = index / fps
        while True:
            if running is not None and running.done <= now:
                shown, free_at, running = running, running.done, None
            elif running is None and waiting is not None and max(free_at, waiting[2]) < now:
                running = _run(analyser, waiting, max(free_at, waiting[2]), latency_ms)
                waiting = None
            else:
                break
        # A newer frame takes the place of one that still waits.
        waiting = (index, image, now)
        if running is None:
            running = _run(analyser, waiting, now, latency_ms)
            waiting = None
            if running.done <= now:
                shown, free_at, running = running, running.done, None
        yield _state(index, now, shown, max_age_ms)


def _run(
    analyser: Analyser,
    taken: tuple[int, NDArray[np.uint8], float],
    start: float,
    latency_ms: float | None,
) -> _Run:
    index, image, arrived = taken
    begun = monotonic_ns()
    result = analyser(Frame(image=image, index=index, time=arrived, captured_ns=begun))
    spent = (monotonic_ns() - begun) / 1e6 if latency_ms is None else latency_ms
    return _Run(index, arrived, start + spent / 1000, result)


def _state(index: int, now: float, shown: _Run | None, max_age_ms: float) -> Displayed:
    if shown is None:
        return Displayed(index=index, time=now)
    age = (now - shown.arrived) * 1000
    if age > max_age_ms:
        return Displayed(index=index, time=now)
    return Displayed(
        index=index, time=now, result=shown.result, source_index=shown.index, age_ms=age
    )
