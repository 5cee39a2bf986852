"""Export a trained network to a verified bundle, TensorRT engines or NVIDIA Triton.

trocar export runs/first --out first.trocar
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from trocar.commands import _models
from trocar.commands._gate_options import (
    PATH,
    GateRequest,
    calibration_frames,
    gate_frames,
    gate_options,
)
from trocar.commands._help import GroupedCommand, grouped
from trocar.commands._types import SizeType
from trocar.commands._validation_frames import validation_frames_of
from trocar.console.export import print_engine, print_report
from trocar.console.progress import progress_bar
from trocar.contract.bundle import MANIFEST, check_output, open_bundle
from trocar.contract.engines import FLAVOURS, EngineSidecar
from trocar.contract.errors import ConfigError, OutputExistsError
from trocar.contract.manifest import Manifest
from trocar.export.bundle import convert_bundle, export_bundle
from trocar.export.gate import ExportOptions, OnProgress
from trocar.export.parity.types import ParityReport
from trocar.export.tensorrt.build import HARDWARE_LEVELS, EngineOptions, check_engine
from trocar.export.tensorrt.bundle_engines import add_engines, profile_of


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What one call of ``trocar export`` makes.

    Attributes:
        source: Run folder, checkpoint or float32 bundle; ``None`` with ``module``.
        out: Bundle to write; ``None`` to work on the bundle ``source`` itself.
        gate: Precision, frames and limits.
        engines: Engines to build into the bundle.
        triton: Folder for a Triton model repository.
        triton_classifier: Classifier's bundle for a Triton ensemble.
        module: ``package.module:factory`` of an external network.
        weights: Its state dictionary.
        input_spec: Its input spec.
        classes: Its class table.
    """

    source: Path | None
    out: Path | None
    gate: GateRequest
    engines: tuple[EngineOptions, ...]
    triton: Path | None
    triton_classifier: Path | None
    module: str | None
    weights: Path | None
    input_spec: Path | None
    classes: Path | None

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> ExportRequest:
        """Makes the request of a command line.

        Raises:
            ConfigError: Flags that do not fit together, all at once.
        """
        names = ("source", "out", "triton", "triton_classifier", "module", "weights", "input_spec")
        request = cls(
            gate=GateRequest.from_flags(flags),
            engines=_engine_options(flags),
            classes=flags["classes"],
            **{name: flags[name] for name in names},
        )
        faults = list(request._faults())
        if faults:
            raise ConfigError("; ".join(faults), remedy="see `trocar export --help`")
        return request

    @property
    def in_place(self) -> bool:
        """Whether engines or a repository are made of ``source`` itself, without an export."""
        return self.out is None and (bool(self.engines) or self.triton is not None)

    @property
    def is_conversion(self) -> bool:
        """Whether ``source`` is a bundle."""
        return self.source is not None and (self.source / MANIFEST).is_file()

    @property
    def bundle(self) -> Path:
        """The bundle that the call writes or works on."""
        path = self.out or self.source
        assert path is not None
        return path

    def _faults(self) -> Iterator[str]:
        if self.source is None and self.module is None:
            yield "nothing to export: name a run folder, a checkpoint or a bundle"
        elif self.source is not None and self.module is not None:
            yield f"{self.source} and --module {self.module} were both named: choose one"
        elif self.source is not None and not self.source.exists():
            yield f"there is no {self.source}"
        elif self.in_place and not self.is_conversion:
            yield f"{self.source} is not a bundle: engines go into a bundle, name one with --out"
        if self.module is not None and self.input_spec is None:
            yield "--module needs --input-spec FILE, which states what the network takes"
        if self.weights is not None and self.module is None:
            yield "--weights is for --module only"
        if self.in_place:
            if self.gate.options.precision != "fp32":
                yield "--precision makes another bundle: name it with --out"
            return
        if self.out is None:
            yield "--out is missing: name the bundle to write"
        if self.gate.frames is None and (self.source is None or self.is_conversion):
            yield "--frames is missing: the parity gate needs frames with instruments in view"
        yield from self.gate.faults()


class RangeType(click.ParamType):  # type: ignore[type-arg]
    """One value, or three as MIN:OPT:MAX; the command receives all three."""

    name = "range"

    def __init__(self, kind: click.ParamType[Any], form: str) -> None:
        self.kind = kind
        self.form = form

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What ``--help`` shows for the value."""
        return f"{self.form}[:{self.form}:{self.form}]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Reads ``1:4:8``; a single value counts three times.

        Raises:
            click.BadParameter: Neither one value nor three.
        """
        if isinstance(value, tuple):
            return value
        parts = str(value).split(":")
        if len(parts) not in (1, 3):
            self.fail(f"{value!r} is neither {self.form} nor MIN:OPT:MAX", param, ctx)
        values = tuple(self.kind.convert(part, param, ctx) for part in parts)
        return values * 3 if len(values) == 1 else values


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
        help="State dictionary for --module; no code in it is run.",
    ),
    click.option(
        "--input-spec",
        type=PATH,
        metavar="FILE",
        help="TOML file that states what --module takes: size, normalisation, channels, task.",
    ),
    click.option("--classes", type=PATH, metavar="FILE", help="Class table (TOML) for --module."),
)
def export(**flags: Any) -> None:
    """Export SOURCE (a run folder, checkpoint or float32 bundle) to a verified bundle.

    The exported model is compared with the network in PyTorch on real frames. If they differ
    beyond the limits, no bundle is written. For a run folder the frames are those of its own
    validation set, unless --frames is given.
    """
    request = ExportRequest.from_flags(flags)
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


def _engine_options(flags: Mapping[str, Any]) -> tuple[EngineOptions, ...]:
    if not flags["engines"]:
        return ()
    if flags["engine_shape"] is None:
        raise ConfigError(
            "--engine-shape is missing: an engine is built for stated frame sizes",
            remedy="give the size of your video, e.g. --engine-shape 1920x1080",
        )
    names = ("workspace_mib", "optimization_level", "hardware_compatibility", "version_compatible",
             "strip_weights", "refit", "timing_cache")  # fmt: skip
    profile = profile_of(flags["engine_shape"], flags["batch"])
    return tuple(
        EngineOptions(flavour=flavour, profile=profile, **{name: flags[name] for name in names})
        for flavour in flags["engines"]
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
    if request.module is None:
        assert request.source is not None
        return _models.load_network(request.source)
    from trocar.export.graph.external_model import load_external_network
    from trocar.export.graph.input_spec import read_spec

    assert request.input_spec is not None
    name = request.module.partition(":")[2]
    external = read_spec(request.input_spec, classes=request.classes, name=name)
    return load_external_network(request.module, request.weights, external), external.manifest


def _options(gate: GateRequest, manifest: Manifest) -> ExportOptions:
    if gate.calibrate is None:
        return gate.options
    return replace(gate.options, calibration=calibration_frames(gate.calibrate, manifest))
