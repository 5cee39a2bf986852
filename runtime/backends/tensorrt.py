"""TensorRT 10, TensorRT 11 and TensorRT for RTX: a serialized engine, run on a stream of its own.

    backend = open("tensorrt", Path("engines/l4.engine"), manifest, device="cuda:0")

Each thread has its own execution context, stream and buffers. The buffers are allocated once for a
shape; from the second frame of that shape on, copies and kernels are one CUDA graph.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import MODEL, sha256_of
from trocar.contract.engines import EngineSidecar, import_library, rebuild_command
from trocar.contract.errors import BackendError, BundleError
from trocar.contract.manifest import Manifest
from trocar.runtime.backends.cuda_driver import Driver, PycudaDriver
from trocar.runtime.devices import device_from_text, require_cuda
from trocar.runtime.frames import check_batch

_TYPES = {
    "UINT8": np.uint8,
    "INT8": np.int8,
    "BOOL": np.bool_,
    "INT32": np.int32,
    "INT64": np.int64,
    "HALF": np.float16,
    "FLOAT": np.float32,
}


@dataclass
class _Lane:
    """What one thread needs to run an engine."""

    context: Any
    stream: Any
    shape: tuple[int, ...] = ()
    host: dict[str, NDArray[Any]] = field(default_factory=dict)
    raw: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    runs: int = 0
    graph: Callable[[], None] | None = None


class TensorRtBackend:
    """An engine of either flavour; safe to call from several threads.

    Args:
        engine: A deserialized ``ICudaEngine``.
        driver: CUDA.
        name: ``tensorrt`` or ``tensorrt-rtx``.
        device: e.g. ``cuda:0``.
        precision: What the engine computes in, as its sidecar says.
        graphs: Whether to record CUDA graphs.
    """

    def __init__(
        self,
        engine: Any,
        driver: Driver,
        *,
        name: str,
        device: str,
        precision: str,
        manifest: Manifest | None = None,
        graphs: bool = True,
    ) -> None:
        self.name = name
        self.device = device
        self.precision = precision
        self.manifest = manifest
        self._engine = engine
        self._driver = driver
        self._graphs = graphs
        self._lanes: dict[int, _Lane] = {}
        self._lock = threading.Lock()
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        modes = {n: engine.get_tensor_mode(n).name for n in names}
        self._types = {n: _numpy_type(engine.get_tensor_dtype(n), n) for n in names}
        self._inputs = [n for n in names if modes[n] == "INPUT"]
        self._outputs = [n for n in names if modes[n] == "OUTPUT"]
        if len(self._inputs) != 1 or self._types[self._inputs[0]] != np.uint8:
            raise BundleError(
                f"the engine takes {', '.join(self._inputs)}, expected one input of uint8 frames",
                remedy="build it again with `trocar export BUNDLE --engine …`",
            )

    def infer(self, frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Runs uint8 ``[N, H, W, 3]`` RGB frames; gives the graph's outputs by name.

        Raises:
            ArgumentError: ``frames`` are of another type or shape.
            BackendError: The engine's profile excludes the shape, or CUDA failed.
        """
        frames = check_batch(frames)
        with self._driver.current():
            lane = self._lane()
            try:
                if lane.shape != frames.shape:
                    self._resize(lane, frames.shape)
                np.copyto(lane.host[self._inputs[0]], frames)
                self._go(lane)
                self._driver.wait(lane.stream)
            except BackendError:
                raise
            except Exception as error:
                lane.shape, lane.graph = (), None
                raise BackendError(
                    f"{self.name} failed on frames {list(frames.shape)}: {error}",
                    remedy="check the GPU's free memory with nvidia-smi",
                ) from error
            # Copies, because the buffers are written again by the next call.
            return {name: lane.host[name].copy() for name in self._outputs}

    def close(self) -> None:
        """Gives contexts, buffers and the engine back, in that order."""
        with self._driver.current():
            for lane in self._lanes.values():
                self._driver.wait(lane.stream)
            self._lanes.clear()
            self._engine = None
        self._driver.close()

    def _lane(self) -> _Lane:
        key = threading.get_ident()
        with self._lock:
            lane = self._lanes.get(key)
            if lane is None:
                context = self._engine.create_execution_context()
                if context is None:
                    raise BackendError(
                        "TensorRT made no execution context", remedy="check the GPU's free memory"
                    )
                lane = self._lanes[key] = _Lane(context, self._driver.stream())
        return lane

    def _resize(self, lane: _Lane, shape: tuple[int, ...]) -> None:
        """Sets the input's shape and makes buffers for it."""
        lane.shape, lane.graph, lane.runs = (), None, 0
        if not lane.context.set_input_shape(self._inputs[0], shape):
            raise BackendError(
                f"the engine does not take frames {list(shape)}: its profile takes {self._range()}",
                remedy=f"trocar export BUNDLE --engine {self.name} "
                f"--engine-shape {shape[2]}x{shape[1]} --batch {shape[0]}",
            )
        for name in [*self._inputs, *self._outputs]:
            size = tuple(int(d) for d in lane.context.get_tensor_shape(name))
            if any(d < 0 for d in size):
                raise BackendError(
                    f"output {name} has no known size {list(size)}",
                    remedy="build the engine again; outputs may not depend on values",
                )
            kind = self._types[name]
            nbytes = prod(size) * kind.itemsize
            raw = self._driver.pinned(nbytes)
            lane.raw[name] = raw
            lane.host[name] = raw[:nbytes].view(kind).reshape(size)
            lane.device[name] = self._driver.device(nbytes)
            if not lane.context.set_tensor_address(name, int(lane.device[name])):
                raise BackendError(f"TensorRT refused the buffer of {name}", remedy="report this")
        lane.shape = shape

    def _go(self, lane: _Lane) -> None:
        if lane.graph is None and self._graphs and lane.runs == 1:
            # Recorded on the second run: the first lets the engine allocate what it needs.
            lane.graph = self._driver.capture(lane.stream, lambda: self._enqueue(lane))
        lane.runs += 1
        if lane.graph is not None:
            lane.graph()
        else:
            self._enqueue(lane)

    def _enqueue(self, lane: _Lane) -> None:
        entry = self._inputs[0]
        self._driver.to_device(lane.device[entry], lane.raw[entry], lane.stream)
        if not lane.context.execute_async_v3(lane.stream.handle):
            raise RuntimeError("execute_async_v3 failed; its log says why")
        for name in self._outputs:
            self._driver.to_host(lane.raw[name], lane.device[name], lane.stream)

    def _range(self) -> str:
        low, _, high = self._engine.get_tensor_profile_shape(self._inputs[0], 0)
        return f"{list(low)} to {list(high)}"


