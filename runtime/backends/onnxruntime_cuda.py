"""ONNX Runtime's CUDA provider: its libraries, its options, and what it must not be asked for.

    preload_libraries(); options = provider_options(device, graphs=False, tf32=False)

CUDA's libraries come with wheels that the dynamic loader does not search. ONNX Runtime finds them
only if it is told to load them before the first session.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import io
import re
from pathlib import Path
from typing import Any

import onnxruntime

from trocar.contract.errors import BackendError
from trocar.runtime.devices import Device

CUDA = "CUDAExecutionProvider"

MIN_VERSION = (1, 28)
"""First release whose CUDA provider runs all operators of an exported graph. Earlier ones run
Resize or ReduceMax on the CPU, copy the logits to the host and back in every frame, and refuse CUDA
graphs."""

INSTALL = "pip install 'trocar[gpu]', which brings onnxruntime-gpu[cuda,cudnn]>=1.28"


def check_version(version: str = onnxruntime.__version__) -> None:
    """Refuses an ONNX Runtime whose CUDA provider would leave a part of the graph on the CPU.

    Raises:
        BackendError: The version is older than `MIN_VERSION`.
    """
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < MIN_VERSION:
        wanted = ".".join(map(str, MIN_VERSION))
        raise BackendError(
            f"ONNX Runtime {version} runs a part of the graph on the CPU in every frame; CUDA "
            f"needs {wanted} or later",
            remedy=f"{INSTALL} (it needs Python 3.11 or later), or pass --device cpu",
        )


@functools.cache
def preload_libraries() -> tuple[str, ...]:
    """Loads CUDA and cuDNN from their wheels, or from where the dynamic loader looks.

    Returns:
        Names of the libraries that were not found; empty when all are loaded.
    """
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        # It prints what it does not find, and advice that does not fit a Trocar installation.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            preload()
    return tuple(
        name for name in library_names() if not any(_loads(path) for path in (name, *_wheels(name)))
    )


def library_names() -> tuple[str, ...]:
    """File names of the libraries that the CUDA provider needs on Linux, for its CUDA version."""
    major = str(getattr(onnxruntime, "cuda_version", "") or "13").partition(".")[0]
    own = ("libcudart", "libcublasLt", "libcublas")
    return (*(f"{name}.so.{major}" for name in own), "libcurand.so.10", "libcudnn.so.9")


def require_libraries(device: Device) -> None:
    """Loads the libraries of the CUDA provider, or says which are missing.

    Raises:
        BackendError: A library is missing; names it.
    """
    # Its warnings concern plugins that nobody asked for.
    onnxruntime.set_default_logger_severity(3)
    missing = preload_libraries()
    if missing:
        raise BackendError(
            f"{device} was requested, but ONNX Runtime's CUDA provider needs {', '.join(missing)}, "
            "which is in no installed package and in no folder of the dynamic loader",
            remedy=f"{INSTALL}; or add the folders of CUDA and cuDNN 9 to LD_LIBRARY_PATH",
        )


def provider_options(device: Device, *, graphs: bool, tf32: bool) -> dict[str, Any]:
    """Options of the CUDA provider.

    Args:
        device: The GPU.
        graphs: Whether work is recorded as a CUDA graph.
        tf32: Whether float32 products may be rounded to TF32. ONNX Runtime does so by default;
            here it must be asked for.
    """
    options: dict[str, Any] = {"device_id": device.index, "use_tf32": "1" if tf32 else "0"}
    if graphs:
        options["enable_cuda_graph"] = "1"
    return options


def check_precision(wanted: str | None, graph: str, device: Device, *, name: str) -> str:
    """The precision that a graph computes in on a device.

    Args:
        wanted: The precision that was asked for; ``None`` for the graph's own.
        graph: Precision of the graph.
        device: Where it runs.
        name: Name of the model, for errors.

    Returns:
        The graph's precision, or ``tf32`` for a float32 graph that was asked to use it on CUDA.

    Raises:
        BackendError: The precision is not available on this device.
    """
    if graph == "int8" and device.kind == "cuda":
        raise BackendError(
            f"{name} is int8, which ONNX Runtime's CUDA provider computes in float32 with copies "
            "to the CPU: slower than the fp32 graph",
            remedy="export with --precision fp16 for CUDA, build an engine "
            "(--int8-target tensorrt --engine tensorrt), or pass --device cpu",
        )
    if wanted == "tf32" and graph == "fp32" and device.kind == "cuda":
        return "tf32"
    if wanted == "tf32":
        raise BackendError(
            f"precision tf32 was requested for the {graph} graph in {name} on {device}; TF32 is "
            "for fp32 graphs on CUDA",
            remedy="leave --precision out, or use an fp32 bundle with --device cuda",
        )
    if wanted not in (None, graph):
        raise BackendError(
            f"precision {wanted} was requested, but the graph in {name} is {graph}",
            remedy=f"export with --precision {wanted}",
        )
    return graph


def _wheels(name: str) -> list[str]:
    """Files of that name in NVIDIA's wheels; ONNX Runtime looks beside its own package only."""
    spec = importlib.util.find_spec("nvidia")
    folders = () if spec is None else spec.submodule_search_locations or ()
    return [str(path) for folder in folders for path in Path(folder).glob(f"*/lib/{name}")]


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
