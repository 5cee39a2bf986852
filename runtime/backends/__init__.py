"""Backends: what runs the graph. One file each, imported when it is asked for.

backend = open_backend("onnxruntime", Path("model.onnx"), manifest, device="cpu")
backend.infer(frames)["labels"]
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from trocar.contract.config import unknown
from trocar.contract.errors import BackendError, MissingExtraError
from trocar.contract.manifest import Manifest

BACKENDS: Mapping[str, str] = {
    "onnxruntime": "",
    "openvino": "openvino",
    "tensorrt": "gpu",
    "tensorrt-rtx": "rtx",
}
"""Extra that each backend's package comes from, by name; empty for a plain install."""

_MODULES = {"tensorrt-rtx": "tensorrt"}


class Backend(Protocol):
    """What a session needs of an engine.

    Attributes:
        name: e.g. ``onnxruntime``.
        device: e.g. ``cpu`` or ``cuda:0``.
        precision: What the arithmetic really is, e.g. ``fp32``.
    """

    @property
    def name(self) -> str:
        """Name of the backend."""
        ...

    @property
    def device(self) -> str:
        """Device in use."""
        ...

    @property
    def precision(self) -> str:
        """Precision in use."""
        ...

    def infer(self, frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Runs uint8 ``[N, H, W, 3]`` RGB frames; gives the graph's outputs by name.

        The arrays belong to the caller: no later call changes them.
        """
        ...

    def close(self) -> None:
        """Gives back what the backend holds; it is not used again."""
        ...


def open_backend(
    name: str,
    model: Path,
    manifest: Manifest | None = None,
    *,
    device: str = "cpu",
    precision: str | None = None,
    threads: int | None = None,
    **options: Any,
) -> Backend:
    """Opens a model with the named backend: what was asked for, or an error.

    Args:
        name: One of `BACKENDS`.
        model: ``model.onnx``, or a serialized engine for the TensorRT backends.
        manifest: What the model is; by default read from the model's metadata.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: What the arithmetic must be; default: what the graph says.
        threads: CPU threads; default: one for each usable core.
        options: The backend's own.

    Raises:
        BackendError: Unknown backend, or device or precision that it cannot give.
        MissingExtraError: Its package is not installed.
        BundleError: The model cannot be loaded.
    """
    if name not in BACKENDS:
        raise BackendError(
            f"backend {unknown(name, BACKENDS)}", remedy=f"one of {', '.join(BACKENDS)}"
        )
    try:
        module = importlib.import_module(
            f"trocar.runtime.backends.{_MODULES.get(name, name.replace('-', '_'))}"
        )
        opened: Backend = module.open(
            name,
            model,
            manifest,
            device=device,
            precision=precision,
            threads=threads,
            **options,
        )
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("trocar"):
            raise
        raise MissingExtraError(
            f"backend {name} needs the Python package {error.name!r}, which is not installed",
            remedy=f"pip install 'trocar[{BACKENDS[name]}]'" if BACKENDS[name] else "reinstall",
        ) from error
    return opened
