"""The gate between a converted graph and the disk: proven, or not written at all.

prove(data, manifest, out, frames=frames, runner=runner, options=Options(precision="fp16"),
      reference=(reference, "PyTorch fp32"), progress=silent)
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from trocar.contract.bundle import GOLDEN, MODEL, PARITY, Content, check_output, write_bundle
from trocar.contract.errors import SinkError
from trocar.contract.manifest import Manifest
from trocar.export.golden import golden_frame, golden_npz
from trocar.export.graph.model_file import read_manifest, twin_from_onnx, write_manifest
from trocar.export.parity.check import check_parity
from trocar.export.parity.figures import check_pictures, save_pictures
from trocar.export.parity.limits import Limits
from trocar.export.parity.measurements import fast_resize, milliseconds, versions
from trocar.export.parity.types import Frame, GateFrame, Infer, ParityReport, WorstFrame
from trocar.export.precision import convert as precision_of
from trocar.export.precision.float16_emulation import with_real_half

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
        files: Further files of the bundle, e.g. a classifier's centroids.
    """

    precision: str = "fp32"
    recipe: str = "cpu"
    limits: Limits | None = None
    calibration: Sequence[Frame] = ()
    overwrite: bool = False
    pictures: Path | None = None
    keep: tuple[str, ...] = ()
    files: Mapping[str, Content] = field(default_factory=dict)


def prove(
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
    limits = options.limits or Limits.of(options.precision)
    with scratch(out) as folder:

        def judge(candidate: bytes) -> tuple[ParityReport, list[WorstFrame], tuple[Infer, Infer]]:
            target = replace(manifest, precision=options.precision)
            candidate = with_manifest(candidate, target)
            pair = (
                runner(place(folder / MODEL, candidate)),
                runner(place(folder / "twin.onnx", twin_from_onnx(candidate))),
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


def check_target(out: Path, options: Options) -> None:
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


def place(path: Path, data: bytes) -> Path:
    """Writes a file and hands back its path.

    Raises:
        SinkError: The disk is full.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error}", remedy="free space") from error
    return path


def silent(stage: str, done: int, total: int) -> None:
    """The progress of a caller that shows none."""
