"""One live stream: reads every frame, shows the newest, draws the newest finished mask on it.

    stream = LiveStream(source, processor, painter=painter, sinks=sinks)

Three threads use it. One captures: it reads the source and checks the frames. One displays: it
passes frames to the sinks. The third is the model's, which serves all streams. With an out-of-body
model, one more judges each frame first. Another, or whoever asks for the state, checks what these
produce. None of them waits for a sink, a terminal or a client.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from numpy.typing import NDArray

from trocar.contract.errors import TrocarError
from trocar.contract.media.clock import now_ns
from trocar.contract.results import FrameResult
from trocar.contract.text.words import first_line
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.frames import check_picture
from trocar.runtime.live._arrival_checks import EVENT_S, HOLD_S, ArrivalChecks
from trocar.runtime.live._region_limit import RegionLimit
from trocar.runtime.live._status_line import status_line
from trocar.runtime.live._thread_checks import (
    ModelSpeed,
    ModelThread,
    check_decoder,
    check_display,
    check_model,
)
from trocar.runtime.live.activity import Activity
from trocar.runtime.live.deadline import Deadline
from trocar.runtime.live.health import Health
from trocar.runtime.live.sink_worker import SinkWorker
from trocar.runtime.pipeline.counters import Counts
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.pipeline.options import LiveOptions
from trocar.runtime.pipeline.queues import LatestValue
from trocar.runtime.privacy.guard import FrameGuard
from trocar.runtime.sinks.base import FrameEvent, Sink
from trocar.runtime.sources.addresses import redacted
from trocar.runtime.sources.base import Frame, Source
from trocar.runtime.sources.source_clock import ContinuousTime
from trocar.runtime.telemetry.latency import Stages
from trocar.runtime.telemetry.trace import Trace

MAX_FAILURES = 3
"""Failures of the model in a row after which no mask is shown and the state is FAULT."""

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
        guard: Judges every frame before anything but the image checks sees it, and covers those
            from outside the body; ended by `stop`.

    Attributes:
        health: Its state and the reasons. Any thread may call it.
        stages: Durations by stage. Any thread may call it.
        counts: Numbers of frames; ``read`` = ``written`` (shown) + ``dropped`` once the stream has
            ended. The capture thread writes ``read``, ``dropped`` and ``damaged``, the display
            thread ``written``, the model's thread the others.
        captured: What was captured of late.
        shown: What was passed to the sinks of late.
        analysed: What went through the model of late.
        latest: The newest result. Written by the model's thread.
        deadline: Counts late results. Written by the model's thread.
        last_frame_ns: `now_ns` when the last frame came. Written by the capture thread.
        newest: The frame that came last, covered where it must be; ``None`` before the first.
        ended: Set when the source has no more frames.
        sink_workers: One for each sink.
        model: What is known of the model's thread. Set by `LiveRun`.
        checked_ns: `now_ns` when the watchdog last checked it. Set by `LiveRun`.
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
        guard: FrameGuard | None = None,
    ) -> None:
        self.source = source
        self.processor = processor
        self.options = options
        self.health = Health() if health is None else health
        self.counts = Counts()
        self.captured, self.shown, self.analysed = Activity(), Activity(), Activity()
        self.deadline = Deadline(options.deadline_ms, shed_load=options.shed_load)
        self.stages: Stages = processor.stages
        self.latest: FrameResult | None = None
        self.last_frame_ns = now_ns()
        self.newest: Frame | None = None
        self.ended = threading.Event()
        self.model = ModelThread()
        self.checked_ns = now_ns()
        self._painter = painter
        self._trace = trace
        self._guard = guard
        self._checks = ArrivalChecks(
            self.health,
            self.counts,
            stages=self.stages,
            captured=self.captured,
            max_age_ms=options.max_age_ms,
            red_share=guard is None,
        )
        self._to_judge: LatestValue[Frame] = LatestValue()
        self._dropping = threading.Lock()
        self._time = ContinuousTime()
        self._to_show: LatestValue[Frame] = LatestValue()
        self._unshown_ns: int | None = None
        self._failures = 0
        self._regions = RegionLimit(options.max_regions)
        self._speed = ModelSpeed(self.health, max_age_ms=options.max_age_ms)
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
        if self._guard is not None:
            judge = partial(self._judge, self._guard, deliver)
            self._threads.append(
                threading.Thread(target=judge, name=f"trocar-judge-{name}", daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the stream: frames that were decoded are shown or counted, sinks finish."""
        self.source.close()
        for thread in self._threads:
            thread.join(timeout=max(2.0, self.options.watchdog_s))
        for waiting in (self._to_judge, self._to_show):
            if waiting.get(timeout=0.0) is not None:
                self._drop()
        if self._guard is not None:
            self._guard.close()
        for worker in self.sink_workers:
            worker.finish()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the run so far, but for the source's own notes."""
        return (*self.processor.notes, *(() if self._guard is None else self._guard.notes))

    def publish(self, frame: Frame, result: FrameResult, *, started_ns: int) -> None:
        """Takes a finished result; called by the model's thread.

        A result of a frame that is of another size than the newest one is dropped.

        Args:
            frame: The frame that was analysed.
            result: Its result.
            started_ns: `now_ns` when the model started on it.
        """
        self._failures = 0
        self.health.clear("model")
        self.analysed.done()
        if self.newest is not None and self.newest.size != frame.size:
            return
        self.counts.processed += 1
        self.stages.record("wait", (started_ns - frame.captured_ns) / 1e6)
        self.stages.record("age", result.age_ms)
        if self.deadline.record(result.age_ms):
            self._report_load()
        self.counts.missed = self.deadline.missed
        self._speed.record(result.age_ms - frame.arrival.late_ms)
        self.latest = result
        event = FrameEvent(frame=frame, result=result, painter=self._painter)
        for worker in self.sink_workers:
            if not worker.sink.wants_every_frame:
                worker.offer(event)

    def limited(self, outputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs without their smallest regions where there are more than ``max_regions``."""
        limited, count = self._regions.apply_to_outputs(outputs)
        text = "the mask falls apart: the smallest of its regions are left out, above "
        self.health.update("regions", count > 0, "DEGRADED", f"{text}{self.options.max_regions}")
        return limited

    def model_failed(self, error: BaseException) -> None:
        """Counts a frame on which the model raised; after `MAX_FAILURES` no mask is shown."""
        self._failures += 1
        self.counts.failed += 1
        if self.deadline.record_failure():
            self._report_load()
        text = redacted(first_line(error))
        if self._failures >= MAX_FAILURES:
            self.latest = None
            self.health.set("model", "FAULT", f"the model fails: {text}")
        else:
            self.health.set(
                "model", "DEGRADED", f"the model failed on a frame: {text}", seconds=EVENT_S
            )

    def _report_load(self) -> None:
        level = self.deadline.level
        shed = level.frame_stride > 1 or level.shrink
        self.health.update("load", shed, "DEGRADED", f"load is shed: {level}")

    def check(self) -> None:
        """Updates the conditions that depend on time alone.

        The watchdog calls it several times a second, and so does whoever shows the state: it is
        true even if the watchdog has no time.
        """
        self.health.refresh()
        now = now_ns()
        running = not self.ended.is_set()
        silent = (now - self.last_frame_ns) / 1e9 > self.options.stale_after_s
        self.health.update(
            "frames",
            running and silent and self.newest is not None,
            "STALE",
            f"no new frame for over {self.options.stale_after_s:g} s",
        )
        if running and silent and self.latest is not None:
            # What is on display grows old with it; it stays so until a new picture has a mask.
            self._no_mask()
        check_decoder(self.health, self.captured)
        shows = not self._threads or self._threads[1].is_alive()
        check_display(
            self.health,
            alive=shows or not running,
            unshown_ns=self._unshown_ns if running else None,
            limit_s=self.options.stale_after_s,
        )
        check_model(self.health, self.model, limit_s=self.options.watchdog_s)
        for worker in self.sink_workers:
            worker.check()

    def _capture(self, deliver: Callable[[Frame], None]) -> None:
        try:
            for frame in self.source.frames():
                try:
                    self._accept(frame, deliver)
                except Exception as error:
                    self._lost(error)
        except TrocarError as error:
            self.health.connection_lost(redacted(error.message))
        except Exception as error:
            self.health.connection_lost(redacted(repr(error)))
        finally:
            self.ended.set()
            (self._to_show if self._guard is None else self._to_judge).close()

    def _accept(self, frame: Frame, deliver: Callable[[Frame], None]) -> None:
        self.counts.read += 1 + frame.arrival.skipped
        self._drop(frame.arrival.skipped)
        self.stages.record("decode", frame.decode_ms)
        check_picture(frame.picture)
        steps = self._time.steps
        frame = frame.changed(time=self._time.time_of(frame.time, frame.captured_ns))
        self.last_frame_ns = now_ns()
        self.captured.done()
        self._checks.check(frame, stepped=self._time.steps > steps)
        if self._unshown_ns is None:
            self._unshown_ns = now_ns()
        if self._guard is None:
            self._pass_on(frame, deliver)
        elif self._to_judge.put(frame) is not None:
            self._drop(of=frame)

    def _judge(self, guard: FrameGuard, deliver: Callable[[Frame], None]) -> None:
        """Between capture and all else: nothing behind it sees the picture that it covers."""
        try:
            while not self._to_judge.exhausted:
                frame = self._to_judge.get(timeout=0.5)
                if frame is None:
                    continue
                try:
                    started = now_ns()
                    judged = guard.apply(frame)
                    self.stages.record("privacy", (now_ns() - started) / 1e6)
                    self._pass_on(judged, deliver)
                except Exception as error:
                    self._lost(error)
        finally:
            self._to_show.close()

    def _pass_on(self, frame: Frame, deliver: Callable[[Frame], None]) -> None:
        """Gives a frame to the display and the model."""
        if frame.body is not None:
            outside, reason = frame.body.outside, redacted(frame.body.reason)
            self.health.update("out_of_body", outside, "DEGRADED", reason)
        if self.newest is None:
            self.health.set("start", "STALE", "waiting for the first result")
        self.newest = frame
        if self._to_show.put(frame) is not None:
            self._drop(of=frame)
        if frame.index % self.deadline.level.frame_stride == 0:
            deliver(frame)

    def _drop(self, count: int = 1, *, of: Frame | None = None) -> None:
        with self._dropping:
            self.counts.dropped += count
        if of is not None and self._trace is not None:
            self._trace.instant("drop", thread="capture", at_ns=now_ns(), frame=of.index)

    def _lost(self, error: Exception) -> None:
        self._drop()
        text = f"bad frame: {redacted(first_line(error))}"
        self.health.set("frame", "DEGRADED", text, seconds=2)

    def _display(self) -> None:
        last: FrameResult | None = None
        while True:
            frame = self._to_show.get(timeout=0.5)
            if frame is None:
                if self._to_show.exhausted:
                    return
                continue
            self._unshown_ns = None
            try:
                last = self._show(frame, last)
            except Exception as error:
                self._lost(error)

    def _show(self, frame: Frame, last: FrameResult | None) -> FrameResult | None:
        """Passes a frame with the newest result to the sinks; returns that result."""
        latest = self.latest
        now = now_ns()
        age = 0.0 if latest is None else (now - latest.captured_ns) / 1e6
        visible = (
            latest is not None
            and not frame.covered
            and age <= self.options.max_age_ms
            # Boxes are in pixels of their own frame.
            and latest.frame_size == frame.image.shape[:2]
        )
        if visible or (frame.covered and latest is not None):
            self.health.clear("start")
        elif last is not None or latest is not None:
            self._no_mask()
        # Read after the mask was looked at, so that LIVE is never shown without one.
        state = self.health.state
        line = status_line(state, self.health.reasons, age_ms=age if visible else None)
        event = FrameEvent(
            frame=frame,
            result=latest,
            painter=self._painter,
            fresh=latest is not None and latest is not last,
            visible=visible,
            status=line if self.options.status else "",
            alarm=state != "LIVE",
        )
        for worker in self.sink_workers:
            if worker.sink.wants_every_frame:
                worker.offer(event)
        self.counts.written += 1
        self.shown.done()
        done = now_ns()
        if latest is not None:
            self.stages.record("mask age", age)
        self.stages.record("display", (done - frame.captured_ns) / 1e6)
        if self._trace is not None:
            self._trace.span("show", thread="show", start_ns=now, end_ns=done, frame=frame.index)
        return latest

    def _no_mask(self) -> None:
        self.health.set("mask", "STALE", "no mask new enough to be shown", seconds=HOLD_S)
