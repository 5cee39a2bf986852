"""Simulates a live run: the mask on display when each frame arrives, and its age.

    for displayed in simulate_live(processor, frames, fps=25.0):
        displayed.labels, displayed.age_ms

The simulation has a clock of its own. Frames arrive at their rate. The model takes the newest frame
whenever it is free, and is busy for as long as it really took (or for a given time, which makes the
simulation deterministic). So a slow model is scored for what it shows too late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import monotonic_ns

import numpy as np
from numpy.typing import NDArray

from trocar.contract.config import require
from trocar.contract.results import FrameResult
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.sources.base import Frame


@dataclass(frozen=True, kw_only=True)
class DisplayedResult:
    """What is on display when a frame arrives.

    Attributes:
        index: The frame's number, from 0.
        time: When it arrives, in seconds.
        result: The newest finished result that is still shown; ``None`` when there is none.
        source_index: Number of the frame that the result was computed from.
        age_ms: Time from that frame's arrival to this one's.
    """

    index: int
    time: float
    result: FrameResult | None = None
    source_index: int | None = None
    age_ms: float | None = None

    @property
    def labels(self) -> NDArray[np.uint8] | None:
        """``[h, w]`` uint8 class ids on display, at network size."""
        return None if self.result is None else self.result.labels


@dataclass(frozen=True)
class _Inference:
    """A frame in the model, when it arrived, and when its result is ready, in seconds."""

    index: int
    arrived: float
    done: float
    result: FrameResult


def simulate_live(
    processor: FrameProcessor,
    frames: Iterable[NDArray[np.uint8]],
    *,
    fps: float,
    latency_ms: float | None = None,
    max_age_ms: float = 300.0,
) -> Iterator[DisplayedResult]:
    """Simulates a live run.

    Args:
        processor: The model with its smoother and post-processors.
        frames: ``[H, W, 3]`` uint8 RGB, at ``fps``.
        fps: Frames a second, above 0.
        latency_ms: Time of each frame in the model; default: the time that it really takes.
        max_age_ms: Age above which a mask is not shown.

    Yields:
        One `DisplayedResult` for each frame, in order.

    Raises:
        ConfigError: ``fps`` or ``latency_ms`` is out of range.
    """
    require(
        (fps > 0, f"fps is {fps}, expected above 0"),
        (latency_ms is None or latency_ms >= 0, f"latency_ms is {latency_ms}, expected 0 or more"),
    )
    waiting: tuple[int, NDArray[np.uint8], float] | None = None
    running: _Inference | None = None
    shown: _Inference | None = None
    free_at = 0.0
    for index, image in enumerate(frames):
        now = index / fps
        while True:
            if running is not None and running.done <= now:
                shown, free_at, running = running, running.done, None
            elif running is None and waiting is not None and max(free_at, waiting[2]) < now:
                running = _run(processor, waiting, max(free_at, waiting[2]), latency_ms)
                waiting = None
            else:
                break
        # A newer frame takes the place of one that still waits.
        waiting = (index, image, now)
        if running is None:
            running = _run(processor, waiting, now, latency_ms)
            waiting = None
            if running.done <= now:
                shown, free_at, running = running, running.done, None
        yield _displayed(index, now, shown, max_age_ms)


def _run(
    processor: FrameProcessor,
    taken: tuple[int, NDArray[np.uint8], float],
    start: float,
    latency_ms: float | None,
) -> _Inference:
    index, image, arrived = taken
    begun = monotonic_ns()
    result = processor(Frame(image=image, index=index, time=arrived, captured_ns=begun))
    spent = (monotonic_ns() - begun) / 1e6 if latency_ms is None else latency_ms
    return _Inference(index, arrived, start + spent / 1000, result)


def _displayed(
    index: int, now: float, shown: _Inference | None, max_age_ms: float
) -> DisplayedResult:
    if shown is None:
        return DisplayedResult(index=index, time=now)
    age = (now - shown.arrived) * 1000
    if age > max_age_ms:
        return DisplayedResult(index=index, time=now)
    return DisplayedResult(
        index=index, time=now, result=shown.result, source_index=shown.index, age_ms=age
    )
