"""Lossless mode: every frame of a file, in order, as fast as the machine allows.

    summary = run_lossless(analyser, source, sinks, painter=painter)

Reading, inference and writing have threads of their own and overlap; several frames may be in the
model at once, and still come out in order: on a CPU, two frames on one core each are done sooner
than one after the other on two cores. Outputs take their names when all is done; on any fault or
Ctrl-C they are removed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic_ns

from trocar.contract.errors import SourceError
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.pipeline.counters import Counts, Summary
from trocar.runtime.pipeline.frame_processor import Analyser, Outputs
from trocar.runtime.pipeline.queues import Channel
from trocar.runtime.sinks.base import Shot, Sink, StreamInfo
from trocar.runtime.sources.base import Frame, Source
from trocar.runtime.telemetry.latency import Stages

DEPTH = 3
"""Frames that may wait between two threads: enough to overlap, too few to matter in memory."""


Progress = Callable[[Counts, "int | None"], None]


@dataclass
class _Run:
    """State that the three threads share."""

    frames: Channel[Frame] = field(default_factory=lambda: Channel(DEPTH))
    shots: Channel[Shot] = field(default_factory=lambda: Channel(DEPTH))
    counts: Counts = field(default_factory=Counts)
    fault: BaseException | None = None
    opened: bool = False
    size: tuple[int, int] = (0, 0)

    def fail(self, error: BaseException) -> None:
        """The first fault is the one that counts; everybody is woken."""
        if self.fault is None:
            self.fault = error
        self.frames.stop()
        self.shots.stop()


def run_lossless(
    analyser: Analyser,
    source: Source,
    sinks: Sequence[Sink],
    *,
    painter: Painter,
    workers: int = 1,
    paced: bool = False,
    progress: Progress | None = None,
    limit: int | None = None,
) -> Summary:
    """Runs every frame through the model and writes what is found.

    Args:
        analyser: What makes results.
        source: Closed at the end, whatever happens.
        sinks: Committed together when all went well, discarded otherwise.
        painter: Draws pictures for sinks that want them.
        workers: Frames that may be in the model at once.
        paced: Hold frames back until their time, as if the file were live.
        progress: Called after each result.
        limit: Stop after so many frames.

    Raises:
        SourceError: The source is broken, or its frames change size.
        SinkError: An output cannot be written.
        KeyboardInterrupt: The user stopped it.
    """
    run = _Run()
    started = monotonic_ns()
    reader = threading.Thread(
        target=_read,
        args=(run, source, analyser.stages, paced, limit),
        name="trocar-read",
        daemon=True,
    )
    writer = threading.Thread(
        target=_write, args=(run, source, sinks, analyser.stages), name="trocar-write", daemon=True
    )
    reader.start()
    writer.start()
    try:
        _infer(run, analyser, painter, workers, source.total, progress)
        run.shots.close()
        writer.join()
        if run.fault is not None:
            raise run.fault
        seconds = (monotonic_ns() - started) / 1e9
        for sink in sinks:
            sink.close()
        for sink in sinks:
            sink.commit()
    except BaseException as error:
        run.fail(error)
        writer.join(timeout=10)
        for sink in sinks:
            sink.discard()
        raise
    finally:
        run.frames.stop()
        source.close()
        reader.join(timeout=10)
    return Summary(counts=run.counts, seconds=seconds, stages=analyser.stages, size=run.size)


def _read(run: _Run, source: Source, stages: Stages, paced: bool, limit: int | None) -> None:
    try:
        begun = monotonic_ns()
        for frame in source.frames():
            if not run.counts.read:
                run.size = (frame.image.shape[0], frame.image.shape[1])
                begun = monotonic_ns() - round(frame.time * 1e9)
            elif frame.image.shape[:2] != run.size:
                raise SourceError(
                    f"{source.name} changes its frame size at frame {frame.index}: from "
                    f"{run.size[1]}x{run.size[0]} to "
                    f"{frame.image.shape[1]}x{frame.image.shape[0]}",
                    remedy="cut the video there, or run it with --live, which allows it",
                )
            run.counts.read += 1
            stages.record("decode", frame.decode_ms)
            if paced:
                time.sleep(max(0.0, frame.time - (monotonic_ns() - begun) / 1e9))
            if not run.frames.put(frame) or run.counts.read == limit:
                break
        run.frames.close()
    except BaseException as error:
        run.fail(error)


def _infer(
    run: _Run,
    analyser: Analyser,
    painter: Painter,
    workers: int,
    total: int | None,
    progress: Progress | None,
) -> None:
    """Keeps ``workers`` frames in the model; what needs order (tracking …) happens in order."""
    ahead: deque[tuple[Frame, Future[tuple[Outputs, float]]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="trocar-infer")
    try:
        while run.fault is None:
            waited = monotonic_ns()
            over = run.frames.over
            # The timeout lets Ctrl-C through: Python delivers signals between waits.
            frame = None if over else run.frames.get(timeout=0.5)
            if frame is not None:
                analyser.stages.record("wait", (monotonic_ns() - waited) / 1e6)
                ahead.append((frame, pool.submit(analyser.infer, frame)))
            elif not over:
                continue
            if len(ahead) > workers or (over and ahead):
                first, future = ahead.popleft()
                outputs, infer_ms = future.result()
                result = analyser.finish(first, outputs, infer_ms=infer_ms)
                run.counts.processed += 1
                if not run.shots.put(Shot(frame=first, result=result, painter=painter)):
                    return
                if progress is not None:
                    progress(run.counts, total)
            elif over:
                return
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write(run: _Run, source: Source, sinks: Sequence[Sink], stages: Stages) -> None:
    try:
        while (shot := run.shots.get()) is not None:
            if not run.opened:
                info = StreamInfo(name=source.name, size=run.size, fps=source.fps or 25.0)
                for sink in sinks:
                    sink.open(info)
                run.opened = True
            started = monotonic_ns()
            for sink in sinks:
                sink.write(shot)
            done = monotonic_ns()
            if shot.draw_ms:
                stages.record("draw", shot.draw_ms)
            if sinks:
                stages.record("sink", (done - started) / 1e6 - shot.draw_ms)
            stages.record("total", (done - shot.frame.captured_ns) / 1e6)
            run.counts.written += 1
    except BaseException as error:
        run.fail(error)
