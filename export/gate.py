"""The parity gate: converts a graph, compares it with its reference, and writes it if it passes.

verify_and_write(data, manifest, Path("m.trocar"), frames=frames, open_model=open_model,
                 reference=Reference(infer, "PyTorch fp32"),
                 options=ExportOptions(precision="fp16"), on_progress=no_progress)
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from trocar.contract.bundle import GOLDEN, MODEL, PARITY, Content, check_output, write_bundle
from trocar.contract.errors import SinkError
from trocar.contract.location import notes_on_parts
from trocar.contract.manifest import Manifest
from trocar.export.golden import golden_frame, golden_npz, least_score
from trocar.export.graph.model_file import read_manifest, with_logits_output, write_manifest
from trocar.export.nv12_form import Nv12Form, OpenNv12, make_nv12
from trocar.export.parity.check import check_parity
from trocar.export.parity.figures import check_image_folder, write_mismatch_images
from trocar.export.parity.limits import Limits
from trocar.export.parity.measurements import (
    fast_resize_drift,
    median_milliseconds,
    package_versions,
)
from trocar.export.parity.types import Frame, FrameMismatch, GateFrame, Infer, ParityReport
from trocar.export.precision.convert import ConversionOptions, convert
from trocar.export.precision.float16_emulation import add_float16_emulation

OpenModel: TypeAlias = Callable[[Path], Infer]
"""Opens an ONNX file with the runtime that will serve it."""

OnProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with the name of the stage, how much of it is done and how much there is."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What to make, and the limits that it must keep.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8``.
        int8_target: What runs an int8 model: ``cpu`` (ONNX Runtime on CPUs) or ``tensorrt``.
        limits: Limits of the gate; ``None`` for those of the precision.
        calibration: Frames on which int8 measures the ranges of activations.
        overwrite: Replace a bundle that exists.
        mismatch_images: Folder for images of the frames that differ most; ``None`` for no images.
        keep_float32: Nodes, by layer name, that stay float32.
        files: More files of the bundle, e.g. a classifier's centroids.
        location: Options of location that replace the model's own, by name.
        open_nv12: Opens a graph for NV12 with the runtime that will serve it: the bundle gets one.
            ``None`` for a bundle that takes RGB alone.
    """

    precision: str = "fp32"
    int8_target: str = "cpu"
    limits: Limits | None = None
    calibration: Sequence[Frame] = ()
    overwrite: bool = False
    mismatch_images: Path | None = None
    keep_float32: tuple[str, ...] = ()
    files: Mapping[str, Content] = field(default_factory=dict)
    location: Mapping[str, Any] = field(default_factory=dict)
    open_nv12: OpenNv12 | None = None


@dataclass(frozen=True)
class Reference:
    """What an exported model is compared with.

    Attributes:
        infer: Runs the reference; its outputs include ``logits`` (classifiers: ``scores``).
        name: Its name in the report, e.g. ``PyTorch fp32``.
    """

    infer: Infer
    name: str


@dataclass(frozen=True)
class _Evaluation:
    """A candidate with the result of the gate and what runs it."""

    report: ParityReport
    mismatches: tuple[FrameMismatch, ...]
    model: Infer
    with_logits: Infer


