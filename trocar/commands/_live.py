"""Puts a live run together: sources that come back, streams, page, metrics, the terminal.

run_live(["rtsp://camera/1"], flags)
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from trocar.console.run import console, live_table, print_summary
from trocar.contract.bundle import write_atomic
from trocar.contract.errors import ConfigError
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live.health import Event
from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.live.run import LiveRun
from trocar.runtime.live.stream import LiveOptions, LiveStream
from trocar.runtime.pipeline.assemble import (
    make_analyser,
    second_stage,
    session_from_flags,
    sinks_from_flags,
    source_options,
)
from trocar.runtime.pipeline.counters import Summary
from trocar.runtime.sinks.base import Sink
from trocar.runtime.sources.base import Source, is_stream, redacted
from trocar.runtime.sources.iterator import Paced
from trocar.runtime.sources.open import open_source
from trocar.runtime.sources.reconnect import Reconnecting
from trocar.runtime.telemetry.prometheus import metrics_text
from trocar.runtime.telemetry.trace import Trace

_OUTPUTS = ("overlay", "json_path", "csv_path", "frames", "masks")


def run_live(places: Sequence[str], flags: Mapping[str, Any]) -> list[Summary]:
    """Runs one or many streams live until they end, time is up, or the user stops it.

    Raises:
        TrocarError: Nothing can be started. Later faults are states, not errors.
    """
    _check(places, flags)
    options = LiveOptions(
        max_age_ms=flags["max_age"],
        budget_ms=flags["budget_ms"],
        step_down=flags["step_down"],
    )
    sinks = [sinks_from_flags(flags, live=True, number=n) for n in range(len(places))]
    sources = [_source(place, flags) for place in places]
    with contextlib.ExitStack() as stack:
        for source in sources:
            stack.callback(source.close)
        session = stack.enter_context(session_from_flags(flags, live=True))
        trace = None
        if flags["trace"]:
            trace = stack.enter_context(Trace(flags["trace"], overwrite=flags["overwrite"]))
        monitor = None
        if flags["view"]:
            monitor = _monitor(flags)
            stack.callback(monitor.stop)
        streams = []
        for source, own in zip(sources, sinks, strict=True):
            feed: list[Sink] = [] if monitor is None else [monitor.feed(source.name)]
            streams.append(
                LiveStream(
                    source,
                    make_analyser(
                        session, raw=flags["raw"], live=True, classify=second_stage(flags)
                    ),
                    Painter(session.classes),
                    [*own, *feed],
                    options=options,
                    trace=trace,
                    on_event=_teller(source.name, trace),
                )
            )
        run = LiveRun(session, streams, trace=trace)
        if monitor is not None:
            monitor.start()
            click.echo(f"live page: {monitor.address}", err=True)
        summaries = _watch(run, monitor, flags)
    for stream, summary in zip(streams, summaries, strict=True):
        print_summary(summary, what=stream.source.name)
        for outlet in stream.outlets:
            if outlet.failed:
                click.echo(f"failed {outlet.sink.name}: {outlet.failed}", err=True)
    return summaries


def _watch(run: LiveRun, monitor: Monitor | None, flags: Mapping[str, Any]) -> list[Summary]:
    metrics = flags["metrics"]

    def tell(run: LiveRun) -> None:
        text = metrics_text(run)
        if monitor is not None:
            for stream, feed in zip(run.streams, monitor.feeds.values(), strict=True):
                feed.update(stream)
            monitor.set_metrics(text)
        if metrics is not None:
            # A full disk costs the file, not the run.
            with contextlib.suppress(OSError):
                write_atomic(metrics, _metrics_file(run, text, metrics))
        if draw is not None:
            draw(run)

    run.start()
    with _terminal() as draw:
        try:
            run.wait(seconds=flags["seconds"], report=tell)
        finally:
            summaries = run.stop()
            tell(run)
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


def _check(places: Sequence[str], flags: Mapping[str, Any]) -> None:
    if len(places) > 1:
        for key in _OUTPUTS:
            value = flags[key]
            if value and "{n}" not in str(value):
                raise ConfigError(
                    f"{len(places)} streams cannot share the output {redacted(str(value))}",
                    remedy="put {n} into its name: it stands for the stream's number",
                )
    if flags["metrics"] is not None:
        folder = flags["metrics"].parent
        if folder.exists() and not os.access(folder, os.W_OK):
            raise ConfigError(f"cannot write into {folder}", remedy="choose another folder")
    if flags["limit"]:
        raise ConfigError("--limit is for files", remedy="use --seconds in live runs")


def _source(place: str, flags: Mapping[str, Any]) -> Source:
    options = source_options(flags)
    if not is_stream(place):
        return Paced(open_source(place, options))
    if flags["no_reconnect"]:
        return open_source(place, options)
    return Reconnecting(lambda: open_source(place, options), name=place)


def _monitor(flags: Mapping[str, Any]) -> Monitor:
    host, _, port = flags["view"].rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ConfigError(
            f"--view is {flags['view']!r}, expected HOST:PORT", remedy="e.g. 127.0.0.1:8080"
        )
    return Monitor(host.strip("[]") or "127.0.0.1", int(port), token=flags["token"])


def _teller(name: str, trace: Trace | None) -> Callable[[Event], None]:
    """Announces changes of state on the terminal and in the trace."""

    def tell(event: Event) -> None:
        why = f": {'; '.join(event.reasons)}" if event.reasons else ""
        click.echo(f"[{name}] {event.state}{why}", err=True)
        if trace is not None:
            trace.mark(event.state, thread="state", at_ns=event.at_ns, reasons=why)

    return tell


@contextlib.contextmanager
def _terminal() -> Iterator[Callable[[LiveRun], None] | None]:
    screen = console()
    if not screen.is_terminal:
        yield None
        return
    from rich.live import Live

    with Live(console=screen, refresh_per_second=4, transient=True) as live:
        yield lambda run: live.update(live_table(run.streams))
