"""A sink behind a queue and a thread of its own, so that no other thread waits for it.

worker = SinkWorker(sink, Health(), Stages(), fps=25.0)
worker.offer(event)
worker.finish()
"""

from __future__ import annotations

import contextlib
import threading

from trocar.contract.media.clock import now_ns
from trocar.contract.text.words import first_line
from trocar.runtime.live.health import Health
from trocar.runtime.pipeline.queues import BoundedQueue
from trocar.runtime.sinks.base import FrameEvent, Sink, StreamInfo
from trocar.runtime.sources.addresses import redacted
from trocar.runtime.telemetry.latency import Stages

QUEUE_LENGTH = 4
LAGGING_AFTER_NS = 2_000_000_000
"""Nanoseconds with a full queue after which the sink counts as lagging."""


class SinkWorker:
    """Passes events to one sink; counts those that it could not take.

    Args:
        sink: Opened with the first event.
        health: Where a lagging or failed sink is reported.
        stages: Where durations are recorded.
        fps: Nominal frames a second, for the sink.

    Attributes:
        written: Events that the sink took.
        dropped: Events that found the queue full or the sink failed.
        failed: Why the sink was removed; empty while it works.
    """

    def __init__(self, sink: Sink, health: Health, stages: Stages, *, fps: float) -> None:
        self.sink = sink
        self.written = 0
        self.dropped = 0
        self.failed = ""
        self._fps = fps
        self._health = health
        self._stages = stages
        self._queue: BoundedQueue[FrameEvent] = BoundedQueue(QUEUE_LENGTH)
        self._full_since: int | None = None
        self._opened = False
        self._thread = threading.Thread(
            target=self._work, name=f"trocar-sink-{sink.name}", daemon=True
        )
        self._thread.start()

    def offer(self, event: FrameEvent) -> None:
        """Queues an event, or counts it as dropped; never waits."""
        if self.failed:
            self.dropped += 1
            return
        if self._queue.offer(event):
            if self._full_since is not None:
                self._full_since = None
                self._health.clear(self._condition)
            return
        self.dropped += 1
        now = now_ns()
        if self._full_since is None:
            self._full_since = now
        elif now - self._full_since > LAGGING_AFTER_NS:
            self._health.set(
                self._condition, "DEGRADED", f"output {self.sink.name} does not keep up"
            )

    def finish(self, *, timeout: float = 5.0) -> bool:
        """Lets the sink write the queued events and ends it.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether it ended in time.
        """
        self._queue.close()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._queue.stop()
            self.failed = self.failed or f"it did not end within {timeout:g} s"
            return False
        return True

    @property
    def _condition(self) -> str:
        return f"sink:{self.sink.name}"

    def _work(self) -> None:
        try:
            while (event := self._queue.get()) is not None:
                if not self._opened:
                    height, width = event.frame.image.shape[:2]
                    self.sink.open(
                        StreamInfo(name=self.sink.name, size=(height, width), fps=self._fps)
                    )
                    self._opened = True
                started = now_ns()
                drawn_before = event.draw_ms
                self.sink.write(event)
                drawn = event.draw_ms - drawn_before
                if drawn > 0:
                    self._stages.record("draw", drawn)
                self._stages.record("sink", (now_ns() - started) / 1e6 - max(0.0, drawn))
                self.written += 1
            if self._opened:
                self.sink.close()
                self.sink.commit()
        except Exception as error:
            self.failed = redacted(first_line(error))
            self._health.set(self._condition, "DEGRADED", f"output failed: {self.failed}")
            self._queue.stop()
            with contextlib.suppress(Exception):
                self.sink.discard()
