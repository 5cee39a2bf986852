"""Engines in a bundle: built, verified on a GPU if there is one, written with their sidecars.

add_engines(Path("m.trocar"), [options], open_model=open_model)
prune_engines(Path("m.trocar"), keep=lambda sidecar: sidecar.flavour == "tensorrt-rtx")
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np

from trocar.contract.bundle import GOLDEN, MODEL, Bundle, Content, open_bundle, update_bundle
from trocar.contract.errors import ConfigError
from trocar.contract.manifest import Manifest
from trocar.contract.tensorrt.engines import (
    FOLDER,
    RTX_CAPABILITIES,
    EngineSidecar,
    Profile,
    engines_of,
    files_of_engine,
)
from trocar.contract.tensorrt.gpu import Gpu, find_gpu
from trocar.export.gate import OnProgress, OpenModel, temp_dir_beside, write_file
from trocar.export.golden import golden_npz, least_score
from trocar.export.graph.model_file import with_logits_output
from trocar.export.parity.check import check_parity
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import Frame, GateFrame, Infer, Outputs
from trocar.export.tensorrt.build import BuiltEngine, EngineOptions, build_engine, check_engine

OpenEngine: TypeAlias = Callable[[str, Path, Manifest], Infer]
"""From flavour, engine file and manifest to what runs the engine on this machine's GPU."""


def add_engines(
    path: Path,
    wanted: Sequence[EngineOptions],
    *,
    open_model: OpenModel,
    frames: Sequence[GateFrame] = (),
    open_engine: OpenEngine | None = None,
    on_progress: OnProgress | None = None,
) -> list[tuple[str, EngineSidecar]]:
    """Builds engines and adds them to a bundle; they replace those of the same kind.

    Args:
        path: The bundle.
        wanted: Options of each engine.
        open_model: Opens an ONNX file with ONNX Runtime, for the golden frame.
        frames: Frames for the gate, besides the bundle's golden frame.
        open_engine: Opens an engine. Without it, or without a GPU, the sidecar says that the
            engine was not run.
        on_progress: For a progress bar.

    Returns:
        Name and sidecar of each engine.

    Raises:
        ParityError: An engine that ran here differs from the graph; the bundle is unchanged.
        TrocarError: See `trocar.export.tensorrt.build.build_engine`.
    """
    for options in wanted:
        check_engine(options)
    bundle = open_bundle(path)
    data = bundle.read(MODEL)
    built: list[tuple[str, EngineSidecar]] = []
    added: dict[str, Content] = {}
    with temp_dir_beside(path) as folder:
        model = open_model(write_file(folder / MODEL, data))
        extended = write_file(folder / "with_logits.onnx", with_logits_output(data))
        with_logits = open_model(extended)
        for options in wanted:
            result = build_engine(
                data, options, precision=bundle.manifest.precision, on_progress=on_progress
            )
            golden = _golden_frame(bundle, options.profile)
            reason = _why_not_run(options.flavour, find_gpu())
            if reason or open_engine is None:
                reason = reason or "nothing was given to run it with"
                sidecar = _not_run(result, bundle.manifest, reason)
            else:
                infer = _open_built(result, bundle.manifest, folder, open_engine)
                images = [GateFrame(name="golden frame", image=golden), *frames]
                sidecar = _verified(result, infer, with_logits, images, bundle.manifest)
            name = engine_name(sidecar)
            engine_file, sidecar_file, golden_file = files_of_engine(name)
            built.append((name, sidecar))
            added[engine_file] = result.data
            added[sidecar_file] = sidecar.to_json().encode()
            added[golden_file] = golden_npz(
                golden,
                model,
                with_logits,
                task=bundle.manifest.task,
                lowest=least_score(bundle.manifest),
            )
    replaced = [
        file
        for name, old in engines_of(bundle).items()
        if any(_same_kind(old, new) for _, new in built)
        for file in files_of_engine(name)
        if file in bundle.manifest.files and file not in added
    ]
    update_bundle(bundle, add=added, remove=replaced)
    return built


def prune_engines(path: Path, *, keep: Callable[[EngineSidecar], bool]) -> list[str]:
    """Removes the engines for which ``keep`` is false.

    Returns:
        Names of the removed engines.
    """
    bundle = open_bundle(path)
    removed = [name for name, sidecar in engines_of(bundle).items() if not keep(sidecar)]
    files = [f for name in removed for f in files_of_engine(name) if f in bundle.manifest.files]
    if files:
        update_bundle(bundle, remove=files)
    return removed


