"""TensorRT 10, TensorRT 11 and TensorRT for RTX: runs a serialized engine.

    options = BackendOptions(device="cuda:0")
    backend = open_model("tensorrt", Path("engines/l4.engine"), manifest, options)

Each thread has its own execution context, stream and buffers. Buffers are allocated once per input
shape. From the second frame of a shape on, copies and kernels are one CUDA graph.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import MODEL, sha256_of
from trocar.contract.errors import BackendError, BundleError, IntegrityError
from trocar.contract.manifest import Manifest
from trocar.contract.tensorrt.engines import EngineSidecar, import_library, rebuild_command
from trocar.runtime.backends.base import BackendOptions, refuse_options
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
class _ExecutionSlot:
    """Execution context, stream and buffers of one thread."""

    context: Any
    stream: Any
    shape: tuple[int, ...] = ()
    host: dict[str, NDArray[Any]] = field(default_factory=dict)
    raw: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    num_runs: int = 0
    graph: Callable[[], None] | None = None


class TensorRtBackend:
    """An engine of either flavour; safe to call from several threads.

    Args:
        engine: A deserialized ``ICudaEngine``.
        driver: CUDA.
        name: ``tensorrt`` or ``tensorrt-rtx``.
        device: e.g. ``cuda:0``.
        precision: What the engine computes in, as its sidecar says.
        graphs: Whether CUDA graphs are recorded.
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
        self._slots: dict[int, _ExecutionSlot] = {}
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
            slot = self._slot()
            try:
                if slot.shape != frames.shape:
                    self._resize(slot, frames.shape)
                np.copyto(slot.host[self._inputs[0]], frames)
                self._run(slot)
                self._driver.wait(slot.stream)
            except BackendError:
                raise
            except Exception as error:
                slot.shape, slot.graph = (), None
                raise BackendError(
                    f"{self.name} failed on frames {list(frames.shape)}: {error}",
                    remedy="check the GPU's free memory with nvidia-smi",
                ) from error
            # Copies, because the next call writes into the same buffers.
            return {name: slot.host[name].copy() for name in self._outputs}

    def close(self) -> None:
        """Frees contexts, buffers and the engine, in that order."""
        with self._driver.current():
            for slot in self._slots.values():
                self._driver.wait(slot.stream)
            self._slots.clear()
            self._engine = None
        self._driver.close()

    def _slot(self) -> _ExecutionSlot:
        key = threading.get_ident()
        with self._lock:
            slot = self._slots.get(key)
            if slot is None:
                context = self._engine.create_execution_context()
                if context is None:
                    raise BackendError(
                        "TensorRT created no execution context",
                        remedy="check the GPU's free memory",
                    )
                slot = self._slots[key] = _ExecutionSlot(context, self._driver.stream())
        return slot

    def _resize(self, slot: _ExecutionSlot, shape: tuple[int, ...]) -> None:
        """Sets the input's shape and allocates buffers for it."""
        slot.shape, slot.graph, slot.num_runs = (), None, 0
        if not slot.context.set_input_shape(self._inputs[0], shape):
            raise BackendError(
                f"the engine does not take frames {list(shape)}: its profile takes {self._range()}",
                remedy=f"trocar export BUNDLE --engine {self.name} "
                f"--engine-shape {shape[2]}x{shape[1]} --batch {shape[0]}",
            )
        for name in [*self._inputs, *self._outputs]:
            size = tuple(int(d) for d in slot.context.get_tensor_shape(name))
            if any(d < 0 for d in size):
                raise BackendError(
                    f"output {name} has an unknown size {list(size)}",
                    remedy="build the engine again; outputs may not depend on values",
                )
            kind = self._types[name]
            nbytes = prod(size) * kind.itemsize
            raw = self._driver.pinned(nbytes)
            slot.raw[name] = raw
            slot.host[name] = raw[:nbytes].view(kind).reshape(size)
            slot.device[name] = self._driver.device(nbytes)
            if not slot.context.set_tensor_address(name, int(slot.device[name])):
                raise BackendError(
                    f"TensorRT refused the buffer of {name}", remedy="report this as a bug"
                )
        slot.shape = shape

    def _run(self, slot: _ExecutionSlot) -> None:
        if slot.graph is None and self._graphs and slot.num_runs == 1:
            # Recorded on the second run: during the first run the engine allocates memory.
            slot.graph = self._driver.capture(slot.stream, lambda: self._enqueue(slot))
        slot.num_runs += 1
        if slot.graph is not None:
            slot.graph()
        else:
            self._enqueue(slot)

    def _enqueue(self, slot: _ExecutionSlot) -> None:
        entry = self._inputs[0]
        self._driver.to_device(slot.device[entry], slot.raw[entry], slot.stream)
        if not slot.context.execute_async_v3(slot.stream.handle):
            raise RuntimeError("execute_async_v3 failed; its log says why")
        for name in self._outputs:
            self._driver.to_host(slot.raw[name], slot.device[name], slot.stream)

    def _range(self) -> str:
        low, _, high = self._engine.get_tensor_profile_shape(self._inputs[0], 0)
        return f"{list(low)} to {list(high)}"


