"""From a network, an ONNX file or another bundle to a bundle whose parity was verified.

    report = export_bundle(network, manifest, Path("m.trocar"), frames=frames,
                           open_model=open_model)
    report = convert_bundle(Path("m.trocar"), Path("m16.trocar"), frames=frames,
                            open_model=open_model, options=ExportOptions(precision="fp16"))

``open_model(path)`` opens an ONNX file with the runtime that will serve it and returns a function
from ``[N,H,W,3]`` uint8 RGB frames to every output by name. So the gate tests what will run later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trocar.contract.bundle import GOLDEN, MODEL, PARITY, open_bundle
from trocar.contract.errors import ArgumentError, BundleError
from trocar.contract.location import LEGACY, LocationOptions
from trocar.contract.manifest import NV12_GOLDEN, NV12_MODEL, Manifest
from trocar.export.cpu_session import infer_on_cpu
from trocar.export.gate import (
    ExportOptions,
    OnProgress,
    OpenModel,
    Reference,
    check_target,
    no_progress,
    temp_dir_beside,
    verify_and_write,
    write_file,
)
from trocar.export.graph.from_onnx import attach_processing, has_frame_input
from trocar.export.graph.from_torch import onnx_from_network
from trocar.export.graph.imported.canonical import canonical_network
from trocar.export.graph.input_spec import ExternalModel
from trocar.export.graph.instances.from_onnx import instance_file
from trocar.export.graph.model_file import load, with_logits_output
from trocar.export.location import with_location
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import Frame, GateFrame, Infer, ParityReport
from trocar.export.reference import original_reference, torch_reference

if TYPE_CHECKING:
    from torch import nn


def export_bundle(
    network: nn.Module,
    manifest: Manifest,
    out: Path,
    *,
    frames: Sequence[GateFrame | Frame],
    open_model: OpenModel,
    options: ExportOptions | None = None,
    on_progress: OnProgress = no_progress,
) -> ParityReport:
    """Exports a network, compares it with PyTorch and writes the bundle if it passes the gate.

    Args:
        network: The deployable network; see `trocar.export.graph.frame_graph.FrameGraph`.
        manifest: What it is; outputs, precision and golden margin are filled in.
        out: The bundle's folder.
        frames: Frames for the gate, real or phantom, with ground truth where there is some.
        open_model: Opens an ONNX file with the runtime that will serve it.
        options: Precision, limits, overwriting; ``None`` for float32.
        on_progress: For a progress bar.

    Returns:
        The report, whose content is the bundle's ``parity.json``.

    Raises:
        ParityError: The exported model differs from PyTorch, or the frames cannot show that it
            does not; only the images of the mismatches are written.
        OutputExistsError: ``out`` exists.
        TrocarError: See `onnx_from_network`, `convert` and `write_bundle`.
    """
    chosen = options or ExportOptions()
    check_target(out, chosen)
    manifest = with_location(manifest, chosen.location, otherwise=_location_of(manifest))
    on_progress("export", 0, 1)
    if manifest.task == "instances":
        from trocar.export.graph.instances.from_torch import (
            instance_reference,
            onnx_from_instance_network,
        )

        data, exported = onnx_from_instance_network(network, manifest)
        reference = instance_reference(network, exported)
    else:
        data, exported = onnx_from_network(network, manifest)
        reference = torch_reference(network, exported)
    if manifest.task == "classification":
        from trocar.export.graph.classifier import class_files

        exported, files = class_files(network, exported)
        chosen = replace(chosen, files={**files, **chosen.files})
    on_progress("export", 1, 1)
    return verify_and_write(
        data,
        exported,
        out,
        frames=with_names(frames),
        open_model=open_model,
        reference=Reference(reference, "PyTorch fp32"),
        options=chosen,
        on_progress=on_progress,
    )


def convert_bundle(
    source: Path,
    out: Path,
    *,
    frames: Sequence[GateFrame | Frame],
    open_model: OpenModel,
    options: ExportOptions,
    on_progress: OnProgress = no_progress,
) -> ParityReport:
    """Converts a float32 bundle to another precision and compares the result with the source.

    Raises:
        BundleError: ``source`` is no bundle, or is not float32.
        ParityError: As `export_bundle`.
    """
    check_target(out, options)
    bundle = open_bundle(source)
    if bundle.manifest.precision != "fp32":
        raise BundleError(
            f"{source} is {bundle.manifest.precision}; only a float32 bundle can be converted",
            remedy="name the float32 bundle it was made from, or the run folder",
        )
    # A bundle of version 0.1 states no options and stays as it is.
    manifest = with_location(bundle.manifest, options.location, otherwise=None)
    manifest = replace(
        manifest, extra={key: value for key, value in manifest.extra.items() if key != "nv12"}
    )
    data = bundle.read(MODEL)
    load(data, source=str(bundle.model))
    files = {
        name: bundle.read(name)
        for name in bundle.manifest.files
        if name not in (MODEL, GOLDEN, PARITY, NV12_MODEL, NV12_GOLDEN)
        and not name.startswith("engines/")
    }
    with temp_dir_beside(out) as folder:
        path = write_file(folder / "reference.onnx", with_logits_output(data))
        return verify_and_write(
            data,
            manifest,
            out,
            frames=with_names(frames),
            open_model=open_model,
            reference=Reference(open_model(path), "the float32 bundle"),
            options=replace(options, files={**files, **options.files}),
            on_progress=on_progress,
        )


def bundle_from_onnx(
    data: bytes,
    external: ExternalModel,
    out: Path,
    *,
    source: str,
    frames: Sequence[GateFrame | Frame],
    open_model: OpenModel,
    options: ExportOptions | None = None,
    on_progress: OnProgress = no_progress,
) -> ParityReport:
    """Makes a bundle of an ONNX file from elsewhere and compares it with that file.

    Args:
        data: The file's bytes.
        external: Its input spec and class table.
        out: The bundle's folder.
        source: The file's name, for errors.
        frames: Frames for the gate.
        open_model: As for `export_bundle`.
        options: Precision, limits, overwriting; ``None`` for float32.
        on_progress: For a progress bar.

    Raises:
        ParityError: As `export_bundle`.
        ArgumentError: The file does not fit the frame-in graph; see
            `trocar.export.graph.imported.canonical` and `trocar.export.graph.from_onnx`.
    """
    chosen = options or ExportOptions()
    check_target(out, chosen)
    located = with_location(
        external.manifest, chosen.location, otherwise=_location_of(external.manifest)
    )
    external = replace(external, manifest=located)
    named = with_names(frames)
    infer: Infer
    if external.spec.task == "instances":
        file = instance_file(data, external, source=source, images=[frame.image for frame in named])
        wrapped, manifest, infer = file.data, file.manifest, file.reference
        if chosen.precision == "fp32" and chosen.limits in (None, Limits.of("fp32")):
            chosen = replace(chosen, limits=Limits.of(manifest.precision))
    elif has_frame_input(data):
        wrapped, manifest = attach_processing(data, external, source=source)
        # A frame-in file needs no preprocessing outside of it: it is its own reference.
        infer = infer_on_cpu(with_logits_output(wrapped))
    else:
        images = [frame.image for frame in named]
        network = canonical_network(data, external, source=source, images=images)
        wrapped, manifest = attach_processing(network.data, network.external, source=source)
        infer = original_reference(network)
        if chosen.precision == "fp32" and chosen.limits in (None, Limits.of("fp32")):
            chosen = replace(chosen, limits=Limits.of(network.rounding))
    if manifest.precision != "fp32" and chosen.precision != "fp32":
        raise ArgumentError(
            f"{source} is {manifest.precision} already and cannot be converted to "
            f"{chosen.precision}",
            remedy="leave --precision out, or give the float32 file",
        )
    return verify_and_write(
        wrapped,
        manifest,
        out,
        frames=named,
        open_model=open_model,
        reference=Reference(infer, "the ONNX file as it was given"),
        options=chosen,
        on_progress=on_progress,
    )


def _location_of(manifest: Manifest) -> LocationOptions:
    """Options of location of a model that states none.

    The score of an instance decides already, and what is one instance the model has said.
    """
    return LEGACY if manifest.task == "instances" else LocationOptions()


def with_names(frames: Sequence[GateFrame | Frame]) -> list[GateFrame]:
    """Gives bare images a name each, and makes equal names different."""
    named: list[GateFrame] = []
    seen: set[str] = set()
    for index, frame in enumerate(frames):
        full = (
            frame
            if isinstance(frame, GateFrame)
            else GateFrame(name=f"frame {index}", image=np.asarray(frame))
        )
        name = full.name if full.name not in seen else f"{full.name} ({index})"
        seen.add(name)
        named.append(replace(full, name=name))
    return named
