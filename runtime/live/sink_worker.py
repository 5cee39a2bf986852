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
from trocar.runtime.live.activity import Activity
from trocar.runtime.live.health import Health
from trocar.runtime.pipeline.queues import BoundedQueue
from trocar.runtime.sinks.base import FrameEvent, Sink, StreamInfo
from trocar.runtime.sinks.files import commit_all
from trocar.runtime.sources.addresses import redacted
from trocar.runtime.telemetry.latency import Stages

QUEUE_LENGTH = 4
IDLE_AFTER_S = 2.0
"""Seconds without a written event, while events wait, after which a sink does not keep up."""

LOST_SHARE = 0.2
"""Share of the events of the last seconds above which a sink that drops them does not keep up."""

_FEWEST = 10


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
        activity: What it wrote and dropped of late.
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
        self.activity = Activity()
        self._opened = False
        self._thread = threading.Thread(
            target=self._work, name=f"trocar-sink-{sink.name}", daemon=True
        )
        self._thread.start()

    @property
    def opened(self) -> bool:
        """Whether the sink has been opened, which happens with the first event."""
        return self._opened

    def offer(self, event: FrameEvent) -> None:
        """Queues an event, or counts it as dropped; never waits."""
        if self.failed or not self._queue.offer(event):
            self.dropped += 1
            self.activity.lost()

    def check(self) -> None:
        """Reports a sink that writes nothing, or loses much of what it is given."""
        if self.failed:
            return
        written, lost = self.activity.window
        offered = written + lost
        name = self.sink.name
        if len(self._queue) and self.activity.idle_s > IDLE_AFTER_S:
            reason = f"output {name} has written nothing for over {IDLE_AFTER_S:g} s"
        elif offered >= _FEWEST and lost > LOST_SHARE * offered:
            reason = f"output {name} does not keep up: it loses {lost / offered:.0%} of its frames"
        else:
            self._health.clear(self._condition)
            return
        self._health.set(self._condition, "DEGRADED", reason)

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
                    height, width = event.frame.size
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
                self.activity.done()
            if self._opened:
                self.sink.close()
                commit_all([self.sink])
        except Exception as error:
            self.failed = redacted(first_line(error))
            self._health.set(self._condition, "DEGRADED", f"output failed: {self.failed}")
            self._queue.stop()
            with contextlib.suppress(Exception):
                self.sink.discard()
