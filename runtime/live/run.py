"""Live mode: the newest frame only, never late, and honest about what it leaves out.

    run = LiveRun(session, [stream]); run.start(); ...; summaries = run.stop()

One model serves all streams: it takes the newest frame of each, in turn, and runs those of equal
size as one batch. Nothing ever waits for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.runtime.frames import shrink
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.counters import Summary
from trocar.runtime.pipeline.queues import Board
from trocar.runtime.session import Session
from trocar.runtime.sources.base import Frame
from trocar.runtime.telemetry.trace import Trace

WATCH_S = 0.1


class LiveRun:
    """The model's thread, and a watch over all streams."""

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
        self._board: Board[Frame] = Board(len(self.streams))
        self._stop = threading.Event()
        self._asked_ns: int | None = None
        self._started_ns = monotonic_ns()
        self._limit = max(stream.options.max_batch for stream in self.streams)
        self._model = threading.Thread(target=self._serve, name="trocar-model", daemon=True)

    def start(self) -> None:
        """Starts all threads."""
        self._started_ns = monotonic_ns()
        self._model.start()
        for number, stream in enumerate(self.streams):
            stream.start(lambda frame, number=number: self._deliver(number, frame))  # type: ignore[misc]

    def wait(
        self,
        *,
        stop: threading.Event | None = None,
        seconds: float | None = None,
        report: Callable[[LiveRun], None] | None = None,
    ) -> None:
        """Watches until all streams have ended, somebody says stop, or time is up.

        Args:
            stop: Set by whoever wants it to end.
            seconds: Longest time.
            report: Called about four times a second.
        """
        ends = None if seconds is None else time.monotonic() + seconds
        turns = 0
        while not all(stream.ended.is_set() for stream in self.streams):
            if (stop is not None and stop.is_set()) or (ends and time.monotonic() >= ends):
                break
            self._watch()
            if report is not None and turns % 3 == 0:
                report(self)
            turns += 1
            time.sleep(WATCH_S)

    def stop(self) -> list[Summary]:
        """Ends everything; gives what each stream did."""
        for stream in self.streams:
            stream.source.close()
        self._stop.set()
        self._board.close()
        self._model.join(timeout=max(s.options.watchdog_s for s in self.streams))
        for stream in self.streams:
            stream.stop()
        seconds = (monotonic_ns() - self._started_ns) / 1e9
        return [
            Summary(
                counts=stream.counts,
                seconds=seconds,
                stages=stream.stages,
                size=(0, 0) if stream.latest is None else stream.latest.frame_size,
            )
            for stream in self.streams
        ]

    def _deliver(self, number: int, frame: Frame) -> None:
        self._board.put(number, frame)

    def _watch(self) -> None:
        asked = self._asked_ns
        for stream in self.streams:
            stream.watch()
            limit = stream.options.watchdog_s
            stream.health.hold(
                "watchdog",
                asked is not None and (monotonic_ns() - asked) / 1e9 > limit,
                "FAULT",
                f"the model has not answered for over {limit:g} s",
            )

    def _serve(self) -> None:
        while not self._stop.is_set():
            taken = self._board.take(self._limit, timeout=0.2)
            for batch in self._batches(taken):
                self._asked_ns = monotonic_ns()
                self._run(batch)
                self._asked_ns = None

    def _batches(
        self, taken: list[tuple[int, Frame]]
    ) -> list[list[tuple[LiveStream, Frame, NDArray[np.uint8]]]]:
        """Groups frames of equal size, in the order in which they were taken."""
        groups: dict[tuple[int, ...], list[tuple[LiveStream, Frame, NDArray[np.uint8]]]] = {}
        for number, frame in taken:
            stream = self.streams[number]
            try:
                image = self._session.prepare(frame.image)
                if stream.budget.level.shrink:
                    spec = self._session.manifest.input
                    image = shrink(image, spec.height, spec.width)
            except Exception as error:
                stream.model_failed(error)
                continue
            groups.setdefault(image.shape, []).append((stream, frame, image))
        return list(groups.values())

    def _run(self, batch: list[tuple[LiveStream, Frame, NDArray[np.uint8]]]) -> None:
        started = monotonic_ns()
        try:
            images = batch[0][2][None] if len(batch) == 1 else np.stack([b[2] for b in batch])
            outputs = self._session.infer(images)
        except Exception as error:
            for stream, _, _ in batch:
                stream.model_failed(error)
            # A model that fails at once must not turn this thread into a busy loop.
            time.sleep(0.01)
            return
        inferred = monotonic_ns()
        for index, (stream, frame, _) in enumerate(batch):
            own: dict[str, Any] = {name: value[index] for name, value in outputs.items()}
            try:
                result = stream.analyser.finish(frame, own, infer_ms=(inferred - started) / 1e6)
            except Exception as error:
                stream.model_failed(error)
                continue
            stream.publish(frame, result, started_ns=started)
        if self._trace is not None:
            ended = monotonic_ns()
            numbers = [frame.index for _, frame, _ in batch]
            self._trace.span(
                "infer", thread="model", start_ns=started, end_ns=inferred, frames=numbers
            )
            self._trace.span(
                "locate", thread="model", start_ns=inferred, end_ns=ended, frames=numbers
            )
