"""OpenVINO on the CPU. The precision is always set: bfloat16 only on request.

    backend = open_model("openvino", Path("model.onnx"), None, BackendOptions(precision="bf16"))

On processors with bfloat16, OpenVINO uses it by default without a message. Here the default is the
graph's own precision.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from trocar.contract.errors import BackendError, BundleError
from trocar.contract.manifest import METADATA_KEY, Manifest
from trocar.runtime.backends.base import BackendOptions, refuse_options
from trocar.runtime.devices import device_from_text, usable_cores
from trocar.runtime.frames import check_batch

_HINTS = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}
_NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}


class OpenVinoBackend:
    """One compiled model; each thread has its own inference request."""

    def __init__(self, compiled: Any, *, precision: str, manifest: Manifest | None) -> None:
        self.name = "openvino"
        self.device = "cpu"
        self.precision = precision
        self.manifest = manifest
        self._compiled = compiled
        self._names = [output.get_any_name() for output in compiled.outputs]
        self._local = threading.local()

    def infer(self, frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Runs uint8 ``[N, H, W, 3]`` RGB frames; returns the graph's outputs by name.

        Raises:
            ArgumentError: ``frames`` are of another type or shape.
            BackendError: OpenVINO failed while running.
        """
        return self._run([check_batch(frames)], frames.shape)

    def infer_inputs(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Runs the graph's inputs by name, batch first; returns its outputs by name.

        Raises:
            BackendError: OpenVINO failed while running.
        """
        return self._run(dict(inputs), next(iter(inputs.values())).shape)

    def _run(self, inputs: Any, shape: tuple[int, ...]) -> dict[str, NDArray[Any]]:
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        try:
            request.infer(inputs, share_inputs=True)
        except Exception as error:
            raise BackendError(
                f"OpenVINO failed on frames {list(shape)}: {_last_line(error)}",
                remedy="check the free memory; `trocar inspect` shows the model's input",
            ) from error
        return {
            name: np.array(request.get_output_tensor(i).data, copy=True)
            for i, name in enumerate(self._names)
        }

    def close(self) -> None:
        """Frees the model."""
        self._local = threading.local()
        self._compiled = None


def open_model(
    name: str, model: Path, manifest: Manifest | None, options: BackendOptions
) -> OpenVinoBackend:
    """Opens a model on the CPU.

    Args:
        name: ``openvino``.
        model: The ONNX file.
        manifest: The model's manifest; ``None``: read from its metadata.
        options: ``device`` must be ``cpu``. ``precision`` must be the graph's own, or ``bf16`` for
            a float32 graph.

    Raises:
        BackendError: The device or the precision is not available, or an option is not supported.
        BundleError: OpenVINO cannot load the file.
    """
    refuse_options(name, spinning=options.spinning, graphs=options.graphs)
    if device_from_text(options.device).kind != "cpu":
        raise BackendError(
            f"{options.device} was requested, but backend openvino runs on the CPU here",
            remedy="pass --device cpu, or use another backend",
        )
    if options.data is None and not model.is_file():
        raise BundleError(f"there is no model at {model}", remedy="check the path")
    core = openvino.Core()
    try:
        graph = core.read_model(model if options.data is None else io.BytesIO(options.data))
    except Exception as error:
        raise BundleError(
            f"OpenVINO {openvino.__version__} cannot load {model}: {_last_line(error)}",
            remedy="use --backend onnxruntime, or export the bundle again",
        ) from error
    if manifest is None:
        manifest = _manifest_of(graph, model)
    graph_precision = "fp32" if manifest is None else manifest.precision
    precision = options.precision or graph_precision
    _check_precision(core, precision, graph_precision, model)
    settings = {
        # An int8 graph states its own precision; its remaining float operations are float32.
        "INFERENCE_PRECISION_HINT": _HINTS.get(precision, openvino.Type.f32),
        "INFERENCE_NUM_THREADS": options.threads or usable_cores(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        compiled = core.compile_model(graph, "CPU", settings)
    except Exception as error:
        raise BundleError(
            f"OpenVINO cannot compile {model}: {_last_line(error)}",
            remedy="use --backend onnxruntime",
        ) from error
    chosen = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if precision in _HINTS and _NAMES.get(chosen) != precision:
        raise BackendError(
            f"precision {precision} was requested, but OpenVINO chose {chosen}",
            remedy="pass --precision fp32, or use --backend onnxruntime",
        )
    return OpenVinoBackend(compiled, precision=precision, manifest=manifest)


def _check_precision(core: Any, wanted: str, graph_precision: str, model: Path) -> None:
    if wanted == graph_precision:
        return
    if wanted != "bf16" or graph_precision != "fp32":
        raise BackendError(
            f"precision {wanted} was requested, but the graph in {model.name} is {graph_precision}",
            remedy=f"export with --precision {wanted}",
        )
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise BackendError(
            "precision bf16 was requested, but this processor has no bfloat16",
            remedy="pass --precision fp32",
        )


def _manifest_of(graph: Any, model: Path) -> Manifest | None:
    for key in (["framework", METADATA_KEY], ["onnx", METADATA_KEY], [METADATA_KEY]):
        if graph.has_rt_info(key):
            return Manifest.from_json(str(graph.get_rt_info(key).value), source=str(model))
    return None


def _last_line(error: BaseException) -> str:
    """OpenVINO's messages end with the reason; they begin with its source files."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
