"""Puts a run together from the command line's flags.

run_command({"model": Path("model.trocar"), "source": ("video.mp4",), ...})
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from trocar.contract.errors import ConfigError
from trocar.runtime.analyse import Analyser
from trocar.runtime.devices import usable_cores
from trocar.runtime.encode import EncodeOptions, VideoSink
from trocar.runtime.overlay import Painter
from trocar.runtime.pipeline import Summary, run_lossless
from trocar.runtime.records import Csv, JsonLines, Pictures
from trocar.runtime.session import Session
from trocar.runtime.sinks import Sink, check_free
from trocar.runtime.sources import SourceOptions, is_stream, open_source
from trocar.runtime.tables import print_summary, progress_bar


def run_command(flags: Mapping[str, Any]) -> Summary:
    """`trocar run`.

    Raises:
        TrocarError: See the errors of what it puts together.
    """
    places = flags["source"]
    if len(places) != 1:
        raise ConfigError(
            f"got {len(places)} sources, expected one", remedy="name one video, folder or stream"
        )
    sinks = sinks_from_flags(flags, live=False)
    session = session_from_flags(flags, live=False)
    with session:
        source = open_source(places[0], source_options(flags))
        with progress_bar(Path(source.name).name) as progress:
            summary = run_lossless(
                Analyser(session),
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
    return summary


def workers_for(session: Session, threads: int | None) -> int:
    """Frames to keep in the model at once: all cores busy on a CPU, two in turn on a GPU."""
    if session.device != "cpu":
        return 2
    return max(1, usable_cores() // (threads or 1))


def session_from_flags(flags: Mapping[str, Any], *, live: bool) -> Session:
    """Opens the model as asked; its idle threads do not spin, for others need the cores.

    Live, one frame gets all threads, for the least delay; from a file, each frame gets one thread
    and several are under way, for the most frames.
    """
    own: dict[str, Any] = {}
    if flags["backend"] == "onnxruntime":
        own["spinning"] = False
    return Session.open(
        flags["model"],
        device=flags["device"],
        backend=flags["backend"],
        precision=flags["precision"],
        threads=flags["threads"] or (None if live or flags["device"] != "cpu" else 1),
        fast_resize=flags["fast_resize"],
        **own,
    )


def source_options(flags: Mapping[str, Any]) -> SourceOptions:
    """How sources are opened."""
    return SourceOptions(
        hwaccel=flags["hwaccel"],
        format=flags["input_format"],
        allow_truncated=flags["allow_truncated"],
    )


def sinks_from_flags(flags: Mapping[str, Any], *, live: bool) -> list[Sink]:
    """Makes the sinks; what would be refused later is refused now, before any work.

    Raises:
        OutputExistsError: An output is there already.
    """
    overwrite = flags["overwrite"]
    sinks: list[Sink] = []
    if flags["overlay"]:
        options = EncodeOptions(
            codec=flags["codec"], preset=flags["preset"], quality=flags["quality"]
        )
        sinks.append(VideoSink(flags["overlay"], options=options, overwrite=overwrite, live=live))
        if not is_stream(flags["overlay"]):
            check_free(Path(flags["overlay"]), overwrite=overwrite)
    for key, kind in (("json_path", JsonLines), ("csv_path", Csv)):
        if flags[key]:
            check_free(flags[key], overwrite=overwrite)
            sinks.append(kind(flags[key], overwrite=overwrite, direct=live))
    for key in ("frames", "masks"):
        if flags[key]:
            sinks.append(Pictures(flags[key], masks=key == "masks", overwrite=overwrite))
    return sinks
