"""Runs one file or folder of images without loss, with a progress bar and a summary.

run_file(request)
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from trocar.commands._run_request import RunRequest
from trocar.console.run import frame_progress, print_summary
from trocar.contract.bundle import write_atomic
from trocar.runtime.draw.overlay import OverlayOptions, Painter
from trocar.runtime.pipeline.assemble import (
    make_frame_processor,
    make_sinks,
    open_second_stage,
    open_session,
    workers_for,
)
from trocar.runtime.pipeline.counters import Summary
from trocar.runtime.pipeline.offline import LosslessOptions, run_lossless
from trocar.runtime.sinks.files import check_free
from trocar.runtime.sources.open import open_source
from trocar.runtime.telemetry.prometheus import StreamMetrics, prometheus_text


def run_file(request: RunRequest) -> Summary:
    """Runs the request's only source without loss.

    Raises:
        TrocarError: See `run_lossless`.
    """
    options = request.options
    metrics = options.output.metrics
    if metrics is not None:
        check_free(metrics, overwrite=options.output.overwrite)
    sinks = make_sinks(options.output, live=False)
    # The source first: a wrong name is reported at once, while a model takes time to open.
    source = open_source(request.sources[0], options.input.source)
    try:
        session = open_session(options.model, live=False)
    except BaseException:
        source.close()
        raise
    with session, frame_progress(Path(source.name).name) as progress:
        classifier = open_second_stage(options.model)
        summary = run_lossless(
            make_frame_processor(session, options.model, live=False, classifier=classifier),
            source,
            sinks=sinks,
            painter=Painter(session.classes, OverlayOptions(show=options.output.show)),
            options=LosslessOptions(
                workers=workers_for(session, options.model.threads),
                realtime=options.input.realtime,
                max_frames=options.input.max_frames,
            ),
            progress=progress,
        )
    print_summary(summary, source=source.name)
    for sink in sinks:
        click.echo(f"wrote {sink.name}", err=True)
    if metrics is not None:
        write_atomic(metrics, _metrics(summary, source.name, prometheus=metrics.suffix == ".prom"))
        click.echo(f"wrote {metrics}", err=True)
    return summary


def _metrics(summary: Summary, name: str, *, prometheus: bool) -> bytes:
    """Latencies and counters of a finished run, in the form of a live run's."""
    if not prometheus:
        return json.dumps([{"stream": name, **summary.to_dict()}], indent=1).encode()
    counters = {
        "frames_read_total": summary.counts.read,
        "frames_analysed_total": summary.counts.processed,
        "packets_damaged_total": summary.damage.packets,
        "frames_damaged_total": summary.damage.frames,
        "frames_missing_total": summary.damage.missing,
    }
    stream = StreamMetrics(name=name, stages=summary.stages, counters=counters)
    return prometheus_text([stream]).encode()