def engine_name(sidecar: EngineSidecar) -> str:
    """File name with flavour, version, precision, GPU, shapes, and a hash of engine and sidecar."""
    # The sidecar has the hash of the engine. Other options may lead to the same engine.
    digest = hashlib.sha256(sidecar.to_json().encode()).hexdigest()
    high = sidecar.profile.maximum
    gpu = sidecar.capability.replace(".", "") if sidecar.hardware != "any-rtx" else ""
    parts = [
        sidecar.flavour,
        sidecar.version,
        sidecar.precision_found,
        *([f"sm{gpu}"] if gpu else []),
        f"b{high[0]}-{high[1]}x{high[2]}",
        digest[:8],
    ]
    return f"{FOLDER}/{'_'.join(parts)}.engine"


def profile_of(sizes: Sequence[tuple[int, int]], batches: Sequence[int]) -> Profile:
    """The profile of an engine.

    Args:
        sizes: ``(height, width)`` of frames in pixels: smallest, best, largest.
        batches: Batch: smallest, best, largest.

    Raises:
        ConfigError: They are not in rising order.
    """
    shapes = [(batch, *size) for batch, size in zip(batches, sizes, strict=True)]
    for low, high in itertools.pairwise(shapes):
        if any(a > b for a, b in zip(low, high, strict=True)):
            raise ConfigError(
                f"the engine's shapes [batch, height, width] are {[list(s) for s in shapes]}, "
                "expected rising order",
                remedy="write --engine-shape and --batch as MIN:OPT:MAX, in rising order",
            )
    return Profile(minimum=shapes[0], optimum=shapes[1], maximum=shapes[2])


def _golden_frame(bundle: Bundle, profile: Profile) -> Frame:
    """The bundle's golden frame at the engine's best size; an engine may take no other size."""
    with np.load(io.BytesIO(bundle.read(GOLDEN)), allow_pickle=False) as golden:
        frame: Frame = golden["frame"]
    return _resized(frame, profile.optimum[1], profile.optimum[2])


def _why_not_run(flavour: str, gpu: Gpu | None) -> str:
    """Why an engine that was built here cannot run here; empty if it can."""
    if gpu is None:
        return "there is no NVIDIA GPU here"
    if flavour == "tensorrt-rtx" and gpu.capability not in RTX_CAPABILITIES:
        return f"TensorRT for RTX does not run on {gpu.name} (compute capability {gpu.capability})"
    return ""


def _not_run(built: BuiltEngine, manifest: Manifest, reason: str) -> EngineSidecar:
    graph = f"the {manifest.precision} graph it was built from passed the gate"
    return replace(built.sidecar, verification=f"the engine was not run: {reason}; {graph}")


def _open_built(
    built: BuiltEngine, manifest: Manifest, folder: Path, open_engine: OpenEngine
) -> Infer:
    """Opens an engine before it is in a bundle, in a folder with a bundle's layout."""
    path = folder / "engines" / "built.engine"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(built.data)
    # The runtime reads the sidecar, and a stripped engine's weights from the folder above.
    path.with_suffix(".json").write_text(built.sidecar.to_json(), encoding="utf-8")
    return open_engine(built.sidecar.flavour, path, manifest)


def _verified(
    built: BuiltEngine,
    infer: Infer,
    reference: Infer,
    frames: Sequence[GateFrame],
    manifest: Manifest,
) -> EngineSidecar:
    """Runs the engine through the parity gate on frames of its best size.

    Raises:
        ParityError: It differs from the graph.
    """
    sidecar = built.sidecar
    _, height, width = sidecar.profile.optimum
    images = [replace(frame, image=_resized(frame.image, height, width), ground_truth=None)
              for frame in frames]  # fmt: skip
    report, _ = check_parity(
        reference,
        _padded(infer, sidecar.profile.minimum[0]),
        images,
        manifest,
        limits=Limits.of(sidecar.precision_found),
        names=("ONNX Runtime", f"{sidecar.flavour} {sidecar.version}"),
    )
    report.require()
    return replace(
        sidecar,
        verified=True,
        verification=f"{report.metrics['equal']:.4%} equal to ONNX Runtime on {len(images)} frames",
    )


def _resized(image: Frame, height: int, width: int) -> Frame:
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _padded(infer: Infer, min_batch: int) -> Infer:
    """Repeats each frame up to an engine's smallest batch and drops the surplus outputs."""

    def run(frames: Frame) -> Outputs:
        results: list[Outputs] = []
        for frame in frames:
            outputs = infer(np.ascontiguousarray(np.repeat(frame[None], min_batch, axis=0)))
            results.append({name: value[:1] for name, value in outputs.items()})
        return {name: np.concatenate([r[name] for r in results]) for name in results[0]}

    return run


def _same_kind(old: EngineSidecar, new: EngineSidecar) -> bool:
    """Whether a new engine replaces an old one."""
    return (old.flavour, old.gpu, old.hardware, old.precision, old.profile, old.platform) == (
        new.flavour,
        new.gpu,
        new.hardware,
        new.precision,
        new.profile,
        new.platform,
    )
