"""From a network, or from another bundle, to a bundle that is proven or not written at all.

    report = export_bundle(network, manifest, Path("m.trocar"), frames=frames, runner=runner)
    report = convert_bundle(Path("m.trocar"), Path("m16.trocar"), precision="fp16", frames=frames,
                            runner=runner)

``runner(path)`` opens an ONNX file with the runtime that will serve it and returns a function from
``[N,H,W,3]`` uint8 frames to every output by name: the gate proves what will really run.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trocar.contract.bundle import GOLDEN, MODEL, PARITY, Content, check_output, write_bundle
from trocar.contract.bundle import open_bundle as open_checked
from trocar.contract.errors import BundleError, SinkError
from trocar.contract.manifest import Manifest
from trocar.export.golden import golden_frame, golden_npz
from trocar.export.halfgate import with_real_half
from trocar.export.limits import Limits
from trocar.export.measure import fast_resize, milliseconds, versions
from trocar.export.onnx import (
    load,
    onnx_from_network,
    read_manifest,
    twin_from_onnx,
    write_manifest,
)
from trocar.export.parity import Frame, GateFrame, Infer, ParityReport, WorstFrame, check_parity
from trocar.export.pictures import check_pictures, save_pictures
from trocar.export.reference import torch_reference

if TYPE_CHECKING:
    from torch import nn

Runner = Callable[[Path], Infer]
Progress = Callable[[str, int, int], None]
"""Called with the stage's name, what is done of it and how much there is."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to make and how strictly to judge it.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8``.
        recipe: Of int8: ``cpu`` (ONNX Runtime on CPUs) or ``tensorrt``.
        limits: By default those of the precision.
        calibration: Frames whose activation ranges int8 takes.
        overwrite: Replace a bundle that is there.
        pictures: Folder of the worst frames' pictures; none are written without it.
        keep: Nodes (by layer name) that stay float32.
    """

    precision: str = "fp32"
    recipe: str = "cpu"
    limits: Limits | None = None
    calibration: Sequence[Frame] = ()
    overwrite: bool = False
    pictures: Path | None = None
    keep: tuple[str, ...] = ()
    files: Mapping[str, Content] = field(default_factory=dict)


def export_bundle(
    module: nn.Module,
    manifest: Manifest,
    out: Path,
    *,
    frames: Sequence[GateFrame | Frame],
    runner: Runner,
    options: Options | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Exports a network, proves it against PyTorch and writes the bundle.

    Args:
        module: The deployable network; see `trocar.export.graph.FrameGraph`.
        manifest: What it is; outputs, precision and margin are filled in.
        out: The bundle's folder.
        frames: Frames for the gate, real or phantom, with ground truth where there is some.
        runner: Opens an ONNX file with the runtime that will serve it.
        options: Precision, limits, overwriting.
        progress: For a progress bar.

    Returns:
        The report, whose content is the bundle's ``parity.json``.

    Raises:
        ParityError: The exported model disagrees, or the frames prove nothing; nothing is written
            but the pictures of the worst frames.
        OutputExistsError: ``out`` exists.
        TrocarError: See `onnx_from_network`, `convert` and `write_bundle`.
    """
    chosen = options or Options()
    _check(out, chosen)
    tell = progress or _silent
    tell("export", 0, 1)
    data, whole = onnx_from_network(module, manifest)
    tell("export", 1, 1)
    return _prove(
        data,
        whole,
        out,
        frames=named(frames),
        runner=runner,
        options=chosen,
        reference=(torch_reference(module, whole), "PyTorch fp32"),
        progress=tell,
    )


def convert_bundle(
    source: Path,
    out: Path,
    *,
    frames: Sequence[GateFrame | Frame],
    runner: Runner,
    options: Options,
    progress: Progress | None = None,
) -> ParityReport:
    """Converts a float32 bundle to another precision, proven against the bundle itself.

    Raises:
        BundleError: ``source`` is no bundle, or is not float32.
        ParityError: As `export_bundle`.
    """
    _check(out, options)
    bundle = open_checked(source)
    if bundle.manifest.precision != "fp32":
        raise BundleError(
            f"{source} is {bundle.manifest.precision}; only a float32 bundle can be converted",
            remedy="name the float32 bundle it was made from, or the run folder",
        )
    data = bundle.read(MODEL)
    load(data, source=str(bundle.model))
    others = {
        name: bundle.read(name)
        for name in bundle.manifest.files
        if name not in (MODEL, GOLDEN, PARITY) and not name.startswith("engines/")
    }
    with scratch(out) as folder:
        twin = _place(folder / "reference.onnx", twin_from_onnx(data))
        return _prove(
            data,
            bundle.manifest,
            out,
            frames=named(frames),
            runner=runner,
            options=replace(options, files={**others, **options.files}),
            reference=(runner(twin), "the float32 bundle"),
            progress=progress or _silent,
        )


