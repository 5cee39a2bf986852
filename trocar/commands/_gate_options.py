"""The flags of ``trocar export`` and ``trocar bundle``.

@click.command()
@export_options
def export(**flags): ...
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from trocar.commands._config_options import config_flags
from trocar.contract.engines import FLAVOURS
from trocar.export.parity.limits import Limits

F = TypeVar("F", bound=Callable[..., Any])
Option = Callable[[Any], Any]

GATE_FRAMES = 16

_PATH = click.Path(path_type=Path)

_COMMON: tuple[Option, ...] = (
    click.option(
        "--frames",
        "frames_folder",
        type=_PATH,
        help="Folder of frames for the parity gate: images, or images/ and masks/.",
    ),
    click.option(
        "--frames-limit",
        type=click.IntRange(min=1),
        default=GATE_FRAMES,
        show_default=True,
        help="Largest number of frames that the gate takes, spread over the folder.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "fp16", "int8"]),
        default="fp32",
        show_default=True,
        help="Precision written into the graph.",
    ),
    click.option(
        "--recipe",
        type=click.Choice(["cpu", "tensorrt"]),
        default="cpu",
        show_default=True,
        help="What int8 is made for: ONNX Runtime on CPUs, or TensorRT.",
    ),
    click.option(
        "--calibrate",
        type=_PATH,
        help="Folder of your own frames, for int8.",
    ),
    click.option(
        "--keep-float32",
        "keep",
        multiple=True,
        metavar="LAYER",
        help="Layer that stays float32, by name, or by prefix ending with a dot; repeatable.",
    ),
    click.option(
        "--pictures",
        type=_PATH,
        help="Folder for pictures of the worst frames. [default: OUT with .parity]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace a bundle that is there already."),
)

_EXPORT: tuple[Option, ...] = (
    click.argument("source", type=_PATH, required=False),
    click.option(
        "--out",
        type=_PATH,
        help="Bundle folder to write; without it --engine and --triton work on SOURCE itself.",
    ),
    *_COMMON,
    click.option(
        "--engine",
        "engines",
        multiple=True,
        type=click.Choice(FLAVOURS),
        help="Engine to build into the bundle; repeatable.",
    ),
    click.option(
        "--frame",
        "frame",
        metavar="HxW",
        help="Frame size that engines take, height first; or minimum:best:maximum.",
    ),
    click.option(
        "--batch",
        "batch",
        default="1",
        show_default=True,
        metavar="N",
        help="Batch that engines take; or minimum:best:maximum.",
    ),
    click.option(
        "--workspace",
        "workspace_mib",
        type=int,
        metavar="MIB",
        help="Largest scratch memory of one layer while an engine is built.",
    ),
    click.option("--level", type=int, metavar="0..5", help="Optimisation level of engines."),
    click.option(
        "--hardware",
        type=click.Choice(["this-gpu", "same-capability", "ampere-and-later"]),
        default="this-gpu",
        show_default=True,
        help="On what else than this GPU a TensorRT engine must run.",
    ),
    click.option(
        "--version-compatible",
        is_flag=True,
        help="Let later TensorRT versions of the same major load the engine.",
    ),
    click.option(
        "--strip-weights",
        "strip",
        is_flag=True,
        help="Leave weights out of engines; they are refitted from model.onnx on loading.",
    ),
    click.option("--refit", is_flag=True, help="Let an engine's weights be replaced."),
    click.option(
        "--timing-cache",
        type=_PATH,
        help="File of measured TensorRT tactics, read and written.",
    ),
    click.option("--triton", type=_PATH, help="Folder for an NVIDIA Triton model repository."),
    click.option(
        "--triton-second",
        type=_PATH,
        help="Classifier bundle that names what SOURCE finds: makes a Triton ensemble.",
    ),
    click.option(
        "--module",
        metavar="PACKAGE:FACTORY",
        help="Export a network that was not trained here; its code is run.",
    ),
    click.option("--weights", type=_PATH, help="State dictionary for --module; never executed."),
    click.option(
        "--input-spec",
        type=_PATH,
        help="TOML that says what --module takes: size, normalisation, channels, task.",
    ),
    click.option("--classes", type=_PATH, help="Class table (TOML) for --module."),
)

_BUNDLE: tuple[Option, ...] = (
    click.argument("source", type=_PATH),
    click.option("--out", type=_PATH, required=True, help="Bundle folder to write."),
    click.option(
        "--input-spec",
        type=_PATH,
        required=True,
        help="TOML that says what the file takes: size, normalisation, channels, task.",
    ),
    click.option("--classes", type=_PATH, help="Class table (TOML), if the spec names none."),
    *_COMMON,
)


def export_options(function: F) -> F:
    """Adds the flags of ``trocar export``, the gate's limits among them."""
    return _with(function, _EXPORT)


def bundle_options(function: F) -> F:
    """Adds the flags of ``trocar bundle``, the gate's limits among them."""
    return _with(function, _BUNDLE)


def _with(function: F, options: tuple[Option, ...]) -> F:
    decorated = config_flags(Limits)(function)
    for option in reversed(options):
        decorated = option(decorated)
    return decorated
