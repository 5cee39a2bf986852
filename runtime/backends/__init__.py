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
from trocar.runtime.backends.base import Backend, BackendOptions, HasManifest, TakesInputs

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendOptions",
    "HasManifest",
    "TakesInputs",
    "open_backend",
]

BACKENDS: Mapping[str, str] = {
    "onnxruntime": "cpu",
    "openvino": "openvino",
    "tensorrt": "gpu",
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
        name: One of `BACKENDS`.
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
        MissingExtraError: The backend's package is not installed.
        BundleError: The model cannot be loaded.
    """
    if name not in BACKENDS:
        raise BackendError(
            f"backend {unknown(name, BACKENDS)}", remedy=f"use one of {', '.join(BACKENDS)}"
        )
    options = BackendOptions(
        device=device,
        precision=precision,
        threads=threads,
        spinning=spinning,
        graphs=graphs,
        data=data,
    )
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
