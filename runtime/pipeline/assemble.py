"""Puts a run together from the command line's flags.

run_command({"model": Path("model.trocar"), "source": ("video.mp4",), ...})
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trocar.contract.errors import ConfigError
from trocar.runtime.devices import usable_cores
from trocar.runtime.locate.field_of_view import FieldOfViewTracker
from trocar.runtime.pipeline.frame_processor import Analyser, Step
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import Sink
from trocar.runtime.sinks.files import check_free
from trocar.runtime.sinks.records import Csv, JsonLines, Pictures
from trocar.runtime.sinks.video import EncodeOptions, VideoSink
from trocar.runtime.sources.base import SourceOptions, is_stream
from trocar.runtime.telemetry.latency import Stages
from trocar.runtime.temporal.mask_smoothing import MaskSmoother
from trocar.runtime.temporal.presence import Presence
from trocar.runtime.temporal.tracking import Tracker


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
        view_finder=FieldOfViewTracker() if segments else None,
    )


def second_stage(flags: Mapping[str, Any]) -> Step | None:
    """The classifier of ``--classify``, opened; each stream has its own, for it knows tracks.

    Raises:
        BundleError: It is no classifier bundle.
    """
    if not flags.get("classify"):
        return None
    from trocar.runtime.pipeline.crop_classifier import open_classifier

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
