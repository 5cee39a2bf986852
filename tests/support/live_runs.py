"""Live runs for tests: a model that misbehaves on purpose, and runs that end when told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live.run import LiveRun
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.counters import Summary
from trocar.runtime.pipeline.frame_processor import FrameProcessor, PostProcessor
from trocar.runtime.pipeline.options import LiveOptions
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import Sink
from trocar.runtime.telemetry.trace import Trace


class SlowModel:
    """A session whose model takes a while, raises on given calls, or hangs."""

    def __init__(
        self,
        session: Session,
        *,
        seconds: float = 0.0,
        fail: Callable[[int], bool] = lambda call: False,
    ) -> None:
        self._session = session
        self._seconds = seconds
        self._fail = fail
        self.calls = 0
        self.batches: list[int] = []

    def infer(self, frames: np.ndarray) -> dict[str, Any]:
        self.calls += 1
        self.batches.append(len(frames))
        time.sleep(self._seconds)
        if self._fail(self.calls - 1):
            raise RuntimeError("out of memory\nsecond line")
        return self._session.infer(frames)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def live(
    session: Any,
    *sources: Any,
    sinks: list[Sink] | None = None,
    options: LiveOptions | None = None,
    during: Callable[[LiveRun], None] | None = None,
    until: Callable[[list[LiveStream]], bool] | None = None,
    trace: Trace | None = None,
    post_processors: Sequence[PostProcessor] = (),
) -> tuple[list[LiveStream], list[Summary]]:
    """Runs sources live until they end, or (on a machine however busy) something has happened."""
    streams = [
        LiveStream(
            source,
            FrameProcessor(session, post_processors=post_processors),
            painter=Painter(session.classes),
            sinks=(sinks or []) if number == 0 else [],
            options=options or LiveOptions(),
            trace=trace,
        )
        for number, source in enumerate(sources)
    ]
    run = LiveRun(session, streams, trace=trace)
    run.start()
    if during is not None:
        during(run)
    happened = threading.Event()

    def look(run: LiveRun) -> None:
        if until is not None and until(streams):
            happened.set()

    run.wait(stop=happened, seconds=60, report=look)
    return streams, run.stop()


def analysed(count: int) -> Callable[[list[LiveStream]], bool]:
    return lambda streams: min(stream.counts.processed for stream in streams) > count


def states(stream: LiveStream) -> list[str]:
    return [change.state for change in list(stream.health.changes)]
