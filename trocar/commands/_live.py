"""Runs one or many streams live: sources, streams, live page, metrics, terminal.

run_live(request)
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from trocar.commands._run_request import RunRequest
from trocar.console.live import END_S, LiveTerminal
from trocar.console.run import live_table, print_summary, served_lines
from trocar.contract.bundle import write_atomic
from trocar.contract.errors import BackendError, ConfigError, SinkError, SourceError
from trocar.contract.text.strict_json import without_nan
from trocar.runtime.draw.overlay import OverlayOptions, Painter
from trocar.runtime.live.dispatcher import Dispatcher
from trocar.runtime.live.health import Health, StateChange
from trocar.runtime.live.monitor.feed import Feed
from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.live.run import LiveRun
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.assemble import (
    make_frame_processor,
    make_guard,
    make_sinks,
    open_body,
    open_second_stage,
    open_session,
    sizes_of,
)
from trocar.runtime.pipeline.counters import Summary
from trocar.runtime.pipeline.options import InputOptions, RunOptions, check_stream_outputs
from trocar.runtime.sinks.base import Sink
from trocar.runtime.sinks.files import check_free
from trocar.runtime.sources.addresses import is_stream, redacted
from trocar.runtime.sources.base import Source
from trocar.runtime.sources.iterator import RealtimeSource
from trocar.runtime.sources.open import open_source
from trocar.runtime.sources.reconnect import ReconnectingSource
from trocar.runtime.telemetry.prometheus import prometheus_text
from trocar.runtime.telemetry.trace import Trace

METRICS_S = 0.3
"""Seconds between two writings of the metrics."""


def run_live(request: RunRequest) -> list[Summary]:
    """Runs streams live until they end, the time is over, or the user stops the run.

    Raises:
        TrocarError: The run cannot start. Later faults are states of the stream; those that remain
            at the end, and outputs that failed, are errors when everything else is written.
    """
    options = request.options
    check_stream_outputs(options.output, len(request.sources))
    _check_metrics(options.output.metrics, overwrite=options.output.overwrite)
    sinks = [
        make_sinks(options.output.numbered(number), live=True)
        for number in range(len(request.sources))
    ]
    streams: list[LiveStream] = []
    served = served_lines(sink for files in sinks for sink in files)
    with contextlib.ExitStack() as stack:
        terminal = stack.enter_context(LiveTerminal(lambda: live_table(streams)))
        for line in served:
            terminal.line(line)
        reporters = [_StateReporter(redacted(address), terminal) for address in request.sources]
        healths = [Health(reporter) for reporter in reporters]
        sources = [
            _open(address, options.input, health)
            for address, health in zip(request.sources, healths, strict=True)
        ]
        for source in sources:
            stack.callback(source.close)
        session = stack.enter_context(
            open_session(options.model, live=True, frame_sizes=sizes_of(sources), sources=sources)
        )
        body = open_body(options.privacy, options.model)
        if body is not None:
            stack.callback(body.close)
        trace = None
        if options.output.trace is not None:
            trace = stack.enter_context(
                Trace(options.output.trace, overwrite=options.output.overwrite)
            )
            for reporter in reporters:
                reporter.trace = trace
        monitor = None
        if request.serve is not None:
            monitor = Monitor(
                *request.serve,
                token=request.token,
                names=request.serve_names,
                certificate=request.serve_cert,
                key=request.serve_key,
                webrtc=request.webrtc,
            )
            stack.callback(monitor.stop)
        for source, files, health in zip(sources, sinks, healths, strict=True):
            feeds: list[Sink] = [] if monitor is None else [monitor.feed(source.name)]
            streams.append(
                LiveStream(
                    source,
                    make_frame_processor(
                        session,
                        options.model,
                        live=True,
                        classifier=open_second_stage(options.model),
                    ),
                    painter=Painter(
                        session.classes,
                        OverlayOptions(show=options.output.show, reported_only=True),
                    ),
                    sinks=[*files, *feeds],
                    options=options.live,
                    health=health,
                    trace=trace,
                    guard=make_guard(options.privacy, body, live=True),
                )
            )
        run = LiveRun(session, streams, trace=trace)
        if monitor is not None:
            for stream, feed in zip(streams, monitor.feeds.values(), strict=True):
                feed.update(stream)
            monitor.start()
            terminal.line(f"live page: {monitor.address}")
        summaries = _watch(run, monitor, options)
        for health in healths:
            health.finish()
        terminal.end_table()
        for stream, summary in zip(streams, summaries, strict=True):
            terminal.call(partial(_print_summary, summary, stream.source.name))
    _check_end(streams)
    return summaries


def _watch(run: LiveRun, monitor: Monitor | None, options: RunOptions) -> list[Summary]:
    """Runs until the end; publishes the state to the page and the metrics file meanwhile."""
    publishers = []
    if monitor is not None:
        publishers.append(
            lambda: monitor.set_metrics(prometheus_text(run.metrics())),
        )
    if options.output.metrics is not None:
        publishers.append(partial(_write_metrics, run, options.output.metrics))
    # Each has a thread of its own: a disk that hangs costs the file and nothing else.
    daemons = [Dispatcher("metrics", every=(METRICS_S, publish)) for publish in publishers]
    run.start()
    try:
        run.wait(seconds=options.live.seconds)
    finally:
        summaries = run.stop()
        for daemon, publish in zip(daemons, publishers, strict=True):
            daemon.post(publish)
            daemon.finish(timeout_s=END_S)
    return summaries


def _print_summary(summary: Summary, name: str, screen: Console) -> None:
    print_summary(summary, source=name, screen=screen)


def _check_end(streams: Sequence[LiveStream]) -> None:
    """Makes what went wrong an error, after everything has been written.

    Raises:
        SinkError: An output failed, or was never made because no frame came.
        SourceError: A source was lost at the end.
        BackendError: The model failed at the end.
    """
    workers = [worker for stream in streams for worker in stream.sink_workers]
    failed = [f"{worker.sink.name}: {worker.failed}" for worker in workers if worker.failed]
    failed += [
        f"{worker.sink.name}: it was never made, because there was nothing to write"
        for worker in workers
        if not worker.failed and not worker.opened and not isinstance(worker.sink, Feed)
    ]
    faults = {
        redacted(stream.source.name): reason
        for stream in streams
        if (reason := "; ".join(stream.health.reasons_of("FAULT")))
    }
    told = "; ".join(f"{name}: {reason}" for name, reason in faults.items())
    if failed:
        raise SinkError(
            f"{len(failed)} output(s) failed during the run: {'; '.join(failed)}"
            + (f"; at the end: {told}" if told else ""),
            remedy="the other outputs are complete; what was written of these has 'partial' in its "
            "name; see the reason of each",
        )
    if any(stream.health.has("source") for stream in streams):
        raise SourceError(
            f"the run ended without its source: {told}",
            remedy="check the sender and the network; what was written before is complete",
        )
    if faults:
        raise BackendError(
            f"the run ended in FAULT: {told}",
            remedy="see the first message of the fault above; try another --device or --backend",
        )


def _write_metrics(run: LiveRun, path: Path) -> None:
    write_atomic(path, _metrics_file(run, path))


def _metrics_file(run: LiveRun, path: Path) -> bytes:
    if path.suffix == ".prom":
        return prometheus_text(run.metrics()).encode()
    data = [
        {
            "stream": stream.source.name,
            "state": stream.health.state,
            "reasons": list(stream.health.reasons),
            "counts": vars(stream.counts),
            "stages_ms": without_nan(stream.stages.summary()),
        }
        for stream in run.streams
    ]
    return json.dumps(data, indent=1, allow_nan=False).encode()


def _check_metrics(metrics: Path | None, *, overwrite: bool) -> None:
    """Refuses a metrics file that exists or cannot be written, before the run starts."""
    if metrics is not None:
        check_free(metrics, overwrite=overwrite)
    if metrics is not None and metrics.parent.exists() and not os.access(metrics.parent, os.W_OK):
        raise ConfigError(f"cannot write into {metrics.parent}", remedy="choose another folder")


def _open(address: str, options: InputOptions, health: Health) -> Source:
    """A file that plays at its own speed, or a stream that is opened again when it fails."""
    if not is_stream(address):
        return RealtimeSource(open_source(address, options.source))
    if not options.reconnect:
        return open_source(address, options.source)
    return ReconnectingSource(
        lambda: open_source(address, options.source), name=address, listener=health
    )


class _StateReporter:
    """Prints changes of state, and records them in the trace."""

    def __init__(self, name: str, terminal: LiveTerminal) -> None:
        self.trace: Trace | None = None
        self._name = name
        self._terminal = terminal

    def __call__(self, change: StateChange) -> None:
        reasons = f": {'; '.join(change.reasons)}" if change.reasons else ""
        self._terminal.line(f"[{self._name}] {change.state}{reasons}")
        if self.trace is not None:
            self.trace.instant(change.state, thread="state", at_ns=change.at_ns, reasons=reasons)
