"""ONNX Runtime on the CPU or on CUDA, without a fallback from CUDA to the CPU.

    backend = open_model("onnxruntime", Path("model.onnx"), None, BackendOptions(device="cpu"))

ONNX Runtime lists CUDA even if it cannot work, and then falls back to the CPU with a warning. Here
the driver is checked before the session is created, the session's providers are checked after it,
and a fallback is an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from trocar.contract.errors import BackendError, BundleError
from trocar.contract.manifest import METADATA_KEY, Manifest
from trocar.contract.text.words import first_line
from trocar.runtime.backends.base import BackendOptions
from trocar.runtime.backends.cuda_graph import CudaGraphCache
from trocar.runtime.backends.onnxruntime_cuda import (
    CUDA,
    check_precision,
    check_version,
    provider_options,
    require_libraries,
)
from trocar.runtime.device_memory.binding import run_bound
from trocar.runtime.devices import Device, device_from_text, require_cuda, usable_cores
from trocar.runtime.frames import check_batch


class OnnxRuntimeBackend:
    """One `InferenceSession`; safe to call from several threads."""

    def __init__(
        self,
        session: Any,
        *,
        device: Device,
        precision: str,
        manifest: Manifest | None,
        graphs: bool = False,
    ) -> None:
        self.name = "onnxruntime"
        self.device = str(device)
        self.precision = precision
        self.manifest = manifest
        self.session = session
        self._frame_input = session.get_inputs()[0].name
        self._outputs = [output.name for output in session.get_outputs()]
        self._uses_cuda = device.kind == "cuda"
        self._device_index = device.index
        self._inputs: dict[str, NDArray[Any]] = {}
        self._graphs = CudaGraphCache(session, index=device.index) if graphs else None

    def set_inputs(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Overrides inputs that have defaults, e.g. a classifier's classes, for all later calls.

        Raises:
            BackendError: The graph has no such input with a default.
        """
        known = {value.name for value in self.session.get_overridable_initializers()}
        missing = sorted(set(values) - known)
        if missing:
            raise BackendError(
                f"the graph has no input {', '.join(missing)} with a default; it has "
                f"{', '.join(sorted(known)) or 'none'}",
                remedy="export the bundle again",
            )
        self._inputs = dict(values)
        if self._graphs is not None:
            self._graphs.clear()

    def infer(self, frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Runs uint8 ``[N, H, W, 3]`` RGB frames; returns the graph's outputs by name.

        Raises:
            ArgumentError: ``frames`` are of another type or shape.
            BackendError: ONNX Runtime failed while running.
        """
        return self.infer_inputs({self._frame_input: check_batch(frames)})

    def infer_inputs(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Runs the graph's inputs by name, batch first; returns its outputs by name.

        Raises:
            BackendError: ONNX Runtime failed while running.
        """
        try:
            if self._graphs is not None and len(inputs) == 1:
                ((name, frames),) = inputs.items()
                values = self._graphs.infer(name, frames, self._inputs, self._outputs)
            elif self._uses_cuda:
                values = self._run_bound(inputs)
            else:
                values = self.session.run(self._outputs, {**inputs, **self._inputs})
        except Exception as error:
            shapes = ", ".join(str(list(value.shape)) for value in inputs.values())
            raise BackendError(
                f"ONNX Runtime failed on frames {shapes}: {first_line(error)}",
                remedy="check the free memory; `trocar inspect` shows the model's input",
            ) from error
        return dict(zip(self._outputs, values, strict=True))

    def infer_device(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Runs one frame in the memory of this GPU; the outputs stay there.

        Raises:
            BackendError: This session is on the CPU, has CUDA graphs, or ONNX Runtime failed.
        """
        if not self._uses_cuda or self._graphs is not None:
            raise BackendError(
                f"frames in device memory need a CUDA session without CUDA graphs; this one is on "
                f"{self.device}",
                remedy="open the session with device='cuda' and without graphs",
            )
        named = {**inputs, **self._inputs}
        try:
            values = run_bound(self.session, named, self._outputs, index=self._device_index)
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime failed on a frame in device memory: {first_line(error)}",
                remedy="check the free memory; `trocar inspect` shows the model's input",
            ) from error
        return dict(zip(self._outputs, values, strict=True))

    @property
    def frame_input(self) -> str:
        """Name of the input for frames."""
        return str(self._frame_input)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know: shapes that run without a CUDA graph."""
        return () if self._graphs is None else tuple(self._graphs.notes)

    def close(self) -> None:
        """Frees the session."""
        if self._graphs is not None:
            self._graphs.close()
        self.session = None

    def _run_bound(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Runs with outputs bound to the device, and copies them to the host after the run."""
        binding = self.session.io_binding()
        for name, value in {**inputs, **self._inputs}.items():
            binding.bind_cpu_input(name, value)
        for output in self._outputs:
            binding.bind_output(output, "cuda", self._device_index)
        self.session.run_with_iobinding(binding)
        values: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
        return values


def open_model(
    name: str, model: Path, manifest: Manifest | None, options: BackendOptions
) -> OnnxRuntimeBackend:
    """Opens a model.

    Args:
        name: ``onnxruntime``.
        model: The ONNX file.
        manifest: The model's manifest; ``None``: read from its metadata.
        options: ``precision`` must be the graph's own, or ``tf32`` for an fp32 graph on CUDA;
            ``graphs`` needs CUDA and is off by default.

    Raises:
        BackendError: The device, the precision or CUDA graphs are not available.
        BundleError: This ONNX Runtime cannot load the file.
    """
    device = device_from_text(options.device)
    graphs = bool(options.graphs)
    if graphs and device.kind != "cuda":
        raise BackendError(
            f"CUDA graphs were requested on {device}", remedy="pass --device cuda as well"
        )
    if device.kind == "cuda":
        _require_cuda_provider(device)
    session = _cuda_or_cpu_session(model, device, options)
    if device.kind == "cuda" and CUDA not in session.get_providers():
        raise BackendError(
            f"{device} was requested, but ONNX Runtime fell back to the CPU: its CUDA provider "
            "does not load",
            remedy="run `trocar doctor`, which opens a small CUDA session and says what is missing",
        )
    if manifest is None:
        manifest = manifest_of(session, model)
    graph = manifest.precision if manifest else _precision_of(session)
    precision = check_precision(options.precision, graph, device, name=model.name)
    return OnnxRuntimeBackend(
        session, device=device, precision=precision, manifest=manifest, graphs=graphs
    )


def cpu_session(model: bytes | Path, *, source: str, threads: int = 1) -> Any:
    """An `InferenceSession` on the CPU that logs errors only.

    Args:
        model: ONNX file, or its bytes.
        source: Its name, for errors.
        threads: Intra-op threads.

    Raises:
        BundleError: This ONNX Runtime cannot load the model.
    """
    return _load(model, _session_options(threads=threads), ["CPUExecutionProvider"], source=source)


def _require_cuda_provider(device: Device) -> None:
    """Refuses CUDA before ONNX Runtime can fall back to the CPU."""
    require_cuda(device)
    if CUDA not in onnxruntime.get_available_providers():
        raise BackendError(
            f"{device} was requested, but this build of ONNX Runtime has no CUDA provider",
            remedy="pip uninstall -y onnxruntime, then pip install 'trocar[gpu]'",
        )
    check_version()
    require_libraries(device)


def _cuda_or_cpu_session(model: Path, device: Device, options: BackendOptions) -> Any:
    data = options.data
    if data is None:
        data = _read(model)
    settings = _session_options(
        threads=options.threads or usable_cores(), spinning=options.spinning is not False
    )
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.kind == "cuda":
        tf32 = options.precision == "tf32"
        chosen = provider_options(device, graphs=bool(options.graphs), tf32=tf32)
        providers.insert(0, (CUDA, chosen))
    try:
        return _load(data, settings, providers, source=str(model))
    except BundleError as error:
        if not options.graphs:
            raise
        raise BackendError(
            f"CUDA graphs were requested, but {error.message}",
            remedy="leave --cuda-graph out, or check the model with `trocar inspect`",
        ) from error


def _read(model: Path) -> bytes:
    if not model.is_file():
        raise BundleError(f"there is no model at {model}", remedy="check the path")
    try:
        return model.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot read {model}: {error}", remedy="copy the file again") from error


def _session_options(*, threads: int, spinning: bool = True) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    # 3 = errors only: its warnings concern its own optimisations, which a user cannot act on.
    settings.log_severity_level = 3
    return settings


def manifest_of(session: Any, model: Path) -> Manifest | None:
    """The manifest in the model's metadata; ``None`` without one."""
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    return None if text is None else Manifest.from_json(text, source=str(model))


def _load(model: bytes | Path, settings: Any, providers: list[Any], *, source: str) -> Any:
    content = model if isinstance(model, bytes) else os.fspath(model)
    try:
        return onnxruntime.InferenceSession(content, settings, providers=providers)
    except Exception as error:
        raise BundleError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {source}: {first_line(error)}",
            remedy="install a newer onnxruntime, or export the bundle again with this release",
        ) from error


def _precision_of(session: Any) -> str:
    """Precision of a graph without a manifest, judged by the types of its outputs."""
    types = {value.type for value in session.get_outputs()}
    return "fp16" if types == {"tensor(float16)"} else "fp32"
