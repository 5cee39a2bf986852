"""Opening a bundle or a bare ONNX file: which model runs, its options, its golden frame.

model = model_of(bundle, backend="onnxruntime", device="cpu", precision=None)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trocar.contract.bundle import GOLDEN, MODEL, Bundle
from trocar.contract.errors import BundleError, ConfigError, DataError
from trocar.contract.integrity.guard import check_guard, exported_text
from trocar.contract.location import LocationOptions, check_for_table
from trocar.contract.manifest import Manifest
from trocar.contract.media.pictures import read_bytes
from trocar.contract.tensorrt.engines import FLAVOURS, engines_of, files_of_engine
from trocar.runtime.backends import Backend, engine_selection
from trocar.runtime.enrolment.enroll import set_classes
from trocar.runtime.golden import check_outputs, golden_margin, replay

OpenModel = Callable[[Path, Manifest | None, bytes], Backend]
"""Opens a model: its file's name, its manifest where that is known, its bytes."""


@dataclass(frozen=True, kw_only=True)
class RunnableModel:
    """What of a bundle is run, and how its golden frame is replayed.

    Attributes:
        name: ``model.onnx`` or an engine.
        golden: Name of the golden frame's file.
        batch: How often the golden frame is repeated in its batch.
    """

    name: str
    golden: str
    batch: int


def location_of(
    manifest: Manifest, options: LocationOptions | None, changes: Mapping[str, Any] | None
) -> LocationOptions:
    """The options of location of a model, with changes; checked with its class table."""
    chosen = manifest.location_options if options is None else options
    if changes:
        chosen = chosen.changed(changes, source="location")
    if manifest.makes_labels:
        check_for_table(chosen, manifest.classes)
    return chosen


def check_fast_resize(manifest: Manifest, *, fast_resize: bool) -> None:
    """Refuses to resize frames before a graph that pads them: their sides would change their ratio.

    Raises:
        ConfigError: The graph pads frames.
    """
    resize = manifest.extra.get("instances", {}).get("resize", "stretch")
    if fast_resize and resize != "stretch":
        raise ConfigError(
            f"--fast-resize does not fit {manifest.name}: its graph pads frames ({resize})",
            remedy="leave --fast-resize out",
        )


def open_model_file(file: Path, open_model: OpenModel) -> tuple[Backend, Manifest]:
    """Opens a bare ``.onnx`` file; its manifest comes from its metadata."""
    try:
        data = read_bytes(file)
    except DataError as error:
        raise BundleError(error.message, remedy=error.remedy) from error
    text = exported_text(data)
    manifest = None if text is None else Manifest.from_json(text, source=str(file))
    if text is not None and manifest is not None:
        check_guard(text, manifest, data, source=str(file))
    backend = open_model(file, manifest, data)
    if manifest is None:
        backend.close()
        raise BundleError(
            f"{file} contains no Trocar manifest",
            remedy="name the bundle's folder, or make a bundle with `trocar import-onnx`",
        )
    return backend, manifest


def model_of(
    bundle: Bundle,
    *,
    backend: str,
    device: str,
    precision: str | None,
    frame_sizes: Sequence[tuple[int, int]] = (),
) -> RunnableModel:
    """The graph, or for a TensorRT backend the engine that fits this machine and the frames."""
    if backend not in FLAVOURS:
        return RunnableModel(name=MODEL, golden=GOLDEN, batch=1)
    name = engine_selection.find_engine(
        bundle, flavour=backend, device=device, precision=precision, frame_sizes=frame_sizes
    )
    # An engine for one frame size has a golden frame of that size.
    _, _, engine_golden = files_of_engine(name)
    return RunnableModel(
        name=name,
        golden=engine_golden if engine_golden in bundle.manifest.files else GOLDEN,
        batch=engines_of(bundle)[name].profile.minimum[0],
    )


def open_verified(bundle: Bundle, model: RunnableModel, open_model: OpenModel) -> Backend:
    """Opens the model, replays the golden frame, and hands over enrolled classes."""
    data = bundle.read(model.name)
    backend = open_model(bundle.path / model.name, bundle.manifest, data)
    try:
        margin = golden_margin(bundle.manifest, backend.precision)
        golden = bundle.read(model.golden)
        replay(backend, bundle.manifest, golden, margin=margin, batch=model.batch)
        set_classes(backend, bundle)
        if bundle.manifest.task == "classification":
            size = bundle.manifest.input.height, bundle.manifest.input.width
            outputs = backend.infer(np.zeros((model.batch, *size, 3), np.uint8))
            check_outputs(outputs, bundle.manifest, source=str(bundle.path))
    except BaseException:
        backend.close()
        raise
    return backend
