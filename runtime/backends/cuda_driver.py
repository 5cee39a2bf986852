"""CUDA through ``cuda.bindings``: the primary context, streams, memory, graphs.

    driver = BindingsDriver(0); stream = driver.stream(); memory = driver.device(nbytes=1024)

The protocol `Driver` lets the logic of the TensorRT backend run in tests without a GPU. Memory,
streams and graphs are freed by whoever asked for them.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class CaptureError(Exception):
    """Work could not be recorded as a graph; the stream takes work again."""


class Graph(Protocol):
    """Recorded work."""

    def launch(self) -> None:
        """Starts the work on the stream of the recording."""
        ...

    def close(self) -> None:
        """Frees the graph."""
        ...


class Driver(Protocol):
    """What the TensorRT backend needs of CUDA."""

    def current(self) -> contextlib.AbstractContextManager[None]:
        """Makes the context current in this thread for a block."""
        ...

    def stream(self) -> int:
        """Handle of a new stream."""
        ...

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        """Page-locked memory of the host."""
        ...

    def device(self, nbytes: int) -> int:
        """Address of memory of the device."""
        ...

    def free(self, *, stream: int, pinned: list[NDArray[np.uint8]], device: list[int]) -> None:
        """Frees a stream and memory."""
        ...

    def to_device(self, target: int, source: NDArray[np.uint8], stream: int) -> None:
        """Starts a copy to the device."""
        ...

    def to_host(self, target: NDArray[np.uint8], source: int, stream: int) -> None:
        """Starts a copy to the host."""
        ...

    def wait(self, stream: int) -> None:
        """Waits until all work of a stream is done."""
        ...

    def capture(self, stream: int, work: Callable[[], None]) -> Graph:
        """Records work as a CUDA graph.

        Raises:
            CaptureError: It cannot be recorded.
        """
        ...

    def close(self) -> None:
        """Releases the context."""
        ...


class BindingsDriver:
    """CUDA of this machine.

    Args:
        index: Number of the GPU, from 0.
        library: Stands for ``cuda.bindings.driver`` in tests; ``None`` imports it.
    """

    def __init__(self, index: int, *, library: Any = None) -> None:
        if library is None:
            library = importlib.import_module("cuda.bindings.driver")
        self._cuda = library
        _checked(library.cuInit(0))
        self._device = _checked(library.cuDeviceGet(index))
        # Other libraries in this process use the primary context as well.
        self._context = _checked(library.cuDevicePrimaryCtxRetain(self._device))

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Makes the context current in this thread for a block."""
        _checked(self._cuda.cuCtxPushCurrent(self._context))
        try:
            yield
        finally:
            _checked(self._cuda.cuCtxPopCurrent())

    def stream(self) -> int:
        """A new stream, which does not wait for the default stream."""
        flag = self._cuda.CUstream_flags.CU_STREAM_NON_BLOCKING
        return int(_checked(self._cuda.cuStreamCreate(int(flag))))

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        """Page-locked memory of the host."""
        size = max(1, nbytes)
        address = int(_checked(self._cuda.cuMemHostAlloc(size, 0)))
        memory = (ctypes.c_uint8 * size).from_address(address)
        array: NDArray[np.uint8] = np.ctypeslib.as_array(memory)
        return array

    def device(self, nbytes: int) -> int:
        """Memory of the device."""
        return int(_checked(self._cuda.cuMemAlloc(max(1, nbytes))))

    def free(self, *, stream: int, pinned: list[NDArray[np.uint8]], device: list[int]) -> None:
        """Frees a stream and memory; faults are ignored, there is nothing left to do."""
        for memory in pinned:
            self._cuda.cuMemFreeHost(memory.ctypes.data)
        for address in device:
            self._cuda.cuMemFree(self._cuda.CUdeviceptr(address))
        self._cuda.cuStreamDestroy(self._cuda.CUstream(stream))

    def to_device(self, target: int, source: NDArray[np.uint8], stream: int) -> None:
        """Starts a copy to the device."""
        cuda = self._cuda
        address = cuda.CUdeviceptr(target)
        _checked(
            cuda.cuMemcpyHtoDAsync(
                address, source.ctypes.data, source.nbytes, cuda.CUstream(stream)
            )
        )

    def to_host(self, target: NDArray[np.uint8], source: int, stream: int) -> None:
        """Starts a copy to the host."""
        cuda = self._cuda
        address = cuda.CUdeviceptr(source)
        _checked(
            cuda.cuMemcpyDtoHAsync(
                target.ctypes.data, address, target.nbytes, cuda.CUstream(stream)
            )
        )

    def copy_rows(
        self, target: int, source: int, *, pitch: int, row_bytes: int, rows: int, stream: int
    ) -> None:
        """Starts a copy on the device that brings rows together which lie ``pitch`` bytes apart."""
        cuda = self._cuda
        copy = cuda.CUDA_MEMCPY2D()
        copy.srcMemoryType = copy.dstMemoryType = cuda.CUmemorytype.CU_MEMORYTYPE_DEVICE
        copy.srcDevice, copy.srcPitch = cuda.CUdeviceptr(source), pitch
        copy.dstDevice, copy.dstPitch = cuda.CUdeviceptr(target), row_bytes
        copy.WidthInBytes, copy.Height = row_bytes, rows
        _checked(cuda.cuMemcpy2DAsync(copy, cuda.CUstream(stream)))

    def wait(self, stream: int) -> None:
        """Waits until all work of a stream is done."""
        _checked(self._cuda.cuStreamSynchronize(self._cuda.CUstream(stream)))

    def capture(self, stream: int, work: Callable[[], None]) -> Graph:
        """Records work as a CUDA graph; other threads' work is not looked at."""
        cuda, handle = self._cuda, self._cuda.CUstream(stream)
        mode = cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _checked(cuda.cuStreamBeginCapture(handle, mode))
        try:
            work()
        except Exception as error:
            # The recording is ended whatever happened, so that the stream takes work again.
            status, *rest = cuda.cuStreamEndCapture(handle)
            if int(status) == 0 and int(rest[0]) != 0:
                cuda.cuGraphDestroy(rest[0])
            raise CaptureError(str(error)) from error
        try:
            graph = _checked(cuda.cuStreamEndCapture(handle))
            try:
                executable = _checked(cuda.cuGraphInstantiate(graph, 0))
            finally:
                cuda.cuGraphDestroy(graph)
        except RuntimeError as error:
            raise CaptureError(str(error)) from error
        return _BindingsGraph(cuda, executable, handle)

    def close(self) -> None:
        """Releases the context."""
        _checked(self._cuda.cuDevicePrimaryCtxRelease(self._device))


class _BindingsGraph:
    def __init__(self, cuda: Any, executable: Any, stream: Any) -> None:
        self._cuda = cuda
        self._executable = executable
        self._stream = stream

    def launch(self) -> None:
        _checked(self._cuda.cuGraphLaunch(self._executable, self._stream))

    def close(self) -> None:
        self._cuda.cuGraphExecDestroy(self._executable)


def _checked(result: tuple[Any, ...]) -> Any:
    status, *values = result
    if int(status) != 0:
        raise RuntimeError(f"CUDA returned {status.name} ({int(status)})")
    return values[0] if values else None
