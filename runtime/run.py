"""Puts a run together from the command line's flags.

run_command({"model": Path("model.trocar"), "source": ("video.mp4",), ...})
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from trocar.contract.bundle import write_atomic
from trocar.contract.errors import ConfigError
from trocar.runtime.analyse import Analyser, Step
from trocar.runtime.devices import usable_cores
from trocar.runtime.encode import EncodeOptions, VideoSink
from trocar.runtime.latency import Stages, prometheus_text
from trocar.runtime.overlay import Painter
from trocar.runtime.pipeline import Summary, run_lossless
from trocar.runtime.records import Csv, JsonLines, Pictures
from trocar.runtime.session import Session
from trocar.runtime.sinks import Sink, check_free
from trocar.runtime.smoothing import MaskSmoother, Presence
from trocar.runtime.sources import SourceOptions, is_stream, open_source
from trocar.runtime.tables import print_summary, progress_bar
from trocar.runtime.tracking import Tracker
from trocar.runtime.view import RoundView

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
        from trocar.runtime.archive import run_archive

        run_archive(places, flags)
        return []
    if flags.get("ray"):
        raise ConfigError("--ray is for many recordings", remedy="add --out DIR")
    if flags["live"] or flags["streams"] or any(is_stream(place) for place in places):
        from trocar.runtime.run_live import run_live

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


def make_analyser(
    session: Session, *, raw: bool, live: bool, classify: Step | None = None
) -> Analyser:
    """The model with all that steadies its answers; ``raw`` leaves it alone.

    A second model that names the instruments, where there is one, comes last.

    Masks are smoothed in live runs only: records of a file say what the model said.
    """
    segments = session.manifest.task == "segmentation"
    steps: list[Step] = []
    if segments and not raw:
        steps = [Tracker(), Presence(session.classes)]
    if classify is not None:
        steps.append(classify)
    return Analyser(
        session,
        stages=Stages(),
        smoother=MaskSmoother() if segments and live and not raw else None,
        steps=steps,
        view_finder=RoundView() if segments else None,
    )


def second_stage(flags: Mapping[str, Any]) -> Step | None:
    """The classifier of ``--classify``, opened; each stream has its own, for it knows tracks.

    Raises:
        BundleError: It is no classifier bundle.
    """
    if not flags.get("classify"):
        return None
    from trocar.runtime.classify import open_classifier

    return open_classifier(
        flags["classify"],
        device=flags["device"],
        threads=flags["threads"],
        threshold=flags["unknown_below"],
    )


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
        if flags.get("cuda_graph"):
            own["graphs"] = True
    elif flags.get("cuda_graph"):
        raise ConfigError(
            f"--cuda-graph is for --backend onnxruntime, not {flags['backend']}",
            remedy="leave it out: the tensorrt backends record graphs by themselves",
        )
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
        timeout_s=flags["timeout"],
        allow_truncated=flags["allow_truncated"],
    )


def sinks_from_flags(flags: Mapping[str, Any], *, live: bool, number: int = 0) -> list[Sink]:
    """Makes the sinks; what would be refused later is refused now, before any work.

    Args:
        flags: The command line's.
        live: Whether files are written directly under their names.
        number: Stream for which ``{n}`` in names stands.

    Raises:
        OutputExistsError: An output is there already.
    """
    overwrite = flags["overwrite"]

    def named(value: object) -> str:
        return str(value).replace("{n}", str(number))

    sinks: list[Sink] = []
    if flags["overlay"]:
        options = EncodeOptions(
            codec=flags["codec"], preset=flags["preset"], quality=flags["quality"]
        )
        place = named(flags["overlay"])
        if not is_stream(place):
            check_free(Path(place), overwrite=overwrite)
        sinks.append(VideoSink(place, options=options, overwrite=overwrite, live=live))
    if flags["json_path"]:
        path = Path(named(flags["json_path"]))
        check_free(path, overwrite=overwrite)
        sinks.append(JsonLines(path, overwrite=overwrite, direct=live))
    if flags["csv_path"]:
        path = Path(named(flags["csv_path"]))
        check_free(path, overwrite=overwrite)
        sinks.append(Csv(path, overwrite=overwrite, direct=live))
    for key in ("frames", "masks"):
        if flags[key]:
            path = Path(named(flags[key]))
            sinks.append(Pictures(path, masks=key == "masks", overwrite=overwrite))
    return sinks
