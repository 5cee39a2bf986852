"""Flags that ``trocar export`` and ``trocar import-onnx`` share: precision and the parity gate.

@click.command(cls=GroupedCommand)
@gate_options
def command(**flags): gate = GateRequest.from_flags(flags)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from trocar.commands._help import grouped
from trocar.commands._location_options import location_changes
from trocar.commands._models import open_nv12
from trocar.contract.config import FieldSpec, fields_of
from trocar.contract.errors import DataError
from trocar.contract.manifest import Manifest
from trocar.export.gate import ExportOptions
from trocar.export.parity.frames import read_frames
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import GateFrame
from trocar.export.precision.int8 import INT8_TARGETS

F = TypeVar("F", bound=Callable[..., Any])

MAX_GATE_FRAMES = 16
MAX_CALIBRATION_FRAMES = 64
EXPORT_PRECISIONS = ("fp32", "fp16", "int8")

PATH = click.Path(path_type=Path)


@dataclass(frozen=True, kw_only=True)
class GateRequest:
    """Precision, frames and limits of one export.

    Attributes:
        frames: Folder of frames for the gate; ``None`` when not given.
        max_frames: Largest number of these frames.
        calibrate: Folder of frames for int8; ``None`` when not given.
        options: What to make; without the calibration frames, which are read later.
    """

    frames: Path | None
    max_frames: int
    calibrate: Path | None
    options: ExportOptions

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> GateRequest:
        """Takes the values of `gate_options` out of a command's flags.

        Raises:
            ConfigError: Limits out of range, all at once.
        """
        limits = {spec.name: flags[spec.name] for spec in fields_of(Limits)}
        images, out = flags["mismatch_images"], flags["out"]
        return cls(
            frames=flags["frames"],
            max_frames=flags["max_frames"],
            calibrate=flags["calibrate"],
            options=ExportOptions(
                precision=flags["precision"],
                int8_target=flags["int8_target"],
                limits=Limits.of(flags["precision"]).with_flags(limits),
                overwrite=flags["overwrite"],
                mismatch_images=images or (out.with_suffix(".parity") if out else None),
                keep_float32=tuple(flags["keep_float32"]),
                location=location_changes(flags) if "location" in flags else {},
                open_nv12=open_nv12 if flags["nv12"] else None,
            ),
        )

    def faults(self) -> Iterator[str]:
        """What is missing or does not fit, for an export that writes a bundle."""
        precision = self.options.precision
        if precision == "int8" and self.calibrate is None:
            yield "--precision int8 needs --calibrate DIR with your own frames"
        if precision != "int8" and self.calibrate is not None:
            yield f"--calibrate is for int8 only, not for {precision}"


def gate_frames(folder: Path, max_frames: int, manifest: Manifest) -> list[GateFrame]:
    """Frames for the gate, with ground truth if the folder has masks and the model makes masks."""
    return read_frames(
        folder,
        classes=len(manifest.classes),
        max_frames=max_frames,
        masks=manifest.makes_labels,
    )


def calibration_frames(folder: Path, manifest: Manifest) -> list[Any]:
    """Images on which int8 measures the ranges of activations.

    Raises:
        DataError: The folder has no readable images.
    """
    try:
        frames = read_frames(
            folder, classes=len(manifest.classes), max_frames=MAX_CALIBRATION_FRAMES, masks=False
        )
    except DataError as error:
        raise DataError(f"cannot calibrate: {error.message}", remedy=error.remedy) from error
    return [frame.image for frame in frames]


def gate_options(function: F) -> F:
    """Adds the flags of precision and of the parity gate."""
    for title, decorators in (
        ("Limits of the parity gate", tuple(_limit_option(s) for s in fields_of(Limits))),
        ("Input", _INPUT),
        ("Parity gate", _GATE),
        ("Precision", _PRECISION),
    ):
        function = grouped(title, *decorators)(function)
    return function


_INPUT = (
    click.option(
        "--nv12",
        is_flag=True,
        help="Add a second graph, which takes the NV12 frames of decoders. `trocar run` and "
        "libtrocar use it by themselves. Frames are not converted to RGB; the bundle is twice as "
        "large.",
    ),
)

_GATE = (
    click.option(
        "--frames",
        type=PATH,
        metavar="DIR",
        help="Frames for the gate: a folder of images, or one with images/ and masks/.",
    ),
    click.option(
        "--max-frames",
        type=click.IntRange(min=1),
        default=MAX_GATE_FRAMES,
        help="Largest number of frames of the gate; they are spread evenly over the folder.",
    ),
    click.option(
        "--mismatch-images",
        type=PATH,
        metavar="DIR",
        help="Folder for images of the frames that differ most. [default: OUT with .parity]",
    ),
)

_PRECISION = (
    click.option(
        "--precision",
        type=click.Choice(EXPORT_PRECISIONS),
        default="fp32",
        help="Precision that is written into the graph.",
    ),
    click.option(
        "--int8-target",
        type=click.Choice(INT8_TARGETS),
        default="cpu",
        help="What runs an int8 model: cpu is ONNX Runtime on CPUs.",
    ),
    click.option(
        "--calibrate",
        type=PATH,
        metavar="DIR",
        help="Folder of your own frames, on which int8 measures activations.",
    ),
    click.option(
        "--keep-float32",
        multiple=True,
        metavar="LAYER",
        help="Layer that stays float32: its name, or a prefix that ends with a dot or slash; "
        "repeatable.",
    ),
)


def _limit_option(spec: FieldSpec) -> Callable[[F], F]:
    """One limit, with its default for each precision."""
    values = {name: getattr(Limits.of(name), spec.name) for name in EXPORT_PRECISIONS}
    fp32 = values.pop("fp32")
    others = "".join(f"; {name}: {v}" for name, v in values.items() if v != fp32)
    return click.option(
        spec.flag,
        spec.name,
        default=None,
        metavar="N" if spec.kind is int else "X",
        help=f"{spec.help} [default: {fp32}{others}]",
    )
