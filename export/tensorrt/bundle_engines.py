"""Engines in a bundle: built, proven where a GPU is at hand, written with sidecar and golden frame.

add_engines(Path("m.trocar"), [options], runner=runner)
prune_engines(Path("m.trocar"), keep=lambda sidecar: sidecar.flavour == "tensorrt-rtx")
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trocar.contract.bundle import GOLDEN, MODEL, Bundle, Content, open_bundle, update_bundle
from trocar.contract.engines import FOLDER, EngineSidecar, Profile, engines_of, files_of_engine
from trocar.contract.errors import ConfigError
from trocar.contract.gpu import find_gpu
from trocar.contract.manifest import Manifest
from trocar.export.gate import Progress, Runner, scratch
from trocar.export.golden import golden_npz
from trocar.export.graph.model_file import twin_from_onnx
from trocar.export.parity.check import check_parity
from trocar.export.parity.types import Frame, GateFrame, Infer
from trocar.export.tensorrt.build import BuiltEngine, EngineOptions, build_engine, check_engine

EngineRunner = Callable[[str, Path, Manifest], Infer]
"""From flavour, engine file and manifest to what runs the engine on this machine's GPU."""


def add_engines(
    path: Path,
    wanted: Sequence[EngineOptions],
    *,
    runner: Runner,
    frames: Sequence[GateFrame] = (),
    engine_runner: EngineRunner | None = None,
    progress: Progress | None = None,
) -> list[tuple[str, EngineSidecar]]:
    """Builds engines and adds them to a bundle, replacing those of the same kind.

    Args:
        path: The bundle.
        wanted: One entry an engine.
        runner: Opens an ONNX file with ONNX Runtime, for the golden frame.
        frames: Frames for the gate, besides the bundle's golden frame.
        engine_runner: Runs an engine; used where this machine has a GPU. Without it, or without a
            GPU, the sidecar says that the engine itself was not run.
        progress: For a progress bar.

    Returns:
        Name and sidecar of each engine.

    Raises:
        ParityError: An engine that ran here disagrees with the graph; the bundle is as it was.
        TrocarError: See `trocar.export.tensorrt.build.build_engine`.
    """
    for options in wanted:
        check_engine(options)
    bundle = open_bundle(path)
    model = bundle.read(MODEL)
    made: list[tuple[str, EngineSidecar, dict[str, Content]]] = []
    with scratch(path) as folder:
        (folder / MODEL).write_bytes(model)
        (folder / "twin.onnx").write_bytes(twin_from_onnx(model))
        pair = (runner(folder / MODEL), runner(folder / "twin.onnx"))
        for options in wanted:
            built = build_engine(
                model, options, precision=bundle.manifest.precision, progress=progress
            )
            frame = _golden_frame(bundle, options.profile)
            sidecar = _proven(built, pair, bundle, frame, frames, engine_runner, folder)
            name = engine_name(sidecar)
            engine, beside, golden = files_of_engine(name)
            files: dict[str, Content] = {
                engine: built.data,
                beside: sidecar.to_json().encode(),
                golden: golden_npz(frame, *pair, task=bundle.manifest.task),
            }
            made.append((name, sidecar, files))
    known = engines_of(bundle)
    replaced = [
        file
        for name, old in known.items()
        if any(_same_kind(old, new) for _, new, _ in made)
        for file in files_of_engine(name)
        if file in bundle.manifest.files
    ]
    added = {name: content for _, _, files in made for name, content in files.items()}
    update_bundle(bundle, add=added, remove=[name for name in replaced if name not in added])
    return [(name, sidecar) for name, sidecar, _ in made]


def prune_engines(path: Path, *, keep: Callable[[EngineSidecar], bool]) -> list[str]:
    """Takes out the engines for which ``keep`` is false.

    Returns:
        Names of the engines that are gone.
    """
    bundle = open_bundle(path)
    gone = [name for name, sidecar in engines_of(bundle).items() if not keep(sidecar)]
    files = [f for name in gone for f in files_of_engine(name) if f in bundle.manifest.files]
    if files:
        update_bundle(bundle, remove=files)
    return gone


def engine_name(sidecar: EngineSidecar) -> str:
    """File name that tells flavour, version, precision, GPU, shapes, and the contents' hash."""
    # Engine and sidecar together: other options may lead to the same engine.
    both = hashlib.sha256(sidecar.to_json().encode()).hexdigest()
    high = sidecar.profile.maximum
    where = sidecar.capability.replace(".", "") if sidecar.hardware != "any-rtx" else ""
    parts = [
        sidecar.flavour,
        sidecar.version,
        sidecar.precision_found,
        *([f"sm{where}"] if where else []),
        f"b{high[0]}-{high[1]}x{high[2]}",
        both[:8],
    ]
    return f"{FOLDER}/{'_'.join(parts)}.engine"


