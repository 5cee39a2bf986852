"""From a network, or from another bundle, to a bundle that is proven or not written at all.

    report = export_bundle(network, manifest, Path("m.trocar"), frames=frames, runner=runner)
    report = convert_bundle(Path("m.trocar"), Path("m16.trocar"), precision="fp16", frames=frames,
                            runner=runner)

``runner(path)`` opens an ONNX file with the runtime that will serve it and returns a function from
``[N,H,W,3]`` uint8 frames to every output by name: the gate proves what will really run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trocar.contract.bundle import GOLDEN, MODEL, PARITY
from trocar.contract.bundle import open_bundle as open_checked
from trocar.contract.errors import BundleError
from trocar.contract.manifest import Manifest
from trocar.export.gate import (
    Options,
    Progress,
    Runner,
    check_target,
    place,
    prove,
    scratch,
    silent,
)
from trocar.export.graph.from_onnx import original_reference, takes_frames, wrap_onnx
from trocar.export.graph.from_torch import onnx_from_network
from trocar.export.graph.input_spec import Foreign
from trocar.export.graph.model_file import load, twin_from_onnx
from trocar.export.parity.types import Frame, GateFrame, ParityReport
from trocar.export.reference import run_bytes, torch_reference

if TYPE_CHECKING:
    from torch import nn


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
        module: The deployable network; see `trocar.export.graph.frame_graph.FrameGraph`.
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
    check_target(out, chosen)
    tell = progress or silent
    tell("export", 0, 1)
    data, whole = onnx_from_network(module, manifest)
    if manifest.task == "classification":
        from trocar.export.graph.classifier import class_files

        whole, beside = class_files(module, whole)
        chosen = replace(chosen, files={**beside, **chosen.files})
    tell("export", 1, 1)
    return prove(
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
    check_target(out, options)
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
        twin = place(folder / "reference.onnx", twin_from_onnx(data))
        return prove(
            data,
            bundle.manifest,
            out,
            frames=named(frames),
            runner=runner,
            options=replace(options, files={**others, **options.files}),
            reference=(runner(twin), "the float32 bundle"),
            progress=progress or silent,
        )


def bundle_from_onnx(
    data: bytes,
    foreign: Foreign,
    out: Path,
    *,
    source: str,
    frames: Sequence[GateFrame | Frame],
    runner: Runner,
    options: Options | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Makes a bundle of a finished ONNX file, proven against the file as it was given.

    Args:
        data: The file.
        foreign: Its input spec and class table.
        out: The bundle's folder.
        source: The file's name, for messages.
        frames: Frames for the gate.
        runner: As for `export_bundle`.
        options: Precision, limits, overwriting.
        progress: For a progress bar.

    Raises:
        ParityError: As `export_bundle`.
        ArgumentError: The file does not fit behind frames; see `trocar.export.graph.from_onnx`.
    """
    chosen = options or Options()
    check_target(out, chosen)
    wrapped, manifest = wrap_onnx(data, foreign, source=source)
    reference = original_reference(data, foreign)
    if takes_frames(data):
        # A frame-in file needs no other preparation: it is its own reference.
        reference = run_bytes(twin_from_onnx(wrapped))
    return prove(
        wrapped,
        manifest,
        out,
        frames=named(frames),
        runner=runner,
        options=chosen,
        reference=(reference, "the ONNX file as it was given"),
        progress=progress or silent,
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
