"""Opens trained networks, ONNX files and engines for the export, which knows neither package.

network, manifest = load_network(Path("runs/first"))
infer = open_model(Path("model.onnx"))
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import nn

    from trocar.contract.manifest import Manifest
    from trocar.export.parity.types import Infer, Outputs


def load_network(path: Path) -> tuple[nn.Module, Manifest]:
    """The deployable network of a run folder or checkpoint, and its manifest."""
    from trocar.train.state.checkpoint import load_deployable

    return load_deployable(path)


def open_model(model: Path) -> Infer:
    """Opens an ONNX file with the backend that will serve it on CPUs."""
    from trocar.runtime.backends import open_backend

    return open_backend("onnxruntime", model).infer


def open_nv12(model: Path) -> Callable[[Mapping[str, NDArray[Any]]], Outputs]:
    """Opens the graph for NV12 of a bundle with the backend that will serve it on CPUs."""
    from trocar.runtime.backends import TakesNamedInputs, open_backend

    backend = open_backend("onnxruntime", model)
    assert isinstance(backend, TakesNamedInputs)
    return backend.infer_inputs


def open_engine(flavour: str, engine: Path, manifest: Manifest) -> Infer:
    """Opens a serialized engine with the backend of its flavour, on the first GPU."""
    from trocar.runtime.backends import open_backend

    return open_backend(flavour, engine, manifest, device="cuda:0").infer