def profile_from_flags(frame: str | None, batch: str) -> Profile:
    """Reads ``--frame 1080x1920`` and ``--batch 1:4:8``; one value makes a static profile.

    Args:
        frame: Height x width; one, or minimum:best:maximum.
        batch: One number, or minimum:best:maximum.

    Raises:
        ConfigError: Not of that form, or not in rising order.
    """
    if not frame:
        raise ConfigError(
            "an engine is built for stated frame sizes and --frame is missing",
            remedy="give the size of your video, e.g. --frame 1080x1920 (height x width)",
        )
    sizes = [_numbers(part, 2, "--frame", frame) for part in _three(frame, "--frame")]
    counts = [_numbers(part, 1, "--batch", batch) for part in _three(batch, "--batch")]
    shapes = [(c[0], s[0], s[1]) for c, s in zip(counts, sizes, strict=True)]
    for low, high in itertools.pairwise(shapes):
        if any(a > b for a, b in zip(low, high, strict=True)):
            raise ConfigError(
                f"--frame {frame} --batch {batch} is not in rising order",
                remedy="write minimum:best:maximum, each no less than the last",
            )
    return Profile(minimum=shapes[0], optimum=shapes[1], maximum=shapes[2])


def _three(text: str, flag: str) -> list[str]:
    parts = text.split(":")
    if len(parts) not in (1, 3):
        raise ConfigError(
            f"{flag} is {text!r}, expected one value or minimum:best:maximum",
            remedy="e.g. --frame 1080x1920 --batch 1:4:8",
        )
    return parts * 3 if len(parts) == 1 else parts


def _numbers(part: str, count: int, flag: str, whole: str) -> list[int]:
    pieces = part.lower().split("x")
    if len(pieces) != count or not all(p.isascii() and p.isdigit() and int(p) for p in pieces):
        form = "HEIGHTxWIDTH" if count == 2 else "a number above 0"
        raise ConfigError(
            f"{flag} is {whole!r}, expected {form}", remedy="e.g. --frame 1080x1920 --batch 1:4:8"
        )
    return [int(piece) for piece in pieces]


def _golden_frame(bundle: Bundle, profile: Profile) -> Frame:
    """The bundle's golden frame at the engine's best size: an engine may take that one only."""
    with np.load(io.BytesIO(bundle.read(GOLDEN)), allow_pickle=False) as golden:
        frame: Frame = golden["frame"]
    _, height, width = profile.optimum
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _proven(
    built: BuiltEngine,
    pair: tuple[Infer, Infer],
    bundle: Bundle,
    golden: Frame,
    frames: Sequence[GateFrame],
    engine_runner: EngineRunner | None,
    folder: Path,
) -> EngineSidecar:
    """Runs the engine through the gate where that is possible, or says why it was not run."""
    graph = f"the {bundle.manifest.precision} graph it was built from passed the gate"
    if find_gpu() is None or engine_runner is None:
        why = "there is no NVIDIA GPU here" if find_gpu() is None else "no runner was given"
        return replace(built.sidecar, proof=f"the engine was not run: {why}; {graph}")
    # Laid out as in a bundle: the runtime reads the sidecar, and weights from the graph above.
    place = folder / "engines" / "built.engine"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(built.data)
    place.with_suffix(".json").write_text(built.sidecar.to_json(), encoding="utf-8")
    infer = engine_runner(built.sidecar.flavour, place, bundle.manifest)
    height, width = golden.shape[:2]
    count = built.sidecar.profile.minimum[0]
    images = [GateFrame(name="golden frame", image=golden)]
    for frame in frames:
        image = cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_LINEAR)
        images.append(GateFrame(name=frame.name, image=np.asarray(image, np.uint8)))
    report, _ = check_parity(
        pair[1],
        _padded(infer, count),
        images,
        bundle.manifest,
        names=("ONNX Runtime", f"{built.sidecar.flavour} {built.sidecar.version}"),
    )
    report.require()
    return replace(
        built.sidecar,
        proven=True,
        proof=f"{report.numbers['equal']:.4%} equal to ONNX Runtime on {len(images)} frames",
    )


def _padded(infer: Infer, least: int) -> Infer:
    """Repeats frames up to an engine's smallest batch and drops the surplus answers."""

    def run(frames: Frame) -> dict[str, Any]:
        answers: list[dict[str, Any]] = []
        for frame in frames:
            answer = infer(np.ascontiguousarray(np.repeat(frame[None], least, axis=0)))
            answers.append({name: value[:1] for name, value in answer.items()})
        return {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}

    return run


def _same_kind(old: EngineSidecar, new: EngineSidecar) -> bool:
    """Whether a new engine takes the old one's place."""
    return (old.flavour, old.gpu, old.hardware, old.precision, old.profile, old.platform) == (
        new.flavour,
        new.gpu,
        new.hardware,
        new.precision,
        new.profile,
        new.platform,
    )
