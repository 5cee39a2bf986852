"""Export a trained network to a verified bundle, TensorRT engines or NVIDIA Triton.

trocar export runs/first --out first.trocar
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trocar.commands import _models
from trocar.commands._export_request import ExportRequest, RangeType
from trocar.commands._gate_options import (
    PATH,
    GateRequest,
    calibration_frames,
    gate_frames,
    gate_options,
)
from trocar.commands._help import GroupedCommand, grouped
from trocar.commands._location_options import location_flags
from trocar.commands._source_options import load_source, source_options
from trocar.commands._types import SizeType
from trocar.commands._validation_frames import validation_frames_of
from trocar.console.export import print_engine, print_report
from trocar.console.progress import progress_bar
from trocar.contract.bundle import check_output, open_bundle
from trocar.contract.errors import OutputExistsError
from trocar.contract.manifest import Manifest
from trocar.contract.outputs import check_outputs
from trocar.contract.tensorrt.engines import FLAVOURS, EngineSidecar
from trocar.contract.text.toml import read_toml
from trocar.export.bundle import convert_bundle, export_bundle
from trocar.export.gate import ExportOptions, OnProgress
from trocar.export.graph.input_spec import FORM_NAMES
from trocar.export.parity.types import ParityReport
from trocar.export.tensorrt.build import HARDWARE_LEVELS, check_engine
from trocar.export.tensorrt.bundle_engines import add_engines


@click.command(cls=GroupedCommand)
@click.argument("source", type=PATH, required=False)
@grouped(
    "Output",
    click.option(
        "--out",
        type=PATH,
        help="Bundle to write. Without it, --engine and --triton work on the bundle SOURCE.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace a bundle that exists."),
)
@gate_options
@location_flags("--locate-classes")
@grouped(
    "TensorRT engines",
    click.option(
        "--engine",
        "engines",
        multiple=True,
        type=click.Choice(FLAVOURS),
        help="Engine to build into the bundle; repeatable.",
    ),
    click.option(
        "--engine-shape",
        type=RangeType(SizeType(), "WIDTHxHEIGHT"),
        help="Frame size that engines take, or the smallest, best and largest size.",
    ),
    click.option(
        "--batch",
        type=RangeType(click.IntRange(min=1), "N"),
        default="1",
        help="Batch that engines take, or the smallest, best and largest batch.",
    ),
    click.option(
        "--workspace",
        "workspace_mib",
        type=int,
        metavar="MIB",
        help="Largest scratch memory of one layer, in MiB. [default: the library's]",
    ),
    click.option(
        "--optimization-level",
        type=int,
        metavar="0..5",
        help="Time that the build may take. [default: the library's]",
    ),
    click.option(
        "--hardware-compatibility",
        type=click.Choice(["this-gpu", *HARDWARE_LEVELS]),
        default="this-gpu",
        help="GPUs that a TensorRT engine must run on.",
    ),
    click.option(
        "--version-compatible",
        is_flag=True,
        help="Later TensorRT versions of the same major can load the engine.",
    ),
    click.option(
        "--strip-weights",
        is_flag=True,
        help="Leave the weights out; they are refitted from model.onnx on loading.",
    ),
    click.option("--refit", is_flag=True, help="Weights of the engine can be replaced."),
    click.option(
        "--timing-cache",
        type=PATH,
        metavar="FILE",
        help="File of measured TensorRT kernel timings, read and written.",
    ),
    click.option(
        "--tf32",
        is_flag=True,
        help="Let an fp32 engine round products to TF32; the engine is then named tf32.",
    ),
)
@grouped(
    "NVIDIA Triton",
    click.option("--triton", type=PATH, metavar="DIR", help="Folder for a model repository."),
    click.option(
        "--triton-classifier",
        type=PATH,
        metavar="BUNDLE",
        help="Classifier for the instruments that SOURCE finds: makes an ensemble.",
    ),
)
@source_options
@grouped(
    "Networks that were not trained with Trocar",
    click.option(
        "--module",
        metavar="PACKAGE:FACTORY",
        help="Function that returns the network; its code is run.",
    ),
    click.option(
        "--weights",
        type=PATH,
        metavar="FILE",
        help="State dictionary for --module or --from; no code in it is run.",
    ),
    click.option(
        "--input-spec",
        type=PATH,
        metavar="FILE",
        help="TOML file that states what --module takes: size, normalisation, channels, task.",
    ),
    click.option(
        "--classes", type=PATH, metavar="FILE", help="Class table (TOML) for --module or --from."
    ),
    click.option(
        "--form",
        type=click.Choice(list(FORM_NAMES)),
        help="Form of the instance model of --module. [default: recognised]",
    ),
)
def export(**flags: Any) -> None:
    """Export SOURCE (a run folder, checkpoint or float32 bundle) to a verified bundle.

    With --from, SOURCE is a network of another library.
    The exported model is compared with the network in PyTorch on real frames. If they differ
    beyond the limits, no bundle is written. For a run folder the frames are those of its own
    validation set, unless --frames is given.
    """
    request = ExportRequest.from_flags(flags)
    if request.source is not None and not request.in_place:
        check_outputs(
            {"--out": request.bundle}, inputs=[request.source], folders=["--out"], bundles=["--out"]
        )
    for options in request.engines:
        check_engine(options)
    if request.triton is not None and request.triton.exists():
        raise OutputExistsError(f"{request.triton} exists already", remedy="choose another folder")
    report = None
    with _frames_of(request) as frames, progress_bar() as bar:
        if frames is not None and not request.in_place:
            report = write_bundle(request, frames, bar.update_stage)
        engines = build_engines(request, frames, bar.update_stage) if request.engines else []
    if report is not None:
        print_report(report, request.bundle)
        _attach(request)
    for name, sidecar in engines:
        print_engine(name, sidecar, (request.bundle / name).stat().st_size)
    if request.triton is not None:
        names = write_triton(request, request.triton, engines)
        click.echo(f"{request.triton}: Triton model repository with {', '.join(names)}")


def write_bundle(request: ExportRequest, frames: Path, on_progress: OnProgress) -> ParityReport:
    """Exports the network or converts the bundle that the request names.

    Raises:
        ParityError: The exported model differs from its reference beyond the limits.
        TrocarError: See `trocar.export.bundle`.
    """
    out, gate = request.bundle, request.gate
    check_output(out, overwrite=gate.options.overwrite)
    if request.source is not None and request.is_conversion:
        manifest = open_bundle(request.source).manifest
        return convert_bundle(
            request.source,
            out,
            frames=gate_frames(frames, gate.max_frames, manifest),
            open_model=_models.open_model,
            options=_options(gate, manifest),
            on_progress=on_progress,
        )
    network, manifest = _load_network(request)
    return export_bundle(
        network,
        manifest,
        out,
        frames=gate_frames(frames, gate.max_frames, manifest),
        open_model=_models.open_model,
        options=_options(gate, manifest),
        on_progress=on_progress,
    )


def _attach(request: ExportRequest) -> None:
    """Adds the bundle to the record of its run in MLflow or Weights & Biases, where it has one."""
    folder = request.source
    if folder is None or not (folder / "loggers.json").is_file():
        return
    from trocar.train.loggers.group import attach
    from trocar.train.state.run_folder import CONFIG

    settings = read_toml(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    uri = settings.get("mlflow_uri")
    attach(
        folder,
        request.bundle,
        uri=None if uri is None else str(uri),
        say=lambda text: click.echo(text, err=True),
    )


def build_engines(
    request: ExportRequest, frames: Path | None, on_progress: OnProgress
) -> list[tuple[str, EngineSidecar]]:
    """Builds the engines into the bundle; returns name and sidecar of each."""
    images = []
    if frames is not None:
        manifest = open_bundle(request.bundle).manifest
        images = gate_frames(frames, request.gate.max_frames, manifest)
    return add_engines(
        request.bundle,
        request.engines,
        open_model=_models.open_model,
        frames=images,
        open_engine=_models.open_engine,
        on_progress=on_progress,
    )


def write_triton(
    request: ExportRequest, out: Path, engines: list[tuple[str, EngineSidecar]]
) -> list[str]:
    """Writes the Triton model repository, with the TensorRT engine of this call if there is one.

    Returns:
        Names of the models in it.
    """
    from trocar.export.triton.config import TritonOptions
    from trocar.export.triton.repository import write_repository

    plans = [name for name, sidecar in engines if sidecar.flavour == "tensorrt"]
    return write_repository(
        request.bundle,
        out,
        TritonOptions(engine=plans[0] if plans else None),
        classifier=request.triton_classifier,
    )


@contextmanager
def _frames_of(request: ExportRequest) -> Iterator[Path | None]:
    """The folder of frames that was given, or validation frames of the run."""
    if request.gate.frames is not None or request.in_place or request.source is None:
        yield request.gate.frames
        return
    with validation_frames_of(request.source, max_frames=request.gate.max_frames) as folder:
        yield folder


def _load_network(request: ExportRequest) -> tuple[Any, Manifest]:
    if request.origin is not None:
        return load_source(request.origin)
    if request.module is None:
        assert request.source is not None
        return _models.load_network(request.source)
    from trocar.export.graph.imported.external_model import load_external_network
    from trocar.export.graph.input_spec import read_spec

    assert request.input_spec is not None
    name = request.module.partition(":")[2]
    external = read_spec(
        request.input_spec, classes=request.classes, name=name, form=request.form or ""
    )
    return load_external_network(request.module, request.weights, external), external.manifest


def _options(gate: GateRequest, manifest: Manifest) -> ExportOptions:
    if gate.calibrate is None:
        return gate.options
    return replace(gate.options, calibration=calibration_frames(gate.calibrate, manifest))
