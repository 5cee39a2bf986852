"""OpenVINO on the CPU, with its precision always stated: bfloat16 only when it is asked for.

    backend = open("openvino", Path("model.onnx"), None, precision="bf16")

Where the processor has bfloat16, OpenVINO uses it in silence. Here it is float32 unless asked.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from trocar.contract.errors import BackendError, BundleError
from trocar.contract.manifest import METADATA_KEY, Manifest
from trocar.runtime.devices import device_from_text, usable_cores
from trocar.runtime.frames import check_batch

_HINTS = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}
_NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}


class OpenVinoBackend:
    """One compiled model; every thread has a request of its own."""

    def __init__(self, compiled: Any, *, precision: str, manifest: Manifest | None) -> None:
        self.name = "openvino"
        self.device = "cpu"
        self.precision = precision
        self.manifest = manifest
        self._compiled = compiled
        self._names = [output.get_any_name() for output in compiled.outputs]
        self._own = threading.local()

    def infer(self, frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Runs uint8 ``[N, H, W, 3]`` RGB frames; gives the graph's outputs by name.

        Raises:
            ArgumentError: ``frames`` are of another type or shape.
            BackendError: OpenVINO failed while running.
        """
        frames = check_batch(frames)
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        try:
            request.infer([frames], share_inputs=True)
        except Exception as error:
            raise BackendError(
                f"OpenVINO failed on frames {list(frames.shape)}: {_first_line(error)}",
                remedy="check the free memory; `trocar inspect` says what the model takes",
            ) from error
        return {
            name: np.array(request.get_output_tensor(i).data, copy=True)
            for i, name in enumerate(self._names)
        }

    def close(self) -> None:
        """Drops the model."""
        self._own = threading.local()
        self._compiled = None


def open(
    name: str,
    model: Path,
    manifest: Manifest | None,
    *,
    device: str = "cpu",
    precision: str | None = None,
    threads: int | None = None,
) -> OpenVinoBackend:
    """Opens a model.

    Args:
        name: ``openvino``.
        model: The ONNX file.
        manifest: What it is; default: read from its metadata.
        device: ``cpu``.
        precision: The graph's own, or ``bf16`` for a float32 graph.
        threads: CPU threads; default: one for each usable core.

    Raises:
        BackendError: The device or the precision is not to be had.
        BundleError: The file is no model that OpenVINO can load.
    """
    if device_from_text(device).kind != "cpu":
        raise BackendError(
            f"{device} was asked for, but backend openvino runs on the CPU here",
            remedy="ask for --device cpu, or for another backend",
        )
    if not model.is_file():
        raise BundleError(f"there is no model at {model}", remedy="check the path")
    core = openvino.Core()
    try:
        graph = core.read_model(model)
    except Exception as error:
        raise BundleError(
            f"OpenVINO {openvino.__version__} cannot load {model}: {_first_line(error)}",
            remedy="export the bundle again, or use --backend onnxruntime",
        ) from error
    if manifest is None:
        manifest = _manifest_of(graph, model)
    held = "fp32" if manifest is None else manifest.precision
    wanted = precision or held
    _check_precision(core, wanted, held, model)
    settings = {
        # An int8 graph states its own precision; what is left of it is float32.
        "INFERENCE_PRECISION_HINT": _HINTS.get(wanted, openvino.Type.f32),
        "INFERENCE_NUM_THREADS": threads or usable_cores(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        compiled = core.compile_model(graph, "CPU", settings)
    except Exception as error:
        raise BundleError(
            f"OpenVINO cannot compile {model}: {_first_line(error)}",
            remedy="use --backend onnxruntime",
        ) from error
    given = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if wanted in _HINTS and _NAMES.get(given) != wanted:
        raise BackendError(
            f"precision {wanted} was asked for, but OpenVINO chose {given}",
            remedy="ask for --precision fp32, or for --backend onnxruntime",
        )
    return OpenVinoBackend(compiled, precision=wanted, manifest=manifest)


def _check_precision(core: Any, wanted: str, held: str, model: Path) -> None:
    if wanted == held:
        return
    if wanted != "bf16" or held != "fp32":
        raise BackendError(
            f"precision {wanted} was asked for, but the graph in {model.name} is {held}",
            remedy=f"export with --precision {wanted}",
        )
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise BackendError(
            "precision bf16 was asked for, but this processor has no bfloat16",
            remedy="ask for --precision fp32",
        )


def _manifest_of(graph: Any, model: Path) -> Manifest | None:
    for key in (["framework", METADATA_KEY], ["onnx", METADATA_KEY], [METADATA_KEY]):
        if graph.has_rt_info(key):
            return Manifest.from_json(str(graph.get_rt_info(key).value), source=str(model))
    return None


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
