"""The flags of `trocar run`, and the typed request that is made from them.

@click.command()
@run_flags
def command(**flags: Any) -> None:
    request = request_from(flags)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from trocar.commands._help import grouped
from trocar.contract.errors import ConfigError
from trocar.runtime.archive.run import archive_error, output_faults
from trocar.runtime.backends import BACKENDS
from trocar.runtime.pipeline.options import (
    InputOptions,
    LiveOptions,
    ModelOptions,
    OutputOptions,
    RunOptions,
)
from trocar.runtime.sinks.video import EncodeOptions
from trocar.runtime.sources.base import SourceOptions, is_stream

F = TypeVar("F", bound=Callable[..., Any])
Mode = Literal["file", "live", "archive"]

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"),
    *("veryslow", "placebo"),
)
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


class AddressType(click.ParamType):  # type: ignore[type-arg]
    """``HOST:PORT``; the command receives ``(host, port)``."""

    name = "address"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What ``--help`` shows for the value."""
        return "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Reads ``127.0.0.1:8080`` or ``[::1]:8080``; without a host it is the loopback.

        Raises:
            click.BadParameter: The port is not 0 to 65535.
        """
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            self.fail(f"{value!r} is not HOST:PORT, e.g. 127.0.0.1:8080", param, ctx)
        return host.strip("[]") or "127.0.0.1", int(port)


def run_flags(function: F) -> F:
    """Adds the arguments and the grouped options of `trocar run`."""
    for decorator in reversed(_GROUPS):
        function = decorator(function)
    function = click.argument("source", nargs=-1)(function)
    return click.argument("model", type=click.Path(path_type=Path))(function)


_GROUPS = (
    grouped(
        "Input",
        click.option(
            "--hwaccel",
            metavar="KIND",
            help="Decode on hardware: cuda, vaapi, qsv … [default: CPU]",
        ),
        click.option(
            "--format", metavar="NAME", help="FFmpeg input format, where it cannot be guessed."
        ),
        click.option(
            "--allow-truncated", is_flag=True, help="Use a file that ends before its header says."
        ),
        click.option("--realtime", is_flag=True, help="Read a file at its own frame rate."),
        click.option(
            "--max-frames", type=click.IntRange(1), help="Frames of a file. [default: all]"
        ),
    ),
    grouped(
        "Model",
        click.option(
            "--device",
            default=ModelOptions.device,
            metavar="cpu|cuda|cuda:N",
            help="Device of the model: this one, or an error.",
        ),
        click.option(
            "--backend",
            default=ModelOptions.backend,
            type=click.Choice(list(BACKENDS)),
            help="What runs the model.",
        ),
        click.option(
            "--precision",
            metavar="fp32|fp16|bf16|int8",
            help="Precision that is required. [default: the bundle's]",
        ),
        click.option(
            "--threads",
            type=click.IntRange(1),
            help="CPU threads of one frame. [default: live all cores, else 1]",
        ),
        click.option(
            "--cuda-graph",
            is_flag=True,
            help="ONNX Runtime on CUDA: record the work once, then replay it.",
        ),
        click.option(
            "--fast-resize", is_flag=True, help="Shrink frames with OpenCV before the model."
        ),
    ),
    grouped(
        "Instruments",
        click.option(
            "--no-postprocess",
            is_flag=True,
            help="No tracking, no smoothing, no presence filter.",
        ),
        click.option(
            "--classifier", type=FOLDER, help="Classifier bundle that names each instrument."
        ),
        click.option(
            "--reject-below",
            type=float,
            help="Certainty below which it answers unknown. [default: the bundle's]",
        ),
    ),
    grouped(
        "Outputs",
        click.option("--overlay", metavar="FILE|URL", help="Write the overlay video (H.264)."),
        click.option("--json", type=FILE, help="Write JSON lines, one for each frame."),
        click.option("--csv", type=FILE, help="Write CSV, one row for each instrument."),
        click.option("--save-frames", type=FOLDER, help="Write every overlay as PNG."),
        click.option(
            "--save-masks", type=FOLDER, help="Write every label map as PNG at frame size."
        ),
        click.option(
            "--metrics", type=FILE, help="Write latencies and counts: .prom, otherwise JSON."
        ),
        click.option("--overwrite", is_flag=True, help="Replace outputs that exist."),
    ),
    grouped(
        "Video encoding",
        click.option("--codec", default=EncodeOptions.codec, help="FFmpeg encoder."),
        click.option(
            "--preset",
            default=EncodeOptions.preset,
            type=click.Choice(PRESETS),
            help="Speed of libx264.",
        ),
        click.option(
            "--quality",
            type=click.IntRange(0, 51),
            default=EncodeOptions.quality,
            help="Rate factor of libx264; 0 is lossless.",
        ),
    ),
    grouped(
        "Live",
        click.option("--live", is_flag=True, help="Live mode for a file too."),
        click.option("--stream", multiple=True, help="One more live stream; repeatable."),
        click.option(
            "--max-age",
            type=float,
            default=LiveOptions.max_age_ms,
            help="Hide masks older than this, in ms.",
        ),
        click.option(
            "--deadline-ms",
            type=float,
            help="Longest time from capture to result; later results are counted. [default: none]",
        ),
        click.option(
            "--shed-load",
            is_flag=True,
            help="Do less work while half of the results or more miss the deadline.",
        ),
        click.option(
            "--timeout",
            type=float,
            default=SourceOptions.timeout_s,
            help="Seconds without data before a stream is opened again.",
        ),
        click.option("--no-reconnect", is_flag=True, help="End when a stream ends."),
        click.option("--seconds", type=float, help="Seconds of a live run. [default: no limit]"),
        click.option(
            "--serve", type=AddressType(), help="Serve the live page, e.g. on 127.0.0.1:8080."
        ),
        click.option(
            "--token",
            help="Token of the live page; not used on the loopback. [default: generated]",
        ),
        click.option("--trace", type=FILE, help="Write a trace for ui.perfetto.dev."),
    ),
    grouped(
        "Archive",
        click.option(
            "--out", type=FOLDER, help="Process many recordings; each gets a folder in this one."
        ),
        click.option(
            "--ray",
            metavar="local|ADDRESS",
            help="Distribute the recordings over Ray. [default: one after the other]",
        ),
    ),
)


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
        ),
        input=InputOptions(
            source=SourceOptions(
                hwaccel=flags["hwaccel"],
                format=flags["format"],
                timeout_s=flags["timeout"],
                allow_truncated=flags["allow_truncated"],
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
