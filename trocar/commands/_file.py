"""Runs one file or folder of images without loss, with a progress bar and a summary.

run_file(request)
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import click

from trocar.commands._run_request import RunRequest
from trocar.console.run import frame_progress, print_summary, served_lines
from trocar.contract.errors import DamagedInputError
from trocar.runtime.draw.overlay import OverlayOptions, Painter
from trocar.runtime.pipeline.assemble import (
    divide_cores,
    make_frame_processor,
    make_guard,
    make_sinks,
    open_body,
    open_second_stage,
    open_session,
    sizes_of,
)
from trocar.runtime.pipeline.counters import Summary
from trocar.runtime.pipeline.offline import LosslessOptions, run_lossless
from trocar.runtime.sinks.base import FrameEvent, StreamInfo
from trocar.runtime.sinks.files import AtomicFile, check_free, sink_error
from trocar.runtime.sources.open import open_source


def run_file(request: RunRequest) -> Summary:
    """Runs the request's only source without loss.

    Raises:
        DamagedInputError: Frames of the source are damaged or missing; the outputs are complete.
        TrocarError: See `run_lossless`.
    """
    options = request.options
    sinks = make_sinks(options.output, live=False)
    for line in served_lines(sinks):
        click.echo(line, err=True)
    metrics = None
    if options.output.metrics is not None:
        metrics = MetricsFile(options.output.metrics, overwrite=options.output.overwrite)
        sinks.append(metrics)
    # The source first: a wrong name is reported at once, while a model takes time to open.
    source = open_source(request.sources[0], options.input.source)
    try:
        body = open_body(options.privacy, options.model)
        session = open_session(
            options.model, live=False, frame_sizes=sizes_of([source]), sources=[source]
        )
        session, workers, note = divide_cores(
            session, options.model, source=source, max_frames=options.input.max_frames
        )
    except BaseException:
        source.close()
        raise
    if note:
        click.echo(note, err=True)
    with body or nullcontext(), session, frame_progress(Path(source.name).name) as progress:
        classifier = open_second_stage(options.model)
        summary = run_lossless(
            make_frame_processor(session, options.model, live=False, classifier=classifier),
            source,
            sinks=sinks,
            painter=Painter(
                session.classes, OverlayOptions(show=options.output.show, reported_only=True)
            ),
            options=LosslessOptions(
                workers=workers,
                realtime=options.input.realtime,
                max_frames=options.input.max_frames,
            ),
            guard=make_guard(options.privacy, body, live=False),
            progress=progress,
            finishing=None if metrics is None else metrics.take,
        )
    print_summary(summary, source=source.name)
    for sink in sinks:
        click.echo(f"wrote {sink.name}", err=True)
    lost = options.input.unaccepted(summary.damage)
    if lost:
        raise DamagedInputError(
            f"{source.name} is damaged: {lost}; the outputs hold all other frames",
            remedy="copy the recording again, or pass --allow-damaged to accept it",
        )
    return summary


class MetricsFile:
    """Latencies and counts of a run: an output like the others, written when the run is over.

    Args:
        path: ``.prom`` is Prometheus's text format, else JSON.
        overwrite: Whether an existing file is replaced.
    """

    wants_every_frame = False

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.name = str(path)
        check_free(path, overwrite=overwrite)
        self._output = AtomicFile(path, overwrite=overwrite, live=False)
        self._prometheus = path.suffix == ".prom"
        self._source = ""

    def open(self, info: StreamInfo) -> None:
        """Makes the temporary file, so that a folder that cannot be written is told at once."""
        self._source = info.name
        self._output.prepare()

    def write(self, event: FrameEvent) -> None:
        """Does nothing."""

    def take(self, summary: Summary) -> None:
        """Writes the summary.

        Raises:
            SinkError: The disk is full.
        """
        text = _metrics(summary, self._source, prometheus=self._prometheus)
        try:
            with self._output.temporary.open(f"{self._output.mode}b") as file:
                file.write(text)
        except OSError as error:
            raise sink_error(self.name, error) from error

    def close(self) -> None:
        """Does nothing: `take` comes after it."""

    def commit(self) -> None:
        """Gives the file its final name."""
        self._output.commit()

    def settle(self) -> None:
        """Removes what it replaced."""
        self._output.settle()

    def discard(self) -> None:
        """Removes the file; after `commit` it restores what was replaced."""
        self._output.discard()


def _metrics(summary: Summary, name: str, *, prometheus: bool) -> bytes:
    """Latencies and counters of a finished run, in the form of a live run's."""
    if not prometheus:
        return json.dumps([{"stream": name, **summary.to_dict()}], indent=1).encode()
    from trocar.runtime.telemetry.prometheus import StreamMetrics, prometheus_text

    counters = {
        "frames_read_total": summary.counts.read,
        "frames_analysed_total": summary.counts.processed,
        "packets_damaged_total": summary.damage.packets,
        "frames_damaged_total": summary.damage.frames,
        "frames_missing_total": summary.damage.missing,
    }
    stream = StreamMetrics(name=name, stages=summary.stages, counters=counters)
    return prometheus_text([stream]).encode()
