"""ONNX Runtime on the CPU or on CUDA; CUDA is checked before it is asked for.

    backend = open("onnxruntime", Path("model.onnx"), None, device="cpu")

ONNX Runtime lists CUDA where it cannot work and then falls back to the CPU with a warning. Here
the driver is asked first and the session afterwards, and a fallback is an error.
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
from trocar.runtime.backends.cuda_graph import GraphRuns
from trocar.runtime.devices import Device, device_from_text, require_cuda, usable_cores
from trocar.runtime.frames import check_batch

_CUDA = "CUDAExecutionProvider"


class OnnxRuntimeBackend:
    """One `InferenceSession`; safe to call from several threads."""

    def __init__(
        self,
        session: Any,
        *,
        device: Device,
        precision: str,
        manifest: Manifest | None,
        binding: bool,
        graphs: bool = False,
    ) -> None:
        self.name = "onnxruntime"
        self.device = str(device)
        self.precision = precision
        self.manifest = manifest
        self.session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [output.name for output in session.get_outputs()]
        self._binding = binding
        self._given: dict[str, NDArray[Any]] = {}
        self._graphs = GraphRuns(session, index=device.index) if graphs else None

    def set_inputs(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Overrides inputs that have defaults, e.g. a classifier's classes, from now on.

        Raises:
            BackendError: The graph has no such input with a default.
        """
        there = {value.name for value in self.session.get_overridable_initializers()}
        strange = sorted(set(values) - there)
        if strange:
            raise BackendError(
                f"the graph has no input {', '.join(strange)} with a default; it has "
                f"{', '.join(sorted(there)) or 'none'}",
                remedy="export the bundle again",
            )
        self._given = dict(values)
        if self._graphs is not None:
            self._graphs.forget()

    def infer(self, frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Runs uint8 ``[N, H, W, 3]`` RGB frames; gives the graph's outputs by name.

        Raises:
            ArgumentError: ``frames`` are of another type or shape.
            BackendError: ONNX Runtime failed while running.
        """
        frames = check_batch(frames)
        try:
            if self._graphs is not None:
                values = self._graphs.infer(self._input, frames, self._given, self._outputs)
            elif self._binding:
                values = self._run_bound(frames)
            else:
                values = self.session.run(self._outputs, {self._input: frames, **self._given})
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime failed on frames {list(frames.shape)}: {_first_line(error)}",
                remedy="check the free memory; `trocar inspect` says what the model takes",
            ) from error
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """Drops the session."""
        if self._graphs is not None:
            self._graphs.close()
        self.session = None

    def _run_bound(self, frames: NDArray[Any]) -> list[NDArray[Any]]:
        """Outputs stay on the device until all are done, then come back in one go."""
        binding = self.session.io_binding()
        for name, value in {self._input: frames, **self._given}.items():
            binding.bind_cpu_input(name, value)
        index = device_from_text(self.device).index
        for output in self._outputs:
            binding.bind_output(output, "cuda", index)
        self.session.run_with_iobinding(binding)
        values: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
        return values


def open(
    name: str,
    model: Path,
    manifest: Manifest | None,
    *,
    device: str = "cpu",
    precision: str | None = None,
    threads: int | None = None,
    spinning: bool = True,
    graphs: bool = False,
) -> OnnxRuntimeBackend:
    """Opens a model.

    Args:
        name: ``onnxruntime``.
        model: The ONNX file.
        manifest: What it is; default: read from its metadata.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: Must be what the graph holds.
        threads: CPU threads; default: one for each usable core.
        spinning: Whether idle workers spin; off in pipelines, where they would eat the cores that
            decode and encode.
        graphs: Record a CUDA graph for each shape of frames and replay it; CUDA only.

    Raises:
        BackendError: The device or the precision is not to be had.
        BundleError: The file is no model that this ONNX Runtime can load.
    """
    wanted = device_from_text(device)
    if graphs and wanted.kind != "cuda":
        raise BackendError(
            f"CUDA graphs were asked for on {wanted}", remedy="ask for --device cuda as well"
        )
    if wanted.kind == "cuda":
        require_cuda(wanted)
        if _CUDA not in onnxruntime.get_available_providers():
            raise BackendError(
                f"{wanted} was asked for, but this build of ONNX Runtime has no CUDA provider",
                remedy="pip install onnxruntime-gpu",
            )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    # 3 = errors: the library's warnings about its own optimisations are nobody's business here.
    options.log_severity_level = 3
    providers: list[Any] = ["CPUExecutionProvider"]
    if wanted.kind == "cuda":
        chosen = {"device_id": wanted.index}
        providers = [(_CUDA, {**chosen, "enable_cuda_graph": "1"} if graphs else chosen)]
        providers.append("CPUExecutionProvider")
    try:
        session = _load(model, options, providers)
    except BundleError as error:
        if not graphs:
            raise
        raise BackendError(
            f"CUDA graphs were asked for, but {error.message}", remedy="ask for none"
        ) from error
    if wanted.kind == "cuda" and _CUDA not in session.get_providers():
        raise BackendError(
            f"{wanted} was asked for, but ONNX Runtime fell back to the CPU: its CUDA provider "
            "does not load (it needs CUDA 13 and cuDNN 9)",
            remedy="run `trocar doctor`, or ask for --device cpu",
        )
    if manifest is None:
        manifest = manifest_of(session, model)
    held = manifest.precision if manifest else _precision_of(session)
    if precision is not None and precision != held:
        raise BackendError(
            f"precision {precision} was asked for, but the graph in {model.name} is {held}",
            remedy=f"export with --precision {precision}",
        )
    return OnnxRuntimeBackend(
        session,
        device=wanted,
        precision=held,
        manifest=manifest,
        binding=wanted.kind == "cuda",
        graphs=graphs,
    )


def manifest_of(session: Any, model: Path) -> Manifest | None:
    """The manifest that the model's metadata carries, ``None`` without one."""
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    return None if text is None else Manifest.from_json(text, source=str(model))


def _load(model: Path, options: Any, providers: list[Any]) -> Any:
    if not model.is_file():
        raise BundleError(f"there is no model at {model}", remedy="check the path")
    try:
        return onnxruntime.InferenceSession(os.fspath(model), options, providers=providers)
    except Exception as error:
        raise BundleError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {model}: {_first_line(error)}",
            remedy="export the bundle again, or copy it again",
        ) from error


def _precision_of(session: Any) -> str:
    """A graph without a manifest: nothing is known of its inside but what its types say."""
    kinds = {value.type for value in session.get_outputs()}
    return "fp16" if kinds == {"tensor(float16)"} else "fp32"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
