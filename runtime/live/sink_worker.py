"""A sink behind a queue and a thread of its own: whatever it does, nobody waits for it.

outlet = Outlet(sink, health); outlet.offer(shot); outlet.finish()
"""

from __future__ import annotations

import contextlib
import threading
from time import monotonic_ns

from trocar.runtime.live.health import Health
from trocar.runtime.pipeline.queues import Channel
from trocar.runtime.sinks.base import Shot, Sink, StreamInfo
from trocar.runtime.sources.base import redacted
from trocar.runtime.telemetry.latency import Stages

DEPTH = 4
BEHIND_NS = 2_000_000_000


class Outlet:
    """Feeds one sink; counts what it could not take.

    Attributes:
        written: Shots that the sink took.
        dropped: Shots that found its queue full.
        failed: What ended it, in words; empty while it works.
    """

    def __init__(self, sink: Sink, health: Health, stages: Stages, *, fps: float) -> None:
        self.sink = sink
        self.written = 0
        self.dropped = 0
        self.failed = ""
        self._fps = fps
        self._health = health
        self._stages = stages
        self._channel: Channel[Shot] = Channel(DEPTH)
        self._full_since: int | None = None
        self._opened = False
        self._thread = threading.Thread(
            target=self._work, name=f"trocar-sink-{sink.name}", daemon=True
        )
        self._thread.start()

    def offer(self, shot: Shot) -> None:
        """Hands a shot over, or counts it as dropped; never waits."""
        if self.failed:
            self.dropped += 1
            return
        if self._channel.offer(shot):
            if self._full_since is not None:
                self._full_since = None
                self._health.clear(self._condition)
            return
        self.dropped += 1
        now = monotonic_ns()
        if self._full_since is None:
            self._full_since = now
        elif now - self._full_since > BEHIND_NS:
            self._health.set(
                self._condition, "DEGRADED", f"output {self.sink.name} does not keep up"
            )

    def finish(self, *, timeout: float = 5.0) -> bool:
        """Lets the sink write what it has, and ends it; false when it did not end in time."""
        self._channel.close()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._channel.stop()
            self.failed = self.failed or "it did not end"
            return False
        return True

    @property
    def _condition(self) -> str:
        return f"sink:{self.sink.name}"

    def _work(self) -> None:
        try:
            while (shot := self._channel.get()) is not None:
                if not self._opened:
                    height, width = shot.frame.image.shape[:2]
                    self.sink.open(
                        StreamInfo(name=self.sink.name, size=(height, width), fps=self._fps)
                    )
                    self._opened = True
                started = monotonic_ns()
                drawn_before = shot.draw_ms
                self.sink.write(shot)
                drawn = shot.draw_ms - drawn_before
                if drawn > 0:
                    self._stages.record("draw", drawn)
                self._stages.record("sink", (monotonic_ns() - started) / 1e6 - max(0.0, drawn))
                self.written += 1
            if self._opened:
                self.sink.close()
                self.sink.commit()
        except Exception as error:
            self.failed = redacted(str(error).splitlines()[0] if str(error) else repr(error))
            self._health.set(self._condition, "DEGRADED", f"output failed: {self.failed}")
            self._channel.stop()
            with contextlib.suppress(Exception):
                self.sink.discard()
