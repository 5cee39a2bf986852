"""The commands `trocar run`, `trocar inspect` and `trocar benchmark`.

trocar run model.trocar video.mp4 --overlay out.mp4 --json out.jsonl
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click

from trocar.contract.errors import ConfigError, InterruptedByUserError
from trocar.runtime.backends import BACKENDS

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
    from trocar.runtime.run import run_command

    with stopped_by_signals():
        run_command(flags)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def inspect(model: Path, as_json: bool) -> None:
    """Prints what a bundle is, after checking the hash of every file in it."""
    from trocar.contract.bundle import open_bundle

    bundle = open_bundle(model)
    if as_json:
        click.echo(json.dumps(bundle.manifest.to_dict(), indent=1, ensure_ascii=False))
        return
    from rich.console import Console

    from trocar.runtime.tables import bundle_tables, engine_tables

    screen = Console()
    for table in [*bundle_tables(bundle), *engine_tables(bundle)]:
        screen.print(table)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--frame", metavar="HEIGHTxWIDTH", help="Frame size [default: the golden frame's].")
@click.option("--seconds", type=float, default=3.0, help="Time for each row.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines instead of a table.")
def benchmark(
    model: Path, frame: str | None, seconds: float, threads: int | None, as_json: bool
) -> None:
    """Times every backend and precision that this machine can give a bundle.

    What cannot run is listed with its reason.
    """
    from trocar.runtime import benchmark as measured

    size = None
    if frame is not None:
        height, _, width = frame.partition("x")
        if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
            raise ConfigError(
                f"--frame is {frame!r}, expected HEIGHTxWIDTH", remedy="e.g. --frame 1080x1920"
            )
        size = (int(height), int(width))
    rows = []
    for row in measured.benchmark(model, frame=size, seconds=seconds, threads=threads):
        rows.append(row)
        if as_json:
            click.echo(json.dumps(row.to_dict()))
    if not as_json:
        from rich.console import Console

        from trocar.runtime.tables import benchmark_table

        Console().print(benchmark_table(rows))


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
