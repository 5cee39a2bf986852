"""The arguments and options of `trocar run`, in the groups of its help.

@click.command()
@run_flags
def command(**flags: Any) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from trocar.commands._help import grouped
from trocar.commands._location_options import location_flags
from trocar.commands._privacy_options import privacy_flags
from trocar.commands._temporal_options import temporal_flags
from trocar.commands._trust import trust_option
from trocar.contract.config import unknown
from trocar.contract.errors import ConfigError
from trocar.runtime.backends import BACKENDS, backend_names
from trocar.runtime.draw.show import NONE, PARTS, show_from
from trocar.runtime.pipeline.options import LiveOptions, ModelOptions
from trocar.runtime.sinks.video import EncodeOptions
from trocar.runtime.sources.base import SourceOptions

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"),
    *("veryslow", "placebo"),
)


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


class BackendType(click.ParamType):  # type: ignore[type-arg]
    """Name of a backend, one of Trocar's or of a plug-in."""

    name = "backend"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What ``--help`` shows for the value."""
        return f"[{'|'.join(backend_names())}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Checks the name; no backend is imported.

        Raises:
            click.BadParameter: There is no such backend.
        """
        if value in BACKENDS:  # Without a look at what packages add, which takes 40 ms.
            return str(value)
        names = backend_names()
        if value not in names:
            self.fail(f"{unknown(str(value), names)}; use one of {', '.join(names)}")
        return str(value)


class ShowType(click.ParamType):  # type: ignore[type-arg]
    """Parts of the overlay, divided by commas; the command receives the same text, checked."""

    name = "parts"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What ``--help`` shows for the value."""
        return "PART,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Checks ``masks,tips`` or ``none``.

        Raises:
            click.BadParameter: An unknown part.
        """
        try:
            return ",".join(show_from(str(value))) or NONE
        except ConfigError as error:
            self.fail(f"{error.message}; {error.remedy}", param, ctx)


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
            "--allow-truncated",
            is_flag=True,
            help="Use the frames of a truncated file.",
        ),
        click.option(
            "--allow-damaged",
            is_flag=True,
            help="Accept damaged and missing frames of a file (else exit code 17).",
        ),
        click.option(
            "--video-stream",
            type=click.IntRange(0),
            metavar="N",
            help="Which of several video streams of a file, from 0. [default: FFmpeg's choice]",
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
            type=BackendType(),
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
            help="CPU threads of one frame. [default: live all cores, else 1 or as measured]",
        ),
        click.option(
            "--cuda-graph",
            is_flag=True,
            help="ONNX Runtime on CUDA: record the work once, then replay it.",
        ),
        click.option(
            "--fast-resize", is_flag=True, help="Shrink frames with OpenCV before the model."
        ),
        trust_option,
    ),
    grouped(
        "Instruments",
        click.option(
            "--no-postprocess",
            is_flag=True,
            help="No tracking and nothing else over time: each frame for itself.",
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
    location_flags("--classes"),
    temporal_flags,
    privacy_flags,
    grouped(
        "Outputs",
        click.option("--overlay", metavar="FILE|URL", help="Write the overlay video (H.264)."),
        click.option(
            "--json", type=FILE, help="Write JSON lines, one for each frame; .gz compresses."
        ),
        click.option(
            "--json-masks",
            type=click.Choice(["rle", "polygons"]),
            help="Add the masks of instruments to JSON lines: COCO run lengths, or polygons.",
        ),
        click.option("--csv", type=FILE, help="Write CSV, one row for each instrument."),
        click.option("--save-frames", type=FOLDER, help="Write every overlay as PNG."),
        click.option(
            "--save-masks", type=FOLDER, help="Write every label map as PNG at frame size."
        ),
        click.option(
            "--metrics", type=FILE, help="Write latencies and counts: .prom, otherwise JSON."
        ),
        click.option(
            "--audit", type=FILE, help="Append what ran, on what, with which results to a log."
        ),
        click.option(
            "--sink",
            multiple=True,
            metavar="NAME:TARGET",
            help="Write to a sink of a plug-in, with what it takes as target. Can be repeated.",
        ),
        click.option(
            "--igtl",
            type=AddressType(),
            help="Serve frames, label maps and tips to 3D Slicer (OpenIGTLink), e.g. on :18944.",
        ),
        click.option("--overwrite", is_flag=True, help="Replace outputs that exist."),
        click.option(
            "--show",
            type=ShowType(),
            help=f"What is drawn: some of {', '.join(PARTS)}; or none. [default: all]",
        ),
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
            "--no-source-clock",
            is_flag=True,
            help="Count ages from the arrival: time stamps of the source are no clock.",
        ),
        click.option(
            "--max-regions",
            type=click.IntRange(0),
            default=LiveOptions.max_regions,
            help="Leave out the smallest regions of a mask above this number; 0: none.",
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
        click.option(
            "--serve-name",
            multiple=True,
            metavar="NAME",
            help="Host name under which browsers reach the live page; repeatable.",
        ),
        click.option("--serve-cert", type=FILE, help="Certificate (PEM) of the live page: HTTPS."),
        click.option("--serve-key", type=FILE, help="Key (PEM) of the certificate."),
        click.option(
            "--no-webrtc",
            is_flag=True,
            help="Show the live page's pictures as JPEG only, where WebRTC is installed too.",
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
