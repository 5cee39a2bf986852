"""The typed request that `trocar run` makes from its flags.

request = request_from(flags)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trocar.commands._location_options import location_changes
from trocar.commands._privacy_options import privacy_options
from trocar.commands._temporal_options import temporal_options
from trocar.contract.errors import ConfigError
from trocar.contract.outputs import check_outputs
from trocar.runtime.archive.job import archive_error, output_faults
from trocar.runtime.draw.show import DEFAULT_SHOW, show_from
from trocar.runtime.pipeline.options import (
    InputOptions,
    LiveOptions,
    ModelOptions,
    OutputOptions,
    RunOptions,
)
from trocar.runtime.sinks.openigtlink.sink import IgtlOptions
from trocar.runtime.sinks.video import EncodeOptions
from trocar.runtime.sources.addresses import is_stream
from trocar.runtime.sources.base import SourceOptions

Mode = Literal["file", "live", "archive"]

_SERVE = ("serve_name", "serve_cert", "serve_key", "no_webrtc")
_NOT_IN_FILE_MODE = ("serve", *_SERVE, "trace", "deadline_ms", "seconds", "no_source_clock")
_NOT_IN_ARCHIVE_MODE = (
    *("live", "stream", "serve", "trace", "metrics", "deadline_ms", "shed_load", "no_reconnect"),
    *("seconds", "realtime", "no_source_clock", "sink", "igtl", *_SERVE),
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
        serve_names: Further host names of the live page.
        serve_cert: Certificate of the live page.
        serve_key: Key of the certificate.
        webrtc: Whether the live page offers WebRTC where it is installed.
        audit: Log to which what ran is appended.
    """

    mode: Mode
    sources: tuple[str, ...]
    options: RunOptions
    out: Path | None = None
    ray: str | None = None
    serve: tuple[str, int] | None = None
    token: str | None = None
    serve_names: tuple[str, ...] = ()
    serve_cert: Path | None = None
    serve_key: Path | None = None
    webrtc: bool = True
    audit: Path | None = None


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
    _check_outputs(mode, flags, sources, options)
    return RunRequest(
        mode=mode,
        sources=sources,
        options=options,
        out=flags["out"],
        ray=flags["ray"],
        serve=flags["serve"],
        token=flags["token"],
        serve_names=tuple(flags["serve_name"]),
        serve_cert=flags["serve_cert"],
        serve_key=flags["serve_key"],
        webrtc=not flags["no_webrtc"],
        audit=flags["audit"],
    )


def _check_outputs(
    mode: Mode, flags: Mapping[str, Any], sources: tuple[str, ...], options: RunOptions
) -> None:
    """Refuses outputs that would destroy what is read.

    Raises:
        ConfigError: An output is an input, lies in a bundle, or is another output.
    """
    read = [Path(source) for source in sources if not is_stream(source)]
    read += [options.model.path]
    model = options.model
    others = (model.classifier, model.trust, options.privacy.model, flags.get("config"))
    read += [path for path in others if path is not None]
    audit = {} if flags.get("audit") is None else {"--audit": Path(flags["audit"])}
    if mode == "archive":
        check_outputs({"--out": flags["out"], **audit}, inputs=read)
        return
    outputs = options.output.files() | audit
    if flags.get("save_config") is not None:
        outputs["--save-config"] = flags["save_config"]
        read = [path for path in read if path != flags.get("config")]
    check_outputs(outputs, inputs=read, folders=("--save-frames", "--save-masks"))


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
    elif mode == "live" and not flags["serve"] and any(flags[name] for name in _SERVE):
        stray = [_flag(name) for name in _SERVE if flags[name]]
        raise ConfigError(
            f"{', '.join(stray)}: for the live page only", remedy="add --serve HOST:PORT"
        )
    elif mode == "live" and flags["max_frames"]:
        raise ConfigError("--max-frames is for files", remedy="use --seconds in live runs")
    elif mode == "file":
        stray = [_flag(name) for name in _NOT_IN_FILE_MODE if flags[name]]
        if stray:
            raise ConfigError(
                f"{', '.join(stray)}: for live runs only", remedy="add --live, or leave it out"
            )


def _igtl(address: tuple[str, int] | None) -> IgtlOptions | None:
    return None if address is None else IgtlOptions(host=address[0], port=address[1])


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
            temporal=temporal_options(flags),
            location=location_changes(flags),
            trust=flags["trust"],
        ),
        input=InputOptions(
            source=SourceOptions(
                hwaccel=flags["hwaccel"],
                format=flags["format"],
                timeout_s=flags["timeout"],
                allow_truncated=flags["allow_truncated"],
                stream=flags["video_stream"],
                source_clock=not flags["no_source_clock"],
            ),
            max_frames=flags["max_frames"],
            realtime=flags["realtime"],
            reconnect=not flags["no_reconnect"],
            allow_damaged=flags["allow_damaged"],
        ),
        output=OutputOptions(
            overlay=flags["overlay"],
            json=flags["json"],
            json_masks=flags["json_masks"],
            csv=flags["csv"],
            frames=flags["save_frames"],
            masks=flags["save_masks"],
            metrics=flags["metrics"],
            trace=flags["trace"],
            igtl=_igtl(flags["igtl"]),
            sinks=tuple(flags["sink"]),
            overwrite=flags["overwrite"],
            show=DEFAULT_SHOW if flags["show"] is None else show_from(flags["show"]),
            encoding=EncodeOptions(
                codec=flags["codec"], preset=flags["preset"], quality=flags["quality"]
            ),
        ),
        live=LiveOptions(
            max_age_ms=flags["max_age"],
            max_regions=flags["max_regions"],
            deadline_ms=flags["deadline_ms"],
            shed_load=flags["shed_load"],
            seconds=flags["seconds"],
        ),
        privacy=privacy_options(flags),
    )
