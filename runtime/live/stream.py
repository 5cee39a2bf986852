"""One live stream: takes every frame, shows the newest, draws the newest finished mask on it.

    stream = LiveStream(source, analyser, painter, sinks, options=LiveOptions())

Three threads touch it: one captures, one shows, and the model's, which serves all streams.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic_ns

from trocar.contract.config import require
from trocar.contract.errors import ArgumentError, TrocarError
from trocar.contract.results import FrameResult
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.frames import check_frame
from trocar.runtime.live.deadline import Budget
from trocar.runtime.live.health import Event, Health
from trocar.runtime.live.image_checks import PictureCheck
from trocar.runtime.live.sink_worker import Outlet
from trocar.runtime.pipeline.counters import Counts
from trocar.runtime.pipeline.frame_processor import Analyser
from trocar.runtime.pipeline.queues import Mailbox
from trocar.runtime.sinks.base import Shot, Sink
from trocar.runtime.sources.base import Frame, Source, redacted
from trocar.runtime.sources.reconnect import Reconnecting
from trocar.runtime.telemetry.trace import Trace

_PICTURE_WORDS = {
    "black": "the picture is black",
    "frozen": "the picture is frozen",
    "out_of_body": "the camera seems to be outside the body",
}


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """How a live run behaves.

    Attributes:
        max_age_ms: Age of a mask above which it is not drawn any more.
        budget_ms: Deadline from capture to result; misses are counted.
        step_down: Whether to do less when the deadline is missed too often.
        stale_after_s: Silence after which the picture counts as stale.
        watchdog_s: Time after which a model that does not answer counts as dead.
        status: Whether the picture carries a line with state and age.
        max_batch: Frames of different streams that go through the model together.
    """

    max_age_ms: float = 300.0
    budget_ms: float | None = None
    step_down: bool = False
    stale_after_s: float = 1.0
    watchdog_s: float = 5.0
    status: bool = True
    max_batch: int = 4

    def __post_init__(self) -> None:
        require(
            (self.max_age_ms > 0, f"max_age_ms is {self.max_age_ms}, expected above 0"),
            (self.stale_after_s > 0, f"stale_after_s is {self.stale_after_s}, expected above 0"),
            (self.watchdog_s > 0, f"watchdog_s is {self.watchdog_s}, expected above 0"),
            (self.max_batch >= 1, f"max_batch is {self.max_batch}, expected at least 1"),
        )


class LiveStream:
    """State and threads of one stream.

    Attributes:
        health: Its state and the reasons.
        counts: Frames: ``read`` = ``written`` (shown) + ``dropped`` once it has ended.
        latest: The newest result.
    """

    def __init__(
        self,
        source: Source,
        analyser: Analyser,
        painter: Painter,
        sinks: Sequence[Sink],
        *,
        options: LiveOptions,
        trace: Trace | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.source = source
        self.analyser = analyser
        self.options = options
        self.health = Health(on_event)
        self.counts = Counts()
        self.budget = Budget(options.budget_ms, step_down=options.step_down)
        self.stages = analyser.stages
        self.latest: FrameResult | None = None
        self.last_frame_ns = monotonic_ns()
        self.ended = threading.Event()
        self._deliver: Callable[[Frame], None] = _nobody
        self._painter = painter
        self._trace = trace
        self._check = PictureCheck()
        self._shown: Mailbox[Frame] = Mailbox()
        self._begun = False
        self._failures = 0
        self._bad_picture: frozenset[str] = frozenset()
        fps = source.fps or 25.0
        self.outlets = [Outlet(sink, self.health, self.stages, fps=fps) for sink in sinks]
        self.health.set("start", "STALE", "waiting for the first frame")
        if isinstance(source, Reconnecting):
            source.on_lost = lambda text: self.health.set("source", "FAULT", f"no source: {text}")
            source.on_back = lambda text: self.health.clear("source")
        name = redacted(source.name)
        self._threads = [
            threading.Thread(target=self._capture, name=f"trocar-capture-{name}", daemon=True),
            threading.Thread(target=self._show, name=f"trocar-show-{name}", daemon=True),
        ]

    def start(self, deliver: Callable[[Frame], None]) -> None:
        """Begins to capture; ``deliver`` hands frames to the model and never waits."""
        self._deliver = deliver
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the stream: what was decoded is shown or counted, sinks finish."""
        self.source.close()
        for thread in self._threads:
            thread.join(timeout=max(2.0, self.options.watchdog_s))
        for outlet in self.outlets:
            outlet.finish()

    def publish(self, frame: Frame, result: FrameResult, *, started_ns: int) -> None:
        """Takes a finished result from the model."""
        self._failures = 0
        self.health.clear("model")
        self.counts.processed += 1
        wait = (started_ns - frame.captured_ns) / 1e6
        self.stages.record("wait", wait)
        self.stages.record("age", result.age_ms)
        if self.budget.record(result.age_ms):
            self.health.hold(
                "step",
                self.budget.level.every > 1 or self.budget.level.shrink,
                "DEGRADED",
                f"stepped down: {self.budget.level}",
            )
        self.counts.missed = self.budget.missed
        self.latest = result
        self.health.clear("start")
        shot = Shot(frame=frame, result=result, painter=self._painter)
        for outlet in self.outlets:
            if not outlet.sink.pictures:
                outlet.offer(shot)

    def model_failed(self, error: BaseException) -> None:
        """The model raised: one frame is lost; three in a row, and no mask is shown any more."""
        self._failures += 1
        self.counts.failed += 1
        text = redacted(str(error).splitlines()[0] if str(error) else type(error).__name__)
        if self._failures >= 3:
            self.latest = None
            self.health.set("model", "FAULT", f"the model fails: {text}")
        else:
            self.health.set("model", "DEGRADED", f"the model failed on a frame: {text}", seconds=3)

    def watch(self) -> None:
        """Called every now and then: finds out what only the passing of time can tell."""
        self.health.refresh()
        now = monotonic_ns()
        silent = (now - self.last_frame_ns) / 1e9 > self.options.stale_after_s
        started = self.counts.read > 0
        self.health.hold(
            "frames",
            started and silent and not self.ended.is_set(),
            "STALE",
            f"no new frame for over {self.options.stale_after_s:g} s",
        )
        latest = self.latest
        late = latest is None or (now - latest.captured_ns) / 1e6 > max(
            self.options.max_age_ms, self.options.stale_after_s * 1000
        )
        self.health.hold(
            "mask",
            self.counts.processed > 0 and late and not silent,
            "STALE",
            "no mask new enough to be shown",
        )

    def _capture(self) -> None:
        try:
            for frame in self.source.frames():
                self._accept(frame)
        except TrocarError as error:
            self.health.set("source", "FAULT", f"no source: {redacted(error.message)}")
        except Exception as error:
            self.health.set("source", "FAULT", f"no source: {redacted(repr(error))}")
        finally:
            self.ended.set()
            self._shown.close()

    def _accept(self, frame: Frame) -> None:
        self.counts.read += 1
        self.stages.record("decode", frame.decode_ms)
        try:
            check_frame(frame.image)
        except ArgumentError as error:
            self.counts.dropped += 1
            self.health.set("frame", "DEGRADED", f"bad frame: {error.message}", seconds=2)
            return
        self.last_frame_ns = monotonic_ns()
        if not self._begun:
            self._begun = True
            self.health.set("start", "STALE", "waiting for the first result")
        self._look(frame)
        if self._shown.put(frame) is not None:
            self.counts.dropped += 1
            if self._trace is not None:
                self._trace.mark("drop", thread="capture", at_ns=monotonic_ns(), frame=frame.index)
        if frame.index % self.budget.level.every == 0:
            self._deliver(frame)

    def _look(self, frame: Frame) -> None:
        faults = self._check.update(frame.image, monotonic_ns() / 1e9)
        for name in faults ^ self._bad_picture:
            self.health.hold(name, name in faults, "DEGRADED", _PICTURE_WORDS[name])
        self._bad_picture = faults

    def _show(self) -> None:
        last: FrameResult | None = None
        while True:
            frame = self._shown.get(timeout=0.5)
            if frame is None:
                if self._shown.over:
                    return
                continue
            state = self.health.state  # before the result: LIVE is never said without one
            latest = self.latest
            now = monotonic_ns()
            age = 0.0 if latest is None else (now - latest.captured_ns) / 1e6
            visible = latest is not None and age <= self.options.max_age_ms
            shot = Shot(
                frame=frame,
                result=latest,
                painter=self._painter,
                fresh=latest is not None and latest is not last,
                visible=visible,
                status=self._status(state, age if visible else None),
                alarm=state != "LIVE",
            )
            last = latest
            for outlet in self.outlets:
                if outlet.sink.pictures:
                    outlet.offer(shot)
            self.counts.written += 1
            done = monotonic_ns()
            if latest is not None:
                self.stages.record("mask age", age)
            self.stages.record("picture", (done - frame.captured_ns) / 1e6)
            if self._trace is not None:
                self._trace.span(
                    "show", thread="show", start_ns=now, end_ns=done, frame=frame.index
                )

    def _status(self, state: str, age: float | None) -> str:
        if not self.options.status:
            return ""
        parts = [state, "no mask" if age is None else f"mask {age:.0f} ms"]
        reasons = self.health.reasons
        if reasons:
            parts.append(reasons[0])
        return "   ".join(parts)


def _nobody(frame: Frame) -> None:
    """Where frames go before the stream was started."""
