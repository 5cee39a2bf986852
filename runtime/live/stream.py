"""One live stream: reads every frame, shows the newest, draws the newest finished mask on it.

    stream = LiveStream(source, processor, painter=painter, sinks=sinks)

Three threads use it. One captures: it reads the source and checks the frames. One displays: it
passes frames to the sinks. The third is the model's, which serves all streams.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from trocar.contract.errors import ArgumentError, TrocarError
from trocar.contract.media.clock import now_ns
from trocar.contract.results import FrameResult
from trocar.contract.text.words import first_line
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.frames import check_frame
from trocar.runtime.live.deadline import Deadline
from trocar.runtime.live.health import Health
from trocar.runtime.live.image_checks import ImageQualityCheck
from trocar.runtime.live.sink_worker import SinkWorker
from trocar.runtime.pipeline.counters import Counts
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.pipeline.options import LiveOptions
from trocar.runtime.pipeline.queues import LatestValue
from trocar.runtime.sinks.base import FrameEvent, Sink
from trocar.runtime.sources.addresses import redacted
from trocar.runtime.sources.base import Frame, Source
from trocar.runtime.telemetry.trace import Trace

MAX_FAILURES = 3
"""Failures of the model in a row after which no mask is shown and the state is FAULT."""

_IMAGE_FAULTS = {
    "black": "the image is black",
    "frozen": "the image is frozen",
    "out_of_body": "the camera seems to be outside the body",
}
DEFAULTS = LiveOptions()


class LiveStream:
    """State and threads of one stream.

    Args:
        source: Its frames; closed by `stop`.
        processor: Makes results from the model's outputs.
        painter: Draws overlays.
        sinks: Each gets a thread of its own.
        options: How it behaves.
        health: Where its conditions are kept; default: a new one. Give the same one to a
            `ReconnectingSource` as its listener.
        trace: Where spans are recorded.

    Attributes:
        health: Its state and the reasons. Any thread may call it.
        stages: Durations by stage. Any thread may call it.
        counts: Numbers of frames; ``read`` = ``written`` (shown) + ``dropped`` once the stream has
            ended. The capture thread writes ``read`` and ``dropped``, the display thread
            ``written``, the model's thread the others.
        latest: The newest result. Written by the model's thread.
        deadline: Counts late results. Written by the model's thread.
        last_frame_ns: `now_ns` of the last frame. Written by the capture thread.
        ended: Set when the source has no more frames.
        sink_workers: One for each sink.
    """

    def __init__(
        self,
        source: Source,
        processor: FrameProcessor,
        *,
        painter: Painter,
        sinks: Sequence[Sink],
        options: LiveOptions = DEFAULTS,
        health: Health | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.source = source
        self.processor = processor
        self.options = options
        self.health = Health() if health is None else health
        self.counts = Counts()
        self.deadline = Deadline(options.deadline_ms, shed_load=options.shed_load)
        self.stages = processor.stages
        self.latest: FrameResult | None = None
        self.last_frame_ns = now_ns()
        self.ended = threading.Event()
        self._painter = painter
        self._trace = trace
        self._check = ImageQualityCheck()
        self._to_show: LatestValue[Frame] = LatestValue()
        self._started = False
        self._failures = 0
        self._image_faults: frozenset[str] = frozenset()
        self._threads: list[threading.Thread] = []
        fps = source.fps or 25.0
        self.sink_workers = [SinkWorker(sink, self.health, self.stages, fps=fps) for sink in sinks]
        self.health.set("start", "STALE", "waiting for the first frame")

    def start(self, deliver: Callable[[Frame], None]) -> None:
        """Starts to capture and display.

        Args:
            deliver: Passes a frame to the model without waiting; called by the capture thread.
        """
        name = redacted(self.source.name)
        self._threads = [
            threading.Thread(
                target=self._capture, args=(deliver,), name=f"trocar-capture-{name}", daemon=True
            ),
            threading.Thread(target=self._display, name=f"trocar-show-{name}", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the stream: frames that were decoded are shown or counted, sinks finish."""
        self.source.close()
        for thread in self._threads:
            thread.join(timeout=max(2.0, self.options.watchdog_s))
        for worker in self.sink_workers:
            worker.finish()

    def publish(self, frame: Frame, result: FrameResult, *, started_ns: int) -> None:
        """Takes a finished result; called by the model's thread.

        Args:
            frame: The frame that was analysed.
            result: Its result.
            started_ns: `trocar.contract.media.clock.now_ns` when the model started on it.
        """
        self._failures = 0
        self.health.clear("model")
        self.counts.processed += 1
        self.stages.record("wait", (started_ns - frame.captured_ns) / 1e6)
        self.stages.record("age", result.age_ms)
        if self.deadline.record(result.age_ms):
            level = self.deadline.level
            self.health.update(
                "load",
                level.frame_stride > 1 or level.shrink,
                "DEGRADED",
                f"load is shed: {level}",
            )
        self.counts.missed = self.deadline.missed
        self.latest = result
        self.health.clear("start")
        event = FrameEvent(frame=frame, result=result, painter=self._painter)
        for worker in self.sink_workers:
            if not worker.sink.wants_every_frame:
                worker.offer(event)

    def model_failed(self, error: BaseException) -> None:
        """Counts a frame on which the model raised; after `MAX_FAILURES` no mask is shown."""
        self._failures += 1
        self.counts.failed += 1
        text = redacted(first_line(error))
        if self._failures >= MAX_FAILURES:
            self.latest = None
            self.health.set("model", "FAULT", f"the model fails: {text}")
        else:
            self.health.set("model", "DEGRADED", f"the model failed on a frame: {text}", seconds=3)

    def check_timeouts(self) -> None:
        """Updates the conditions that depend on time alone; called several times a second."""
        self.health.refresh()
        now = now_ns()
        silent = (now - self.last_frame_ns) / 1e9 > self.options.stale_after_s
        self.health.update(
            "frames",
            self.counts.read > 0 and silent and not self.ended.is_set(),
            "STALE",
            f"no new frame for over {self.options.stale_after_s:g} s",
        )
        latest = self.latest
        old = latest is None or (now - latest.captured_ns) / 1e6 > max(
            self.options.max_age_ms, self.options.stale_after_s * 1000
        )
        self.health.update(
            "mask",
            self.counts.processed > 0 and old and not silent,
            "STALE",
            "no mask new enough to be shown",
        )

    def _capture(self, deliver: Callable[[Frame], None]) -> None:
        try:
            for frame in self.source.frames():
                self._accept(frame, deliver)
        except TrocarError as error:
            self.health.connection_lost(redacted(error.message))
        except Exception as error:
            self.health.connection_lost(redacted(repr(error)))
        finally:
            self.ended.set()
            self._to_show.close()

    def _accept(self, frame: Frame, deliver: Callable[[Frame], None]) -> None:
        self.counts.read += 1
        self.stages.record("decode", frame.decode_ms)
        try:
            check_frame(frame.image)
        except ArgumentError as error:
            self.counts.dropped += 1
            self.health.set("frame", "DEGRADED", f"bad frame: {error.message}", seconds=2)
            return
        self.last_frame_ns = now_ns()
        if not self._started:
            self._started = True
            self.health.set("start", "STALE", "waiting for the first result")
        self._check_image(frame)
        if self._to_show.put(frame) is not None:
            self.counts.dropped += 1
            if self._trace is not None:
                self._trace.instant("drop", thread="capture", at_ns=now_ns(), frame=frame.index)
        if frame.index % self.deadline.level.frame_stride == 0:
            deliver(frame)

    def _check_image(self, frame: Frame) -> None:
        faults = self._check.update(frame.image, now_ns() / 1e9)
        for name in faults ^ self._image_faults:
            self.health.update(name, name in faults, "DEGRADED", _IMAGE_FAULTS[name])
        self._image_faults = faults

    def _display(self) -> None:
        last: FrameResult | None = None
        while True:
            frame = self._to_show.get(timeout=0.5)
            if frame is None:
                if self._to_show.exhausted:
                    return
                continue
            # Read before the result, so that LIVE is never shown without a result.
            state = self.health.state
            latest = self.latest
            now = now_ns()
            age = 0.0 if latest is None else (now - latest.captured_ns) / 1e6
            visible = latest is not None and age <= self.options.max_age_ms
            event = FrameEvent(
                frame=frame,
                result=latest,
                painter=self._painter,
                fresh=latest is not None and latest is not last,
                visible=visible,
                status=self._status(state, age if visible else None),
                alarm=state != "LIVE",
            )
            last = latest
            for worker in self.sink_workers:
                if worker.sink.wants_every_frame:
                    worker.offer(event)
            self.counts.written += 1
            done = now_ns()
            if latest is not None:
                self.stages.record("mask age", age)
            self.stages.record("display", (done - frame.captured_ns) / 1e6)
            if self._trace is not None:
                self._trace.span(
                    "show", thread="show", start_ns=now, end_ns=done, frame=frame.index
                )

    def _status(self, state: str, age_ms: float | None) -> str:
        if not self.options.status:
            return ""
        parts = [state, "no mask" if age_ms is None else f"mask {age_ms:.0f} ms"]
        reasons = self.health.reasons
        if reasons:
            parts.append(reasons[0])
        return "   ".join(parts)
