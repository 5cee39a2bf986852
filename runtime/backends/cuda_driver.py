"""CUDA through pycuda: the primary context, a stream, pinned and device memory, graphs.

    driver = PycudaDriver(0); stream = driver.stream(); memory = driver.device(nbytes=1024)

The protocol `Driver` lets the logic of the TensorRT backend run in tests without a GPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Driver(Protocol):
    """What the TensorRT backend needs of CUDA."""

    def current(self) -> contextlib.AbstractContextManager[None]:
        """Makes the context current in this thread for a block."""
        ...

    def stream(self) -> Any:
        """A stream, with its ``handle`` as an integer."""
        ...

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        """Page-locked memory of the host."""
        ...

    def device(self, nbytes: int) -> Any:
        """Memory of the device; ``int()`` gives its address."""
        ...

    def to_device(self, target: Any, source: NDArray[np.uint8], stream: Any) -> None:
        """Starts a copy to the device."""
        ...

    def to_host(self, target: NDArray[np.uint8], source: Any, stream: Any) -> None:
        """Starts a copy to the host."""
        ...

    def wait(self, stream: Any) -> None:
        """Waits until all work of a stream is done."""
        ...

    def capture(self, stream: Any, work: Callable[[], None]) -> Callable[[], None]:
        """Records work as a CUDA graph; returns a function that launches it."""
        ...

    def close(self) -> None:
        """Releases the context."""
        ...


class PycudaDriver:
    """CUDA of this machine. `pycuda.autoinit` is not used: it creates a context of its own."""

    def __init__(self, index: int) -> None:
        import pycuda.driver as cuda

        self._cuda = cuda
        cuda.init()
        # Other libraries in this process use the primary context as well.
        self._context = cuda.Device(index).retain_primary_context()

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Makes the context current in this thread for a block."""
        self._context.push()
        try:
            yield
        finally:
            self._cuda.Context.pop()

    def stream(self) -> Any:
        """A new stream."""
        return self._cuda.Stream()

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        """Page-locked memory of the host."""
        memory: NDArray[np.uint8] = self._cuda.pagelocked_empty(max(1, nbytes), np.uint8)
        return memory

    def device(self, nbytes: int) -> Any:
        """Memory of the device."""
        return self._cuda.mem_alloc(max(1, nbytes))

    def to_device(self, target: Any, source: NDArray[np.uint8], stream: Any) -> None:
        """Starts a copy to the device."""
        self._cuda.memcpy_htod_async(target, source, stream)

    def to_host(self, target: NDArray[np.uint8], source: Any, stream: Any) -> None:
        """Starts a copy to the host."""
        self._cuda.memcpy_dtoh_async(target, source, stream)

    def wait(self, stream: Any) -> None:
        """Waits until all work of a stream is done."""
        stream.synchronize()

    def capture(self, stream: Any, work: Callable[[], None]) -> Callable[[], None]:
        """Records work as a CUDA graph through ``cuda.bindings``: pycuda has no graphs."""
        from cuda.bindings import driver

        handle = driver.CUstream(stream.handle)
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _checked(driver.cuStreamBeginCapture(handle, mode))
        try:
            work()
        finally:
            graph = _checked(driver.cuStreamEndCapture(handle))
        executable = _checked(driver.cuGraphInstantiate(graph, 0))
        _checked(driver.cuGraphDestroy(graph))

        def launch() -> None:
            _checked(driver.cuGraphLaunch(executable, handle))

        return launch

    def close(self) -> None:
        """Releases the context."""
        self._context.detach()


def _checked(result: tuple[Any, ...]) -> Any:
    status, *values = result
    if int(status) != 0:
        raise RuntimeError(f"CUDA returned {status.name} ({int(status)})")
    return values[0] if values else None
