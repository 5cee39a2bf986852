"""The work of ``trocar export`` and ``trocar bundle``; the roof lends what other rooms know.

    @click.command()
    @export_options
    def export(**flags): run_export(load, runner, **flags)

``load(path)`` gives ``(network, manifest)`` of a run folder or checkpoint; ``runner(path)`` opens
an ONNX file with the runtime that will serve it; ``engine_runner(flavour, path, manifest)`` an
engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trocar.commands._gate_options import bundle_options, export_options
from trocar.contract.bundle import MANIFEST, check_output
from trocar.contract.errors import ConfigError, DataError, OutputExistsError
from trocar.contract.manifest import Manifest
from trocar.export.parity.limits import Limits

if TYPE_CHECKING:
    from torch import nn

    from trocar.export.gate import Options, Progress, Runner
    from trocar.export.parity.types import GateFrame, ParityReport
    from trocar.export.tensorrt.build import EngineOptions
    from trocar.export.tensorrt.bundle_engines import EngineRunner

__all__ = ["bundle_options", "export_options", "run_bundle", "run_export"]

Load = Callable[[Path], "tuple[nn.Module, Manifest]"]

CALIBRATION_FRAMES = 64


def run_export(
    load: Load,
    runner: Runner,
    *,
    engine_runner: EngineRunner | None = None,
    source: Path | None,
    out: Path | None,
    frames_folder: Path | None,
    frames_limit: int,
    engines: Sequence[str] = (),
    frame: str | None = None,
    batch: str = "1",
    workspace_mib: int | None = None,
    level: int | None = None,
    hardware: str = "this-gpu",
    version_compatible: bool = False,
    strip: bool = False,
    refit: bool = False,
    timing_cache: Path | None = None,
    triton: Path | None = None,
    triton_second: Path | None = None,
    module: str | None = None,
    weights: Path | None = None,
    input_spec: Path | None = None,
    classes: Path | None = None,
    **gate: Any,
) -> ParityReport | None:
    """Exports a checkpoint, a foreign network or a bundle; builds engines; writes for Triton.

    Returns:
        What the gate found; ``None`` when nothing was exported and SOURCE alone was worked on.

    Raises:
        ParityError: Refused by the gate.
        ConfigError: Flags that do not go together, all at once.
        TrocarError: See `trocar.export.bundle` and `trocar.export.tensorrt.build`.
    """
    from trocar.console.export import progress_bar

    in_place = out is None and (bool(engines) or triton is not None)
    _check_flags(source, out, frames_folder, in_place, module, input_spec, weights, gate)
    wanted: list[EngineOptions] = []
    if engines:
        wanted = _engine_options(
            engines,
            frame,
            batch,
            workspace_mib=workspace_mib,
            level=level,
            hardware=hardware,
            version_compatible=version_compatible,
            strip=strip,
            refit=refit,
            timing_cache=timing_cache,
        )
    if triton is not None and triton.exists():
        raise OutputExistsError(f"{triton} exists already", remedy="choose another folder")
    if wanted:
        from trocar.export.tensorrt.build import check_engine

        for options in wanted:
            check_engine(options)
    report = None
    with progress_bar() as progress:
        if not in_place:
            assert out is not None
            assert frames_folder is not None
            report = _export(
                load, runner, source, out, frames_folder, frames_limit,
                module, weights, input_spec, classes, gate, progress,
            )  # fmt: skip
        target = out or source
        assert target is not None
        made = []
        if wanted:
            from trocar.contract.bundle import open_bundle
            from trocar.export.tensorrt.bundle_engines import add_engines

            given: list[GateFrame] = []
            if frames_folder is not None and engine_runner is not None:
                given = _frames(frames_folder, frames_limit, open_bundle(target).manifest)
            made = add_engines(
                target,
                wanted,
                runner=runner,
                frames=given,
                engine_runner=engine_runner,
                progress=progress,
            )
    _tell(report, target, made)
    if triton is not None:
        _write_triton(target, triton, triton_second, made)
    return report


def run_bundle(
    runner: Runner,
    *,
    source: Path,
    out: Path,
    input_spec: Path,
    classes: Path | None,
    frames_folder: Path | None,
    frames_limit: int,
    **gate: Any,
) -> ParityReport:
    """Makes a bundle of a finished ONNX file, shows progress and prints what the gate found.

    Raises:
        ParityError: Refused by the gate.
        TrocarError: See `trocar.export.bundle.bundle_from_onnx`.
    """
    from trocar.console.export import progress_bar
    from trocar.export.bundle import bundle_from_onnx
    from trocar.export.graph.input_spec import read_spec

    _check_flags(source, out, frames_folder, False, None, input_spec, None, gate)
    assert frames_folder is not None
    foreign = read_spec(input_spec, classes=classes, name=source.stem)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {source}: {error}", remedy="name an ONNX file") from error
    options = _options(out, gate, foreign.manifest)
    with progress_bar() as progress:
        report = bundle_from_onnx(
            data,
            foreign,
            out,
            source=str(source),
            frames=_frames(frames_folder, frames_limit, foreign.manifest),
            runner=runner,
            options=options,
            progress=progress,
        )
    _tell(report, out, [])
    return report


def _export(
    load: Load,
    runner: Runner,
    source: Path | None,
    out: Path,
    frames_folder: Path,
    frames_limit: int,
    module: str | None,
    weights: Path | None,
    input_spec: Path | None,
    classes: Path | None,
    gate: dict[str, Any],
    progress: Progress,
) -> ParityReport:
    from trocar.export.bundle import convert_bundle, export_bundle

    check_output(out, overwrite=bool(gate.get("overwrite")))
    if source is not None and (source / MANIFEST).is_file():
        from trocar.contract.bundle import open_bundle

        manifest = open_bundle(source).manifest
        return convert_bundle(
            source,
            out,
            frames=_frames(frames_folder, frames_limit, manifest),
            runner=runner,
            options=_options(out, gate, manifest),
            progress=progress,
        )
    if module is not None:
        from trocar.export.graph.external_model import foreign_network
        from trocar.export.graph.input_spec import read_spec

        assert input_spec is not None
        foreign = read_spec(input_spec, classes=classes, name=module.partition(":")[2])
        network, manifest = foreign_network(module, weights, foreign), foreign.manifest
    else:
        assert source is not None
        network, manifest = load(source)
    return export_bundle(
        network,
        manifest,
        out,
        frames=_frames(frames_folder, frames_limit, manifest),
        runner=runner,
        options=_options(out, gate, manifest),
        progress=progress,
    )


def _check_flags(
    source: Path | None,
    out: Path | None,
    frames: Path | None,
    in_place: bool,
    module: str | None,
    input_spec: Path | None,
    weights: Path | None,
    gate: dict[str, Any],
) -> None:
    faults = []
    precision, calibrate = gate.get("precision", "fp32"), gate.get("calibrate")
    if source is None and module is None:
        faults.append("nothing to export: name a run folder, a checkpoint or a bundle")
    elif source is not None and module is not None:
        faults.append(f"both {source} and --module {module} were named: choose one")
    elif source is not None and not source.exists():
        faults.append(f"there is no {source}")
    elif in_place and source is not None and not (source / MANIFEST).is_file():
        faults.append(f"{source} is no bundle: engines go into a bundle, name one with --out")
    if module is not None and input_spec is None:
        faults.append("--module needs --input-spec FILE, which says what the network takes")
    if weights is not None and module is None:
        faults.append("--weights is for --module only")
    if in_place:
        if precision != "fp32":
            faults.append("--precision makes another bundle: name it with --out")
    else:
        if out is None:
            faults.append("--out is missing: name the bundle to write")
        if frames is None:
            faults.append(
                "--frames is missing: the parity gate needs frames with instruments in view"
            )
        if precision == "int8" and calibrate is None:
            faults.append("--precision int8 needs --calibrate DIR with your own frames")
    if precision != "int8" and calibrate is not None:
        faults.append(f"--calibrate is for int8 only, not for {precision}")
    if faults:
        raise ConfigError("; ".join(faults), remedy="see `trocar export --help`")


def _engine_options(
    engines: Sequence[str], frame: str | None, batch: str, **common: Any
) -> list[EngineOptions]:
    from trocar.export.tensorrt.build import EngineOptions
    from trocar.export.tensorrt.bundle_engines import profile_from_flags

    profile = profile_from_flags(frame, batch)
    return [EngineOptions(flavour=name, profile=profile, **common) for name in engines]


def _options(out: Path, gate: dict[str, Any], manifest: Manifest) -> Options:
    from trocar.export.gate import Options

    rest = dict(gate)
    precision = rest.pop("precision", "fp32")
    calibrate = rest.pop("calibrate", None)
    options = Options(
        precision=precision,
        recipe=rest.pop("recipe", "cpu"),
        keep=tuple(rest.pop("keep", ())),
        overwrite=bool(rest.pop("overwrite", False)),
        pictures=rest.pop("pictures", None) or out.with_suffix(".parity"),
        limits=Limits.of(precision).with_flags(rest),
    )
    if calibrate is None:
        return options
    try:
        frames = _frames(calibrate, CALIBRATION_FRAMES, manifest, masks=False)
    except DataError as error:
        raise DataError(f"cannot calibrate: {error.message}", remedy=error.remedy) from error
    return replace(options, calibration=[frame.image for frame in frames])


def _frames(folder: Path, limit: int, manifest: Manifest, *, masks: bool = True) -> list[GateFrame]:
    from trocar.export.parity.frames import read_frames

    segments = manifest.task == "segmentation"
    return read_frames(folder, classes=len(manifest.classes), limit=limit, masks=masks and segments)


def _tell(report: ParityReport | None, target: Path, made: Sequence[tuple[str, Any]]) -> None:
    from trocar.console.export import print_engine, print_report

    if report is not None:
        print_report(report, target)
    for name, sidecar in made:
        print_engine(name, sidecar, (target / name).stat().st_size)


def _write_triton(
    target: Path, out: Path, second: Path | None, made: Sequence[tuple[str, Any]]
) -> None:
    import click

    from trocar.export.triton.config import TritonOptions
    from trocar.export.triton.repository import write_repository

    plans = [name for name, sidecar in made if sidecar.flavour == "tensorrt"]
    options = TritonOptions(engine=plans[0] if plans else None)
    names = write_repository(target, out, options, second=second)
    click.echo(f"{out}: Triton model repository with {', '.join(names)}")
