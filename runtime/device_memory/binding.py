"""Runs an ONNX Runtime session on frames that are in the memory of its GPU, without a copy to it.

    outputs = run_bound(session, {"frame": plane}, ["labels"], index=0)

Rows that lie apart are brought together on the GPU, because ONNX Runtime takes dense tensors. The
host waits for the stream of the frame, since the provider computes on a stream of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import BackendError
from trocar.contract.text.words import first_line
from trocar.runtime.backends.cuda_driver import BindingsDriver
from trocar.runtime.device_memory.planes import LEGACY_STREAM, Plane


@dataclass(frozen=True, kw_only=True)
class DeviceArray:
    """An output in device memory; libraries read it through the CUDA Array Interface.

    Attributes:
        pointer: Address of the first element.
        shape: Without the batch.
        dtype: Type of its elements.
        owner: What frees it.
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: object = field(repr=False, compare=False)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3 of the protocol; the elements are ready."""
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
        }


_TYPES: Mapping[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.uint8),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    10: np.dtype(np.float16),
}
"""Types of elements by their number in ONNX."""


def run_bound(
    session: Any,
    inputs: Mapping[str, Plane | NDArray[Any]],
    outputs: Sequence[str],
    *,
    index: int,
) -> list[Any]:
    """Runs one frame; the outputs stay on the GPU.

    Args:
        session: An `InferenceSession` with the CUDA provider.
        inputs: By name: planes on this GPU without a batch, and arrays of the host with one.
        outputs: Names of the outputs.
        index: Number of the GPU.

    Returns:
        An `OrtValue` for each output, with a batch of one.

    Raises:
        BackendError: CUDA's bindings are missing or fail.
    """
    import onnxruntime

    binding = session.io_binding()
    kept = []
    driver = _driver(index)
    planes = {name: each for name, each in inputs.items() if isinstance(each, Plane)}
    try:
        with driver.current():
            for stream in {plane.stream for plane in planes.values()} - {None}:
                driver.wait(int(stream or 0))
            for name, plane in planes.items():
                pointer = plane.pointer
                if not plane.is_dense:
                    dense = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                        list(plane.shape), np.uint8, "cuda", index
                    )
                    kept.append(dense)
                    pointer = dense.data_ptr()
                    driver.copy_rows(
                        pointer,
                        plane.pointer,
                        pitch=plane.pitch,
                        row_bytes=plane.row_bytes,
                        rows=plane.shape[0],
                        stream=LEGACY_STREAM,
                    )
                binding.bind_input(name, "cuda", index, np.uint8, [1, *plane.shape], pointer)
            if kept:
                driver.wait(LEGACY_STREAM)
    except RuntimeError as error:
        raise BackendError(
            f"a frame on cuda:{index} cannot be read: {first_line(error)}",
            remedy="pass the address and the stream of this process's primary CUDA context",
        ) from error
    for name, value in inputs.items():
        if not isinstance(value, Plane):
            binding.bind_cpu_input(name, value)
    for name in outputs:
        binding.bind_output(name, "cuda", index)
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    return list(binding.get_outputs())


def device_array(value: Any) -> DeviceArray:
    """An output of `run_bound` without its batch of one.

    Raises:
        BackendError: Its elements are of a type that no output of a bundle has.
    """
    kind = _TYPES.get(int(value.element_type()))
    if kind is None:
        raise BackendError(
            f"an output has elements of ONNX type {value.element_type()}",
            remedy="export the bundle again",
        )
    return DeviceArray(
        pointer=value.data_ptr(), shape=tuple(value.shape()[1:]), dtype=kind, owner=value
    )


@functools.cache
def _driver(index: int) -> BindingsDriver:
    try:
        return BindingsDriver(index)
    except (ImportError, RuntimeError) as error:
        raise BackendError(
            f"frames on cuda:{index} need cuda.bindings: {first_line(error)}",
            remedy="pip install 'trocar[gpu]'",
        ) from error
