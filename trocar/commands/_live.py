"""Runs one or many streams live: sources, streams, live page, metrics, terminal.

run_live(request)
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from trocar.commands._run_request import RunRequest
from trocar.console.run import console, live_table, print_summary
from trocar.contract.bundle import write_atomic
from trocar.contract.errors import ConfigError, SinkError
from trocar.runtime.draw.overlay import OverlayOptions, Painter
from trocar.runtime.live.health import Health, StateChange
from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.live.run import LiveRun
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.assemble import (
    make_frame_processor,
    make_sinks,
    open_second_stage,
    open_session,
)
from trocar.runtime.pipeline.counters import Summary
from trocar.runtime.pipeline.options import InputOptions, RunOptions, check_stream_outputs
from trocar.runtime.sinks.base import Sink
from trocar.runtime.sources.addresses import is_stream, redacted
from trocar.runtime.sources.base import Source
from trocar.runtime.sources.iterator import RealtimeSource
from trocar.runtime.sources.open import open_source
from trocar.runtime.sources.reconnect import ReconnectingSource
from trocar.runtime.telemetry.prometheus import prometheus_text
from trocar.runtime.telemetry.trace import Trace


def run_live(request: RunRequest) -> list[Summary]:
    """Runs streams live until they end, the time is over, or the user stops the run.

    Raises:
        TrocarError: The run cannot start. Later faults are states of the stream, not errors.
    """
    options = request.options
    check_stream_outputs(options.output, len(request.sources))
    _check_metrics(options.output.metrics)
    sinks = [
        make_sinks(options.output.numbered(number), live=True)
        for number in range(len(request.sources))
    ]
    with contextlib.ExitStack() as stack:
        reporters = [_StateReporter(redacted(address)) for address in request.sources]
        healths = [Health(reporter) for reporter in reporters]
        sources = [
            _open(address, options.input, health)
            for address, health in zip(request.sources, healths, strict=True)
        ]
        for source in sources:
            stack.callback(source.close)
        session = stack.enter_context(open_session(options.model, live=True))
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
            )
            stack.callback(monitor.stop)
        streams = []
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
                    painter=Painter(session.classes, OverlayOptions(show=options.output.show)),
                    sinks=[*files, *feeds],
                    options=options.live,
                    health=health,
                    trace=trace,
                )
            )
        run = LiveRun(session, streams, trace=trace)
        if monitor is not None:
            monitor.start()
            click.echo(f"live page: {monitor.address}", err=True)
        summaries = _watch(run, monitor, options)
    failed = []
    for stream, summary in zip(streams, summaries, strict=True):
        print_summary(summary, source=stream.source.name)
        failed += [f"{w.sink.name}: {w.failed}" for w in stream.sink_workers if w.failed]
    if failed:
        raise SinkError(
            f"{len(failed)} output(s) failed during the run: {'; '.join(failed)}",
            remedy="the other outputs are complete; see the reason of each, and run it again",
        )
    return summaries


def _watch(run: LiveRun, monitor: Monitor | None, options: RunOptions) -> list[Summary]:
    """Runs until the end; publishes the state to the page, the metrics file and the terminal."""
    metrics = options.output.metrics

    def publish(run: LiveRun) -> None:
        text = prometheus_text(run.metrics())
        if monitor is not None:
            for stream, feed in zip(run.streams, monitor.feeds.values(), strict=True):
                feed.update(stream)
            monitor.set_metrics(text)
        if metrics is not None:
            # A full disk costs this file and does not end the run.
            with contextlib.suppress(OSError):
                write_atomic(metrics, _metrics_file(run, text, metrics))
        if draw is not None:
            draw(run)

    run.start()
    with _terminal() as draw:
        try:
            run.wait(seconds=options.live.seconds, report=publish)
        finally:
            summaries = run.stop()
            publish(run)
    return summaries


def _metrics_file(run: LiveRun, text: str, path: Path) -> bytes:
    if path.suffix == ".prom":
        return text.encode()
    data = [
        {
            "stream": stream.source.name,
            "state": stream.health.state,
            "reasons": list(stream.health.reasons),
            "counts": vars(stream.counts),
            "stages_ms": stream.stages.summary(),
        }
        for stream in run.streams
    ]
    return json.dumps(data, indent=1).encode()


def _check_metrics(metrics: Path | None) -> None:
    """Refuses a metrics file whose folder cannot be written, before the run starts."""
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

    def __init__(self, name: str) -> None:
        self.trace: Trace | None = None
        self._name = name

    def __call__(self, change: StateChange) -> None:
        reasons = f": {'; '.join(change.reasons)}" if change.reasons else ""
        click.echo(f"[{self._name}] {change.state}{reasons}", err=True)
        if self.trace is not None:
            self.trace.instant(change.state, thread="state", at_ns=change.at_ns, reasons=reasons)


@contextlib.contextmanager
def _terminal() -> Iterator[Callable[[LiveRun], None] | None]:
    screen = console()
    if not screen.is_terminal:
        yield None
        return
    from rich.live import Live

    with Live(console=screen, refresh_per_second=4, transient=True) as live:
        yield lambda run: live.update(live_table(run.streams))