def _numpy_type(kind: Any, tensor: str) -> np.dtype[Any]:
    numpy_type = _TYPES.get(kind.name)
    if numpy_type is None:
        raise BundleError(
            f"the engine's {tensor} is of type {kind.name}, which NumPy does not have",
            remedy="build it again with `trocar export BUNDLE --engine …`",
        )
    return np.dtype(numpy_type)


def open_model(
    name: str, model: Path, manifest: Manifest | None, options: BackendOptions
) -> TensorRtBackend:
    """Loads a serialized engine with its sidecar.

    Args:
        name: ``tensorrt`` or ``tensorrt-rtx``.
        model: The engine file; the sidecar is the file of the same name with suffix ``.json``.
        manifest: The model's manifest.
        options: ``precision`` must be the engine's own, ``threads`` has no effect, ``graphs`` is on
            by default.

    Raises:
        BackendError: There is no GPU, TensorRT refuses the engine, or an option is not supported.
        BundleError: The engine or its sidecar is missing.
    """
    refuse_options(name, spinning=options.spinning)
    device = device_from_text("cuda" if options.device == "cpu" else options.device)
    # Without a driver, trt.Runtime() returns an object that crashes on use.
    require_cuda(device)
    beside = model.with_suffix(".json")
    if not model.is_file() or not beside.is_file():
        raise BundleError(
            f"there is no engine with its sidecar at {model}",
            remedy="build one with `trocar export BUNDLE --engine …`",
        )
    sidecar = _sidecar(beside, manifest)
    if options.precision not in (None, sidecar.precision_found):
        raise BackendError(
            f"precision {options.precision} was requested, but {model.name} computes in "
            f"{sidecar.precision_found}",
            remedy=f"export with --precision {options.precision}, then build the engine",
        )
    trt = import_library(name)
    driver = PycudaDriver(device.index)
    try:
        with driver.current():
            engine = _load(trt, model, sidecar, options.data)
        return TensorRtBackend(
            engine,
            driver,
            name=name,
            device=str(device),
            precision=sidecar.precision_found,
            manifest=manifest,
            graphs=options.graphs is not False,
        )
    except BaseException:
        driver.close()
        raise


def _sidecar(file: Path, manifest: Manifest | None) -> EngineSidecar:
    """The sidecar of an engine, whose bytes have the hash that the manifest lists, if any."""
    data = file.read_bytes()
    listed = None if manifest is None else manifest.files.get(f"{file.parent.name}/{file.name}")
    if listed is not None and hashlib.sha256(data).hexdigest() != listed:
        raise IntegrityError(
            f"{file} differs from what was exported: its SHA-256 is not the manifest's",
            remedy="copy the bundle again from where it was made",
        )
    return EngineSidecar.from_json(data, source=str(file))


def _load(trt: Any, model: Path, sidecar: EngineSidecar, data: bytes | None = None) -> Any:
    logger = trt.Logger(trt.Logger.ERROR)
    runtime = trt.Runtime(logger)
    if sidecar.version_compatible:
        # Such an engine contains the lean runtime of the version that built it.
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(model.read_bytes() if data is None else data)
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
