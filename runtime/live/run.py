"""Live mode: the newest frame of each stream goes to the model, and nothing waits for the model.

    run = LiveRun(session, [stream])
    run.start()
    run.wait(seconds=60.0)
    summaries = run.stop()

One model serves all streams: it takes the newest frame of each in turn and runs frames of equal
size as one batch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from trocar.contract.media.clock import now_ns
from trocar.contract.media.nv12 import Picture
from trocar.contract.media.video.damage import Damage
from trocar.contract.text.words import first_line
from trocar.runtime.inference import batch_of
from trocar.runtime.live._arrival_checks import EVENT_S
from trocar.runtime.live._model_input import ModelInput
from trocar.runtime.live._thread_checks import ModelThread
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.counters import Summary
from trocar.runtime.pipeline.queues import LatestPerStream
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import notes_of
from trocar.runtime.sources.addresses import redacted
from trocar.runtime.sources.base import Frame, ReportsDamage
from trocar.runtime.telemetry.prometheus import StreamMetrics
from trocar.runtime.telemetry.trace import Trace

CHECK_INTERVAL_S = 0.1
"""Seconds between two checks of the watchdog."""

REPORT_EVERY = 3
"""Check intervals between two calls of the report function."""

_BatchItem = tuple[LiveStream, Frame, Picture]


class LiveRun:
    """The model's thread, and the watchdog of all streams, which has a thread of its own.

    Args:
        session: The model.
        streams: At least one; their order is their number.
        trace: Where spans are recorded.

    Attributes:
        streams: The streams.
    """

    def __init__(
        self,
        session: Session,
        streams: Sequence[LiveStream],
        *,
        trace: Trace | None = None,
    ) -> None:
        self.streams = tuple(streams)
        self._session = session
        self._trace = trace
        self._frames: LatestPerStream[Frame] = LatestPerStream(len(self.streams))
        self._stop = threading.Event()
        self._model_thread = ModelThread()
        self._max_batch = min(
            max(stream.options.max_batch for stream in self.streams), len(self.streams)
        )
        self._input = ModelInput(session, max_batch=self._max_batch)
        for stream in self.streams:
            stream.model = self._model_thread
            stream.deadline.can_shrink = self._input.can_shrink
        self._started_ns = now_ns()
        self._model = threading.Thread(target=self._run_model, name="trocar-model", daemon=True)
        self._watchdog = threading.Thread(target=self._watch, name="trocar-watchdog", daemon=True)

    def start(self) -> None:
        """Starts all threads."""
        self._started_ns = now_ns()
        self._model.start()
        self._model_thread.thread = self._model
        self._watchdog.start()
        for number, stream in enumerate(self.streams):
            stream.start(partial(self._deliver, number))

    def wait(
        self,
        *,
        stop: threading.Event | None = None,
        seconds: float | None = None,
        report: Callable[[LiveRun], None] | None = None,
    ) -> None:
        """Waits until all streams have ended, ``stop`` is set, or the time is over.

        Args:
            stop: Set by the caller to end the wait.
            seconds: Longest time; ``None``: no limit.
            report: Called about three times a second, from this thread; nothing else waits for it.
        """
        ends = None if seconds is None else time.monotonic() + seconds
        checks = 0
        while not all(stream.ended.is_set() for stream in self.streams):
            if (stop is not None and stop.is_set()) or (ends and time.monotonic() >= ends):
                break
            if report is not None and checks % REPORT_EVERY == 0:
                report(self)
            checks += 1
            time.sleep(CHECK_INTERVAL_S)

    def stop(self) -> list[Summary]:
        """Ends all threads; returns a summary of each stream."""
        for stream in self.streams:
            stream.source.close()
        self._model_thread.thread = None
        self._stop.set()
        self._frames.close()
        self._model.join(timeout=max(s.options.watchdog_s for s in self.streams))
        for stream in self.streams:
            stream.stop()
        seconds = (now_ns() - self._started_ns) / 1e9
        return [
            Summary(
                counts=stream.counts,
                seconds=seconds,
                stages=stream.stages,
                size=(0, 0) if stream.latest is None else stream.latest.frame_size,
                damage=stream.source.damage
                if isinstance(stream.source, ReportsDamage)
                else Damage(),
                notes=(
                    *(stream.source.notes if isinstance(stream.source, ReportsDamage) else ()),
                    *stream.notes,
                    *notes_of(worker.sink for worker in stream.sink_workers),
                ),
            )
            for stream in self.streams
        ]

    def metrics(self) -> list[StreamMetrics]:
        """Counters and latencies of each stream, for `prometheus_text`."""
        return [
            StreamMetrics(
                name=stream.source.name,
                stages=stream.stages,
                counters={
                    "frames_read_total": stream.counts.read,
                    "frames_shown_total": stream.counts.written,
                    "frames_dropped_total": stream.counts.dropped,
                    "frames_analysed_total": stream.counts.processed,
                    "results_late_total": stream.counts.missed,
                    "frames_failed_total": stream.counts.failed,
                    "frames_damaged_total": stream.counts.damaged,
                    "input_late_seconds": 0.0
                    if stream.newest is None
                    else stream.newest.arrival.late_ms / 1000,
                    "live": float(stream.health.state == "LIVE"),
                },
            )
            for stream in self.streams
        ]

    def _deliver(self, number: int, frame: Frame) -> None:
        self._frames.put(number, frame)

    def _watch(self) -> None:
        while not self._stop.wait(CHECK_INTERVAL_S):
            for stream in self.streams:
                try:
                    stream.check()
                    stream.checked_ns = now_ns()
                except Exception as error:
                    text = f"the state cannot be checked: {redacted(first_line(error))}"
                    stream.health.set("check", "DEGRADED", text, seconds=EVENT_S)

    def _run_model(self) -> None:
        while not self._stop.is_set():
            taken = self._frames.take(self._max_batch, timeout=0.2)
            try:
                for batch in self._batches(taken):
                    self._model_thread.busy_since_ns = now_ns()
                    self._run_batch(batch)
                    self._model_thread.busy_since_ns = None
            except Exception as error:
                # Whatever it is: the streams are told, and the next frames get their turn.
                self._model_thread.busy_since_ns = None
                for number, _ in taken:
                    self.streams[number].model_failed(error)

    def _batches(self, taken: list[tuple[int, Frame]]) -> list[list[_BatchItem]]:
        """Groups frames of equal size, as many as the model takes, in the order of arrival."""
        groups: dict[tuple[object, ...], list[_BatchItem]] = {}
        for number, frame in taken:
            stream = self.streams[number]
            try:
                self._input.warm_up(frame.picture, shed_load=stream.options.shed_load)
                image = self._input.image(frame.picture, shrink=stream.deadline.level.shrink)
            except Exception as error:
                stream.model_failed(error)
                continue
            groups.setdefault((type(image), image.shape), []).append((stream, frame, image))
        return [part for group in groups.values() for part in self._input.split(group)]

    def _run_batch(self, batch: list[_BatchItem]) -> None:
        started = now_ns()
        try:
            outputs = self._session.infer(batch_of([image for _, _, image in batch]))
        except Exception as error:
            for stream, _, _ in batch:
                stream.model_failed(error)
            # A model that fails at once must not turn this thread into a busy loop.
            time.sleep(0.01)
            return
        inferred = now_ns()
        infer_ms = (inferred - started) / 1e6
        for index, (stream, frame, _) in enumerate(batch):
            item: dict[str, Any] = {name: value[index] for name, value in outputs.items()}
            try:
                item = stream.limited(item)
                result = stream.processor.postprocess(frame, item, infer_ms=infer_ms)
            except Exception as error:
                stream.model_failed(error)
                continue
            stream.publish(frame, result, started_ns=started)
        if self._trace is not None:
            ended = now_ns()
            numbers = [frame.index for _, frame, _ in batch]
            self._trace.span(
                "infer", thread="model", start_ns=started, end_ns=inferred, frames=numbers
            )
            self._trace.span(
                "locate", thread="model", start_ns=inferred, end_ns=ended, frames=numbers
            )
