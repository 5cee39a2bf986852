"""Lossless mode: every frame of a file, in order, as fast as the machine allows.

    summary = run_lossless(processor, source, sinks=sinks, painter=painter)

Reading, inference and writing run in threads of their own and overlap. Several frames may be in the
model at once and still come out in order: on a CPU, two frames on one core each are done sooner
than one after the other on two cores. Outputs get their names when the whole run succeeded; on an
error or Ctrl-C they are removed.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction

from trocar.contract.errors import SourceError
from trocar.contract.media.clock import now_ns
from trocar.contract.media.video.damage import Damage
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.pipeline.counters import Counts, Summary
from trocar.runtime.pipeline.frame_processor import FrameProcessor, Outputs
from trocar.runtime.pipeline.queues import BoundedQueue
from trocar.runtime.privacy.guard import FrameGuard
from trocar.runtime.sinks.base import FrameEvent, Sink, StreamInfo, notes_of
from trocar.runtime.sinks.files import commit_all
from trocar.runtime.sources.base import Frame, HasPixelAspect, ReportsDamage, Source
from trocar.runtime.telemetry.latency import Stages

QUEUE_LENGTH = 3
"""Frames that may wait between two threads: enough to overlap, few enough for memory."""

WAITING = 3
"""Frames that wait for a worker: when two workers are ready at once, or one frame takes long, the
others have work while the results of earlier frames are located in order."""

SWITCH_INTERVAL = 0.0005
"""Seconds after which Python hands over to another thread that wants to run, in place of 0.005. A
worker whose frame is ready waits so long at most for the thread that locates."""

Progress = Callable[[Counts, "int | None"], None]
"""Called with the counts so far and the number of frames, where it is known."""


@dataclass(frozen=True, kw_only=True)
class LosslessOptions:
    """How a file is run.

    Attributes:
        workers: Frames that may be in the model at once, 1 or more.
        realtime: Whether each frame waits for its time, as if the file were a camera.
        max_frames: Frames after which the run ends; ``None`` reads all.
    """

    workers: int = 1
    realtime: bool = False
    max_frames: int | None = None


DEFAULTS = LosslessOptions()


@dataclass
class _Run:
    """State that the three threads share."""

    frames: BoundedQueue[Frame] = field(default_factory=lambda: BoundedQueue(QUEUE_LENGTH))
    events: BoundedQueue[FrameEvent] = field(default_factory=lambda: BoundedQueue(QUEUE_LENGTH))
    counts: Counts = field(default_factory=Counts)
    error: BaseException | None = None
    opened: bool = False
    size: tuple[int, int] = (0, 0)

    def fail(self, error: BaseException) -> None:
        """Stores the first error and wakes all threads."""
        if self.error is None:
            self.error = error
        self.frames.stop()
        self.events.stop()


def run_lossless(
    processor: FrameProcessor,
    source: Source,
    *,
    sinks: Sequence[Sink],
    painter: Painter,
    options: LosslessOptions = DEFAULTS,
    guard: FrameGuard | None = None,
    progress: Progress | None = None,
    finishing: Callable[[Summary], None] | None = None,
) -> Summary:
    """Runs every frame through the model and writes the results.

    Args:
        processor: Makes results.
        source: Closed at the end in every case.
        sinks: Committed together when all succeeded, discarded otherwise.
        painter: Draws overlays for the sinks that ask for them.
        options: Workers, pace and number of frames.
        guard: Judges every frame first, and covers those from outside the body.
        progress: Called after each result.
        finishing: Called with the summary when all is written and before any output gets its name;
            if it raises, none does.

    Raises:
        SourceError: The source cannot be decoded, or its frames change size.
        SinkError: An output cannot be written.
        KeyboardInterrupt: The user stopped the run.
    """
    run = _Run()
    started, worked = now_ns(), time.process_time()
    reader = threading.Thread(
        target=_read,
        args=(run, source, processor.stages, options, guard),
        name="trocar-read",
        daemon=True,
    )
    writer = threading.Thread(
        target=_write, args=(run, source, sinks, processor.stages), name="trocar-write", daemon=True
    )
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(min(interval, SWITCH_INTERVAL))
        # Inside: a signal can interrupt the start of a thread, too.
        reader.start()
        writer.start()
        _infer(run, processor, painter, options.workers, source.total, progress)
        run.events.close()
        writer.join()
        if run.error is not None:
            raise run.error
        seconds = (now_ns() - started) / 1e9
        processor_seconds = time.process_time() - worked
        for sink in sinks:
            sink.close()
        summary = _summary(run, source, processor, seconds)
        more = (*(() if guard is None else guard.notes), *notes_of(sinks))
        summary = replace(
            summary, processor_seconds=processor_seconds, notes=(*summary.notes, *more)
        )
        if finishing is not None:
            finishing(summary)
        commit_all(sinks)
    except BaseException as error:
        run.fail(error)
        _join(writer)
        for sink in sinks:
            sink.discard()
        raise
    finally:
        sys.setswitchinterval(interval)
        run.frames.stop()
        source.close()
        _join(reader)
    return summary


def _join(thread: threading.Thread) -> None:
    # A thread whose start was interrupted may not have started.
    with contextlib.suppress(RuntimeError):
        thread.join(timeout=10)


def _summary(run: _Run, source: Source, processor: FrameProcessor, seconds: float) -> Summary:
    reports = source if isinstance(source, ReportsDamage) else None
    return Summary(
        counts=run.counts,
        seconds=seconds,
        stages=processor.stages,
        size=run.size,
        damage=Damage() if reports is None else reports.damage,
        notes=(*(() if reports is None else reports.notes), *processor.notes),
    )


def _read(
    run: _Run, source: Source, stages: Stages, options: LosslessOptions, guard: FrameGuard | None
) -> None:
    try:
        begun = now_ns()
        for frame in source.frames():
            if not run.counts.read:
                run.size = frame.size
                begun = now_ns() - round(frame.time * 1e9)
            elif frame.size != run.size:
                raise SourceError(
                    f"{source.name} changes its frame size at frame {frame.index}: from "
                    f"{run.size[1]}x{run.size[0]} to "
                    f"{frame.size[1]}x{frame.size[0]}",
                    remedy="cut the video there, or give pictures of one size; --live allows it",
                )
            run.counts.read += 1
            stages.record("decode", frame.decode_ms)
            if guard is not None:
                judged = now_ns()
                frame = guard.apply(frame)
                stages.record("privacy", (now_ns() - judged) / 1e6)
            if options.realtime:
                time.sleep(max(0.0, frame.time - (now_ns() - begun) / 1e9))
            if not run.frames.put(frame) or run.counts.read == options.max_frames:
                break
        run.frames.close()
    except BaseException as error:
        run.fail(error)


def _infer(
    run: _Run,
    processor: FrameProcessor,
    painter: Painter,
    workers: int,
    total: int | None,
    progress: Progress | None,
) -> None:
    """Keeps ``workers`` frames in the model, and some more ready for it.

    Steps that need order (tracking) run in order.
    """
    pending: deque[tuple[Frame, Future[tuple[Outputs, float]]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="trocar-infer")
    waited = now_ns()
    try:
        while run.error is None:
            exhausted = run.frames.exhausted
            is_full = len(pending) >= workers + WAITING
            is_ready = bool(pending) and pending[0][1].done()
            if not (exhausted or is_full):
                # The timeout lets Ctrl-C through: Python delivers signals between waits.
                frame = run.frames.get(timeout=0 if is_ready else 0.02 if pending else 0.5)
                if frame is not None:
                    processor.stages.record("wait", (now_ns() - waited) / 1e6)
                    pending.append((frame, pool.submit(processor.infer, frame)))
                    waited = now_ns()
                    continue
            if pending and (is_ready or is_full or exhausted):
                oldest, future = pending.popleft()
                outputs, infer_ms = future.result()
                result = processor.postprocess(oldest, outputs, infer_ms=infer_ms)
                run.counts.processed += 1
                if not run.events.put(FrameEvent(frame=oldest, result=result, painter=painter)):
                    return
                if progress is not None:
                    progress(run.counts, total)
                waited = now_ns()
            elif exhausted:
                return
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write(run: _Run, source: Source, sinks: Sequence[Sink], stages: Stages) -> None:
    try:
        while (event := run.events.get()) is not None:
            if not run.opened:
                info = StreamInfo(
                    name=source.name,
                    size=run.size,
                    fps=source.fps or 25.0,
                    pixel_aspect=source.pixel_aspect
                    if isinstance(source, HasPixelAspect)
                    else Fraction(1),
                )
                for sink in sinks:
                    sink.open(info)
                run.opened = True
            started = now_ns()
            for sink in sinks:
                sink.write(event)
            done = now_ns()
            if event.draw_ms:
                stages.record("draw", event.draw_ms)
            if sinks:
                stages.record("sink", (done - started) / 1e6 - event.draw_ms)
            stages.record("total", (done - event.frame.captured_ns) / 1e6)
            run.counts.written += 1
    except BaseException as error:
        run.fail(error)
