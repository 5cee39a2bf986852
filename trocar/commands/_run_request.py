"""The typed request that `trocar run` makes from its flags.

request = request_from(flags)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trocar.commands._location_options import location_changes
from trocar.contract.errors import ConfigError
from trocar.runtime.archive.job import archive_error, output_faults
from trocar.runtime.pipeline.options import (
    InputOptions,
    LiveOptions,
    ModelOptions,
    OutputOptions,
    RunOptions,
)
from trocar.runtime.sinks.video import EncodeOptions
from trocar.runtime.sources.addresses import is_stream
from trocar.runtime.sources.base import SourceOptions

Mode = Literal["file", "live", "archive"]

_NOT_IN_FILE_MODE = ("serve", "trace", "deadline_ms", "seconds")
_NOT_IN_ARCHIVE_MODE = (
    *("live", "stream", "serve", "trace", "metrics", "deadline_ms", "shed_load", "no_reconnect"),
    *("seconds", "realtime"),
)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What `trocar run` is asked to do.

    Attributes:
        mode: ``file`` (every frame of one source), ``live``, or ``archive`` (many recordings).
        sources: Paths, patterns and addresses.
        options: Everything about the run except its sources.
        out: Folder of an archive's results.
        ray: Ray cluster of an archive.
        serve: Host and port of the live page.
        token: Token of the live page.
    """

    mode: Mode
    sources: tuple[str, ...]
    options: RunOptions
    out: Path | None = None
    ray: str | None = None
    serve: tuple[str, int] | None = None
    token: str | None = None


def request_from(flags: Mapping[str, Any]) -> RunRequest:
    """The request for click's values.

    Raises:
        ConfigError: Flags that do not fit each other or the mode.
    """
    sources = (*flags["source"], *flags["stream"])
    if not sources:
        raise ConfigError("there is no source", remedy="name a video, a folder or a stream")
    mode = _mode_of(flags, sources)
    options = _options_from(flags)
    _check_mode(mode, flags, options.output)
    if mode == "file" and len(sources) != 1:
        raise ConfigError(
            f"got {len(sources)} sources, expected one",
            remedy="name one video or folder, pass --out DIR for many, or streams with --stream",
        )
    return RunRequest(
        mode=mode,
        sources=sources,
        options=options,
        out=flags["out"],
        ray=flags["ray"],
        serve=flags["serve"],
        token=flags["token"],
    )


def _mode_of(flags: Mapping[str, Any], sources: tuple[str, ...]) -> Mode:
    if flags["out"]:
        return "archive"
    if flags["ray"]:
        raise ConfigError("--ray is for many recordings", remedy="add --out DIR")
    if flags["live"] or flags["stream"] or any(is_stream(source) for source in sources):
        return "live"
    return "file"


def _check_mode(mode: Mode, flags: Mapping[str, Any], output: OutputOptions) -> None:
    if mode == "archive":
        faults = [f"{_flag(n)} is not for archives" for n in _NOT_IN_ARCHIVE_MODE if flags[n]]
        faults += output_faults(output)
        if faults:
            raise archive_error(faults)
    elif mode == "live" and flags["max_frames"]:
        raise ConfigError("--max-frames is for files", remedy="use --seconds in live runs")
    elif mode == "file":
        stray = [_flag(name) for name in _NOT_IN_FILE_MODE if flags[name]]
        if stray:
            raise ConfigError(
                f"{', '.join(stray)}: for live runs only", remedy="add --live, or leave it out"
            )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _options_from(flags: Mapping[str, Any]) -> RunOptions:
    return RunOptions(
        model=ModelOptions(
            path=flags["model"],
            device=flags["device"],
            backend=flags["backend"],
            precision=flags["precision"],
            threads=flags["threads"],
            cuda_graph=flags["cuda_graph"],
            fast_resize=flags["fast_resize"],
            postprocess=not flags["no_postprocess"],
            classifier=flags["classifier"],
            reject_below=flags["reject_below"],
            location=location_changes(flags),
        ),
        input=InputOptions(
            source=SourceOptions(
                hwaccel=flags["hwaccel"],
                format=flags["format"],
                timeout_s=flags["timeout"],
                allow_truncated=flags["allow_truncated"],
                stream=flags["video_stream"],
            ),
            max_frames=flags["max_frames"],
            realtime=flags["realtime"],
            reconnect=not flags["no_reconnect"],
        ),
        output=OutputOptions(
            overlay=flags["overlay"],
            json=flags["json"],
            csv=flags["csv"],
            frames=flags["save_frames"],
            masks=flags["save_masks"],
            metrics=flags["metrics"],
            trace=flags["trace"],
            overwrite=flags["overwrite"],
            encoding=EncodeOptions(
                codec=flags["codec"], preset=flags["preset"], quality=flags["quality"]
            ),
        ),
        live=LiveOptions(
            max_age_ms=flags["max_age"],
            deadline_ms=flags["deadline_ms"],
            shed_load=flags["shed_load"],
            seconds=flags["seconds"],
        ),
    )