def named(frames: Sequence[GateFrame | Frame]) -> list[GateFrame]:
    """Gives bare images a name each, and two frames of the same name different ones."""
    made: list[GateFrame] = []
    seen: set[str] = set()
    for index, frame in enumerate(frames):
        whole = (
            frame
            if isinstance(frame, GateFrame)
            else GateFrame(name=f"frame {index}", image=np.asarray(frame))
        )
        name = whole.name if whole.name not in seen else f"{whole.name} ({index})"
        seen.add(name)
        made.append(replace(whole, name=name))
    return made


def _prove(
    data: bytes,
    manifest: Manifest,
    out: Path,
    *,
    frames: Sequence[GateFrame],
    runner: Runner,
    options: Options,
    reference: tuple[Infer, str],
    progress: Progress,
) -> ParityReport:
    """Converts, runs the gate, and writes the bundle if it passes."""
    from trocar.export import precision as precision_of

    limits = options.limits or Limits.of(options.precision)
    with scratch(out) as folder:

        def judge(candidate: bytes) -> tuple[ParityReport, list[WorstFrame], tuple[Infer, Infer]]:
            target = replace(manifest, precision=options.precision)
            candidate = with_manifest(candidate, target)
            pair = (
                runner(_place(folder / MODEL, candidate)),
                runner(_place(folder / "twin.onnx", twin_from_onnx(candidate))),
            )
            report, worst = check_parity(
                reference[0],
                pair[0],
                frames,
                target,
                limits=limits,
                twin=pair[1] if target.task == "segmentation" else None,
                names=(reference[1], "the exported model"),
                progress=lambda done, total: progress("gate", done, total),
            )
            if options.precision == "fp16":
                report, worst = with_real_half(report, worst, reference, candidate, frames, target)
            return report, worst, pair

        converted, about = precision_of.convert(
            data,
            options.precision,
            recipe=options.recipe,
            calibration=options.calibration,
            probes=[frame.image for frame in frames],
            keep=options.keep,
            judge=lambda candidate: judge(candidate)[0],
            progress=progress,
        )
        report, worst, pair = judge(converted)
        if options.pictures is not None:
            save_pictures(worst, options.pictures, manifest.classes)
        report.require()
        golden = golden_frame(report, frames)
        final = replace(
            manifest,
            precision=options.precision,
            golden_margin=report.golden_margin,
            source={**manifest.source, "export": versions()},
            extra={**manifest.extra, "fast_resize": fast_resize(pair[0], frames, manifest)},
        )
        model = with_manifest(converted, final)
        report = replace(
            report,
            extra={
                **report.extra,
                "conversion": about,
                "onnx_sha256": hashlib.sha256(model).hexdigest(),
                "onnx_bytes": {"fp32": len(data), options.precision: len(model)},
                "milliseconds": {
                    reference[1]: milliseconds(reference[0], golden),
                    "exported": milliseconds(pair[0], golden),
                },
                "fast_resize": final.extra["fast_resize"],
                "versions": versions(),
            },
        )
        progress("write", 0, 1)
        files: dict[str, Content] = {
            **options.files,
            MODEL: model,
            GOLDEN: golden_npz(golden, pair[0], pair[1], task=manifest.task),
            PARITY: (json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n").encode(),
        }
        write_bundle(out, final, files, overwrite=options.overwrite)
        progress("write", 1, 1)
    return report


def with_manifest(data: bytes, manifest: Manifest) -> bytes:
    """The ONNX file with this manifest in its metadata; outputs as the file's own state them."""
    import onnx

    model = onnx.load_model_from_string(data)
    outputs = read_manifest(model).outputs
    write_manifest(model, replace(manifest, outputs=outputs))
    return bytes(model.SerializeToString())


def _check(out: Path, options: Options) -> None:
    """Faults that would show only after minutes of work are raised before it."""
    check_output(out, overwrite=options.overwrite)
    if options.pictures is not None:
        check_pictures(options.pictures)


@contextmanager
def scratch(out: Path) -> Iterator[Path]:
    """A folder on the disk of ``out`` that is gone afterwards, Ctrl-C included."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        holder = tempfile.TemporaryDirectory(prefix=f".{out.name}.work.", dir=out.parent)
    except OSError as error:
        raise SinkError(
            f"cannot write beside {out}: {error}", remedy="free space or mend permissions"
        ) from error
    with holder as name:
        yield Path(name)


def _place(path: Path, data: bytes) -> Path:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error}", remedy="free space") from error
    return path


def _silent(stage: str, done: int, total: int) -> None:
    """The progress of a caller that shows none."""
