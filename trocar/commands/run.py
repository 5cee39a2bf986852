"""The commands `trocar run`, `trocar inspect` and `trocar benchmark`.

trocar run model.trocar video.mp4 --overlay out.mp4 --json out.jsonl
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import click

from trocar.console.run import print_summary, progress_bar
from trocar.contract.bundle import write_atomic
from trocar.contract.errors import ConfigError, InterruptedByUserError
from trocar.runtime.backends import BACKENDS
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.pipeline.assemble import (
    make_analyser,
    second_stage,
    session_from_flags,
    sinks_from_flags,
    source_options,
    workers_for,
)
from trocar.runtime.pipeline.counters import Summary
from trocar.runtime.pipeline.offline import run_lossless
from trocar.runtime.sinks.files import check_free
from trocar.runtime.sources.base import is_stream
from trocar.runtime.sources.open import open_source
from trocar.runtime.telemetry.latency import prometheus_text

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("source", nargs=-1)
@click.option("--out", type=_FOLDER, help="Work through many recordings: a folder for each.")
@click.option("--ray", metavar="ADDRESS", help="With --out: spread them over Ray; or local.")
@click.option("--overlay", metavar="FILE|URL", help="Write the overlay video (H.264).")
@click.option("--json", "json_path", type=_FILE, help="Write JSON lines, one a frame.")
@click.option("--csv", "csv_path", type=_FILE, help="Write CSV, one row an instrument.")
@click.option("--frames", type=_FOLDER, help="Write every overlay picture as PNG.")
@click.option("--masks", type=_FOLDER, help="Write every label map as PNG at frame size.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that are there already.")
@click.option("--device", default="cpu", help="cpu, cuda or cuda:N: this one, or an error.")
@click.option("--backend", default="onnxruntime", help=f"One of {', '.join(BACKENDS)}.")
@click.option("--cuda-graph", is_flag=True, help="ONNX Runtime on CUDA: replay recorded work.")
@click.option("--precision", help="What the arithmetic must be; an error where it is not.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the model.")
@click.option("--fast-resize", is_flag=True, help="Shrink frames with OpenCV before the model.")
@click.option("--hwaccel", help="Decode on hardware: cuda, vaapi, qsv …")
@click.option("--format", "input_format", help="FFmpeg input format, where it is not guessed.")
@click.option("--allow-truncated", is_flag=True, help="Use what there is of a broken-off file.")
@click.option("--codec", default="libx264", help="Video encoder.")
@click.option("--preset", default="ultrafast", help="libx264's speed.")
@click.option("--quality", type=click.IntRange(0, 51), default=21, help="libx264's rate factor.")
@click.option("--paced", is_flag=True, help="Play a file at its own speed.")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many frames (files).")
@click.option("--classify", type=_FOLDER, help="Classifier bundle that names each instrument.")
@click.option("--unknown-below", type=float, help="Certainty under which it says unknown.")
@click.option("--raw", is_flag=True, help="No tracking, no smoothing, no presence filter.")
@click.option("--live", is_flag=True, help="Live mode for a file too: newest frame, never late.")
@click.option("--stream", "streams", multiple=True, help="One more live stream; repeatable.")
@click.option("--max-age", type=float, default=300.0, help="Hide masks older than this, in ms.")
@click.option("--budget-ms", type=float, help="Deadline from capture to result; misses count.")
@click.option("--step-down", is_flag=True, help="Do less when the deadline is missed too often.")
@click.option("--timeout", type=float, default=5.0, help="Seconds of silence before reconnecting.")
@click.option("--no-reconnect", is_flag=True, help="End when a stream ends.")
@click.option("--seconds", type=float, help="Stop a live run after so long.")
@click.option("--view", metavar="HOST:PORT", help="Serve the live page, e.g. 127.0.0.1:8080.")
@click.option("--token", help="Token for the live page on addresses other than the loopback.")
@click.option("--trace", type=_FILE, help="Write a trace for ui.perfetto.dev (live).")
@click.option("--metrics", type=_FILE, help="Write latencies and counts: .prom or JSON.")
def run(**flags: Any) -> None:
    """Finds instruments in SOURCE: a video, a folder of images, a camera or a stream.

    Files are run without loss, every frame in order; their outputs are whole or absent. Cameras
    and streams (and files with --live) are run live: the newest frame counts, what cannot be done
    in time is dropped and counted. Prints the latency of every stage at the end.

    With --out, SOURCE may be many recordings and patterns ('archive/**/*.mp4'). Each gets a folder
    of results; what is done is not done again, and the same command goes on after a stop.
    """
    pass

    with stopped_by_signals():
        run_command(flags)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: cleanly."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise InterruptedByUserError(
            f"stopped by {signal.Signals(number).name}", remedy="start it again"
        )

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # Not the main thread (tests, embedding): the host handles its signals.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


_LIVE_ONLY = ("view", "trace", "budget_ms", "seconds")


def run_command(flags: Mapping[str, Any]) -> list[Summary]:
    """`trocar run`.

    Raises:
        TrocarError: See the errors of what it puts together.
    """
    places = [*flags["source"], *flags["streams"]]
    if not places:
        raise ConfigError("there is no source", remedy="name a video, a folder or a stream")
    if flags.get("out"):
        from trocar.runtime.archive.run import run_archive

        run_archive(places, flags)
        return []
    if flags.get("ray"):
        raise ConfigError("--ray is for many recordings", remedy="add --out DIR")
    if flags["live"] or flags["streams"] or any(is_stream(place) for place in places):
        from trocar.commands._live import run_live

        return run_live(places, flags)
    if len(places) != 1:
        raise ConfigError(
            f"got {len(places)} sources, expected one",
            remedy="name one video or folder, pass --out DIR for many, or streams with --stream",
        )
    stray = [name for name in _LIVE_ONLY if flags[name]]
    if stray:
        names = ", ".join("--" + name.replace("_", "-") for name in stray)
        raise ConfigError(f"{names}: for live runs only", remedy="add --live, or leave it out")
    return [run_file(places[0], flags)]


def run_file(place: str, flags: Mapping[str, Any]) -> Summary:
    """Runs a file or a folder without loss.

    Raises:
        TrocarError: See `run_lossless`.
    """
    metrics: Path | None = flags["metrics"]
    if metrics is not None:
        check_free(metrics, overwrite=flags["overwrite"])
    sinks = sinks_from_flags(flags, live=False)
    # The source first: a wrong name is said at once, a model takes a while.
    source = open_source(place, source_options(flags))
    try:
        session = session_from_flags(flags, live=False)
    except BaseException:
        source.close()
        raise
    with session, progress_bar(Path(source.name).name) as progress:
        summary = run_lossless(
            make_analyser(session, raw=flags["raw"], live=False, classify=second_stage(flags)),
            source,
            sinks,
            painter=Painter(session.classes),
            workers=workers_for(session, flags["threads"]),
            paced=flags["paced"],
            progress=progress,
            limit=flags["limit"],
        )
    print_summary(summary, what=source.name)
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
    }
    return prometheus_text(summary.stages, counters, labels={"stream": name}).encode()
