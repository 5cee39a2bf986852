"""Backends run the graph. One module each, imported when it is opened.

backend = open_backend("onnxruntime", Path("model.onnx"), manifest, device="cpu")
backend.infer(frames)["labels"]
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

from trocar.contract.config import unknown
from trocar.contract.errors import BackendError, MissingExtraError
from trocar.contract.manifest import Manifest
from trocar.contract.plug_ins import (
    PlugIn,
    blamed,
    check_object,
    guard_methods,
    load,
    plug_ins,
)
from trocar.runtime.backends.base import (
    Backend,
    BackendOptions,
    HasManifest,
    HasNotes,
    HasProfile,
    TakesDeviceInputs,
    TakesInputs,
    TakesNamedInputs,
)

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendOptions",
    "HasManifest",
    "HasNotes",
    "HasProfile",
    "TakesDeviceInputs",
    "TakesInputs",
    "TakesNamedInputs",
    "backend_names",
    "open_backend",
]

BACKENDS: Mapping[str, str] = {
    "onnxruntime": "cpu",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "rtx",
}
"""Extra that installs each backend's package, by name."""

# Importing OpenVINO sends usage statistics, unless the package that sends them cannot be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

_MODULES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt",
}


def backend_names() -> list[str]:
    """Trocar's own backends, then those of plug-ins; imports none of them."""
    return [*BACKENDS, *plug_ins("backends", own=BACKENDS)]


def open_backend(
    name: str,
    model: Path,
    manifest: Manifest | None = None,
    *,
    device: str = "cpu",
    precision: str | None = None,
    threads: int | None = None,
    spinning: bool | None = None,
    graphs: bool | None = None,
    data: bytes | None = None,
) -> Backend:
    """Opens a model with the named backend, or raises; there is no fallback.

    Args:
        name: One of `backend_names`.
        model: ``model.onnx``, or a serialized engine for the TensorRT backends.
        manifest: The model's manifest; default: read from its metadata.
        device: See `BackendOptions`, as for all further arguments.
        precision: Required precision; default: the graph's own.
        threads: CPU threads; default: one per usable core.
        spinning: Whether idle threads spin.
        graphs: Whether CUDA graphs are recorded.
        data: The model's bytes, if they were read and checked already.

    Raises:
        BackendError: Unknown backend, or an option that the backend does not support.
        ConfigError: The backend is a plug-in's and does not work.
        MissingExtraError: The backend's package is not installed.
        BundleError: The model cannot be loaded.
    """
    plug_in = None if name in BACKENDS else plug_ins("backends", own=BACKENDS).get(name)
    if name not in BACKENDS and plug_in is None:
        names = backend_names()
        raise BackendError(
            f"backend {unknown(name, names)}", remedy=f"use one of {', '.join(names)}"
        )
    options = BackendOptions(
        device=device,
        precision=precision,
        threads=threads,
        spinning=spinning,
        graphs=graphs,
        data=data,
    )
    if plug_in is not None:
        return _open_added(plug_in, model, manifest, options)
    try:
        module = importlib.import_module(f"trocar.runtime.backends.{_MODULES[name]}")
        backend: Backend = module.open_model(name, model, manifest, options)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("trocar"):
            raise
        extra = BACKENDS[name]
        raise MissingExtraError(
            f"backend {name} needs the Python package {error.name!r}, which is not installed",
            remedy=f"pip install 'trocar[{extra}]'",
        ) from error
    return backend


def _open_added(
    plug_in: PlugIn, model: Path, manifest: Manifest | None, options: BackendOptions
) -> Backend:
    opener = load(plug_in)
    with blamed(plug_in):
        backend: Backend = opener.open_model(plug_in.name, model, manifest, options)
        check_object(plug_in, backend, ("name", "device", "precision", "infer", "close"))
    guard_methods(plug_in, backend, ("infer",))
    return backend