def _numpy_type(kind: Any, tensor: str) -> np.dtype[Any]:
    found = _TYPES.get(kind.name)
    if found is None:
        raise BundleError(
            f"the engine's {tensor} is of type {kind.name}, which NumPy does not have",
            remedy="build it again with `trocar export BUNDLE --engine …`",
        )
    return np.dtype(found)


def open(
    name: str,
    model: Path,
    manifest: Manifest | None,
    *,
    device: str = "cuda",
    precision: str | None = None,
    threads: int | None = None,
    graphs: bool = True,
) -> TensorRtBackend:
    """Loads a serialized engine whose sidecar lies beside it.

    Args:
        name: ``tensorrt`` or ``tensorrt-rtx``.
        model: The engine file.
        manifest: What the model is.
        device: ``cuda`` or ``cuda:N``.
        precision: Must be what the engine computes in.
        threads: Nothing to an engine.
        graphs: Whether to record CUDA graphs.

    Raises:
        BackendError: No GPU, or TensorRT does not take the engine.
        BundleError: There is no engine or no sidecar.
    """
    wanted = device_from_text("cuda" if device == "cpu" else device)
    # A TensorRT runtime made without a driver hands back an object that crashes when used.
    require_cuda(wanted)
    beside = model.with_suffix(".json")
    if not model.is_file() or not beside.is_file():
        raise BundleError(
            f"there is no engine with its sidecar at {model}",
            remedy="build one with `trocar export BUNDLE --engine …`",
        )
    sidecar = EngineSidecar.from_json(beside.read_bytes(), source=str(beside))
    if precision is not None and precision != sidecar.precision_found:
        raise BackendError(
            f"precision {precision} was asked for, but {model.name} computes in "
            f"{sidecar.precision_found}",
            remedy=f"export with --precision {precision}, then build the engine",
        )
    trt = import_library(name)
    driver = PycudaDriver(wanted.index)
    try:
        with driver.current():
            engine = _load(trt, model, sidecar)
        return TensorRtBackend(
            engine,
            driver,
            name=name,
            device=str(wanted),
            precision=sidecar.precision_found,
            manifest=manifest,
            graphs=graphs,
        )
    except BaseException:
        driver.close()
        raise


def _load(trt: Any, model: Path, sidecar: EngineSidecar) -> Any:
    logger = trt.Logger(trt.Logger.ERROR)
    runtime = trt.Runtime(logger)
    if sidecar.version_compatible:
        # Such an engine brings the small runtime of the version that built it.
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(model.read_bytes())
    if engine is None:
        raise BackendError(
            f"{sidecar.flavour} {trt.__version__} does not load {model.name}",
            remedy="`trocar inspect` says what it was built for; build it again for this machine",
        )
    if sidecar.stripped:
        refitter = trt.Refitter(engine, logger)
        parser = trt.OnnxParserRefitter(refitter, logger)
        onnx = model.parent.parent / MODEL
        if not onnx.is_file() or sha256_of(onnx) != sidecar.onnx_sha256:
            raise BackendError(
                f"{model.name} holds no weights, and {onnx} is not the graph it was built from",
                remedy=rebuild_command(sidecar, str(onnx.parent)),
            )
        if not parser.refit_from_file(str(onnx)) or not refitter.refit_cuda_engine():
            raise BackendError(
                f"{model.name} holds no weights and does not take those of {onnx}",
                remedy=f"{rebuild_command(sidecar, str(onnx.parent))}, without --strip-weights",
            )
    return engine
