"""TensorRT 10, TensorRT 11 and TensorRT for RTX: runs a serialized engine.

    options = BackendOptions(device="cuda:0")
    backend = open_model("tensorrt", Path("engines/l4.engine"), manifest, options)

Each thread has its own execution contexts, streams and buffers: see `engine_lanes`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import MODEL, sha256_of
from trocar.contract.errors import BackendError, BundleError, IntegrityError
from trocar.contract.manifest import Manifest
from trocar.contract.tensorrt.engines import (
    EngineSidecar,
    Profile,
    import_library,
    rebuild_command,
)
from trocar.runtime.backends.base import BackendOptions, refuse_options
from trocar.runtime.backends.cuda_driver import BindingsDriver, Driver
from trocar.runtime.backends.engine_lanes import EngineLanes, Ports
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
        self._driver = driver
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        modes = {n: engine.get_tensor_mode(n).name for n in names}
        types = {n: _numpy_type(engine.get_tensor_dtype(n), n) for n in names}
        inputs = [n for n in names if modes[n] == "INPUT"]
        if len(inputs) != 1 or types[inputs[0]] != np.uint8:
            raise BundleError(
                f"the engine takes {', '.join(inputs)}, expected one input of uint8 frames",
                remedy="build it again with `trocar export BUNDLE --engine …`",
            )
        low, best, high = (
            (int(shape[0]), int(shape[1]), int(shape[2]))
            for shape in engine.get_tensor_profile_shape(inputs[0], 0)
        )
        self.profile = Profile(minimum=low, optimum=best, maximum=high)
        outputs = [n for n in names if modes[n] == "OUTPUT"]
        ports = Ports(entry=inputs[0], outputs=outputs, types=types)
        self._lanes = EngineLanes(engine, driver, ports, graphs=graphs, profile=str(self.profile))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know: shapes that run without a CUDA graph."""
        return tuple(self._lanes.notes)

    def infer(self, frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Runs uint8 ``[N, H, W, 3]`` RGB frames; gives the graph's outputs by name.

        Raises:
            ArgumentError: ``frames`` are of another type or shape.
            BackendError: The engine's profile excludes the shape, or CUDA failed.
        """
        frames = check_batch(frames)
        with self._driver.current():
            try:
                return self._lanes.lane(frames.shape).run(frames)
            except BackendError:
                raise
            except Exception as error:
                self._lanes.drop(frames.shape)
                raise BackendError(
                    f"{self.name} failed on frames {list(frames.shape)}: {error}",
                    remedy="check the GPU's free memory with nvidia-smi",
                ) from error

    def close(self) -> None:
        """Frees contexts, buffers and the engine, in that order."""
        self._lanes.close()
        self._driver.close()


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
    driver: Driver = BindingsDriver(device.index)
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