def verify_and_write(
    data: bytes,
    manifest: Manifest,
    out: Path,
    *,
    frames: Sequence[GateFrame],
    open_model: OpenModel,
    reference: Reference,
    options: ExportOptions,
    on_progress: OnProgress,
) -> ParityReport:
    """Converts a float32 graph, compares it with its reference, and writes the bundle if it passes.

    Raises:
        ParityError: A limit does not hold; only the images of the mismatches are written.
        TrocarError: See `convert` and `write_bundle`.
    """
    # A file from elsewhere can be of a lower precision already; nothing is converted then.
    stated = options.precision if options.precision != "fp32" else manifest.precision
    target = replace(manifest, precision=stated)
    with temp_dir_beside(out) as folder:

        def evaluate_candidate(candidate: bytes) -> _Evaluation:
            return _evaluate(
                _with_manifest(candidate, target),
                target,
                frames=frames,
                open_model=open_model,
                reference=reference,
                limits=options.limits or Limits.of(options.precision),
                folder=folder,
                on_progress=on_progress,
                emulate=options.precision == "fp16",
            )

        conversion = convert(
            data,
            options=ConversionOptions(
                precision=options.precision,
                int8_target=options.int8_target,
                calibration=options.calibration,
                probes=[frame.image for frame in frames],
                keep_float32=options.keep_float32,
            ),
            evaluate_candidate=lambda candidate: evaluate_candidate(candidate).report,
            on_progress=on_progress,
        )
        result = evaluate_candidate(conversion.data)
        if options.mismatch_images is not None:
            write_mismatch_images(result.mismatches, options.mismatch_images, manifest.classes)
        result.report.require()
        on_progress("write", 0, 1)
        golden = golden_frame(result.report, frames)
        final = _final_manifest(target, result, frames)
        form = Nv12Form(files={}, about={})
        if options.open_nv12 is not None:
            form = make_nv12(
                _with_manifest(conversion.data, final),
                final,
                frames=frames,
                golden=golden,
                rgb=result.with_logits,
                open_nv12=options.open_nv12,
                write=lambda name, data: write_file(folder / name, data),
                on_frame=lambda done, total: on_progress("nv12", done, total),
            )
            final = replace(final, extra={**final.extra, "nv12": dict(form.about)})
        model = _with_manifest(conversion.data, final)
        extra = {
            **result.report.extra,
            "conversion": conversion.about,
            "onnx_sha256": hashlib.sha256(model).hexdigest(),
            "onnx_bytes": {manifest.precision: len(data), stated: len(model)},
            "milliseconds": {
                reference.name: median_milliseconds(reference.infer, golden),
                "exported": median_milliseconds(result.model, golden),
            },
            "fast_resize": final.extra["fast_resize"],
            **({"nv12": dict(form.about)} if form.about else {}),
            "versions": package_versions(),
        }
        segments = manifest.makes_labels
        notes = (*result.report.notes, *(notes_on_parts(manifest.classes) if segments else ()))
        report = replace(result.report, extra=extra, notes=notes)
        text = json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n"
        files: dict[str, Content] = {
            **options.files,
            **form.files,
            MODEL: model,
            GOLDEN: golden_npz(
                golden,
                result.model,
                result.with_logits,
                task=manifest.task,
                golden_margin=final.golden_margin,
                lowest=least_score(final),
            ),
            PARITY: text.encode(),
        }
        write_bundle(out, final, files, overwrite=options.overwrite)
        on_progress("write", 1, 1)
    return report


def _evaluate(
    candidate: bytes,
    manifest: Manifest,
    *,
    frames: Sequence[GateFrame],
    open_model: OpenModel,
    reference: Reference,
    limits: Limits,
    folder: Path,
    on_progress: OnProgress,
    emulate: bool,
) -> _Evaluation:
    """Runs one candidate beside the reference."""
    extended = with_logits_output(candidate)
    model = open_model(write_file(folder / MODEL, candidate))
    with_logits = open_model(write_file(folder / "with_logits.onnx", extended))
    report, mismatches = check_parity(
        reference.infer,
        model,
        frames,
        manifest,
        limits=limits,
        with_logits=with_logits if manifest.task == "segmentation" else None,
        names=(reference.name, "the exported model"),
        on_progress=lambda done, total: on_progress("gate", done, total),
    )
    if emulate:
        report, mismatches = add_float16_emulation(
            report,
            mismatches,
            model=extended,
            frames=frames,
            manifest=manifest,
            reference=reference.infer,
        )
    return _Evaluation(report, mismatches, model, with_logits)


def _final_manifest(
    manifest: Manifest, result: _Evaluation, frames: Sequence[GateFrame]
) -> Manifest:
    drift = fast_resize_drift(result.model, frames, manifest)
    return replace(
        manifest,
        golden_margin=result.report.golden_margin,
        source={**manifest.source, "export": package_versions()},
        extra={**manifest.extra, "fast_resize": drift},
    )


def _with_manifest(data: bytes, manifest: Manifest) -> bytes:
    """The ONNX file with this manifest in its metadata; outputs as the file's own state them."""
    import onnx

    model = onnx.load_model_from_string(data)
    outputs = read_manifest(model).outputs
    write_manifest(model, replace(manifest, outputs=outputs))
    return bytes(model.SerializeToString())


def check_target(out: Path, options: ExportOptions) -> None:
    """Checks before the work what would otherwise fail after minutes.

    Raises:
        OutputExistsError: ``out`` or the folder of the mismatch images cannot be replaced.
    """
    check_output(out, overwrite=options.overwrite)
    if options.mismatch_images is not None:
        check_image_folder(options.mismatch_images)


@contextmanager
def temp_dir_beside(out: Path) -> Iterator[Path]:
    """A folder on the disk of ``out``; it is removed afterwards, also after Ctrl-C.

    Raises:
        SinkError: The disk is full or not writable.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        holder = tempfile.TemporaryDirectory(prefix=f".{out.name}.work.", dir=out.parent)
    except OSError as error:
        raise SinkError(
            f"cannot write beside {out}: {error}", remedy="free space or correct the permissions"
        ) from error
    with holder as name:
        yield Path(name)


def write_file(path: Path, data: bytes) -> Path:
    """Writes a file and returns its path.

    Raises:
        SinkError: The disk is full.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error}", remedy="free space") from error
    return path


def no_progress(stage: str, done: int, total: int) -> None:
    """Progress that is not shown."""
