"""Launches the kernels on NVIDIA GPUs with pycuda, in torch's context and stream order.

    cuda_backend(torch.device("cuda", 0)).hard_counts(labels, plan)

torch uses the primary context of a device. The kernels are loaded into the same context and work on
torch's memory. pycuda cannot launch on a stream that it did not create, so it has one stream for
every device. Events order this stream after torch's current stream before the launches, and torch's
stream after it afterwards. The host never waits, and a CUDA graph captures the launches too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from trocar.contract.errors import ArgumentError, BackendError
from trocar.cuda_kernels.backends.kernels import Int64, KernelBackend, Launch, Source
from trocar.cuda_kernels.backends.launch_plan import Tuning
from trocar.cuda_kernels.compilation.cache import cached_binary
from trocar.cuda_kernels.compilation.sources import check_architecture

_DEFAULT_SHARED = 48 * 1024  # bytes; a kernel must ask for more by an attribute
_lock = threading.Lock()


def cuda_backend(device: torch.device, *, tensor_cores: bool = False) -> KernelBackend:
    """Return the backend of one GPU; the loaded kernels are shared by all calls.

    Raises:
        BackendError: pycuda or the driver fails, or the GPU is older than sm_75 (sm_80 with
            ``tensor_cores``).
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    with _lock:
        launcher = _launcher_of(index)
        if tensor_cores:
            check_architecture("soft_forward_tensor.cu", launcher.architecture)
            return KernelBackend("cuda-tensor", launcher, tensor_cores=True)
        return KernelBackend("cuda", launcher)


@cache
def _launcher_of(index: int) -> CudaLauncher:
    return CudaLauncher(index)


class CudaLauncher:
    """The kernels of one GPU; modules stay loaded until the process ends."""

    def __init__(self, index: int) -> None:
        cuda: Any = torch.cuda  # partly without annotations
        try:
            import pycuda.driver as driver

            cuda.init()
            driver.init()
            gpu = driver.Device(index)
        except Exception as error:
            raise BackendError(
                f"pycuda cannot reach GPU {index}: {error}",
                remedy="check that the driver works (nvidia-smi) and that pycuda was built for it",
            ) from error
        major, minor = gpu.compute_capability()
        if (major, minor) < (7, 5):
            raise BackendError(
                f"GPU {index} has compute capability {major}.{minor}, the kernels need 7.5",
                remedy="use backend='torch'",
            )
        self._driver = driver
        self._device = torch.device("cuda", index)
        self.architecture = f"sm_{major}{minor}"
        self._context = gpu.retain_primary_context()
        self._max_shared = gpu.get_attribute(
            driver.device_attribute.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        )
        self._functions: dict[tuple[Source, str], Any] = {}
        self._guard = threading.Lock()  # autograd runs the backward pass in another thread
        processors = torch.cuda.get_device_properties(index).multi_processor_count
        self.tuning = Tuning(blocks=8 * processors)
        with self._current():
            self._stream = driver.Stream()
        self._torch_stream = cuda.ExternalStream(self._stream.handle, device=self._device)

    def run(self, device: torch.device, launches: Sequence[Launch]) -> None:
        """Queue the launches after torch's earlier work and before its later work."""
        ready = [self._prepared(launch) for launch in launches]
        with self._guard, torch.cuda.device(self._device):
            # The lock keeps the events of two threads on this one stream from interleaving.
            outer = torch.cuda.current_stream(self._device)
            self._torch_stream.wait_stream(outer)
            with self._current():
                for launch, (function, packing) in zip(launches, ready, strict=True):
                    shape = launch.shape
                    function.prepare(packing)
                    function.prepared_async_call(
                        shape.grid,
                        (shape.threads, 1, 1),
                        self._stream,
                        *(_plain(argument) for argument in launch.arguments),
                        shared_size=shape.shared,
                    )
            outer.wait_stream(self._torch_stream)

    def _prepared(self, launch: Launch) -> tuple[Any, str]:
        """The loaded function of a launch, and pycuda's format of its arguments."""
        if launch.shape.shared > self._max_shared:
            raise ArgumentError(
                f"{launch.kernel} would need {launch.shape.shared} bytes of shared memory a block, "
                f"this GPU has {self._max_shared}",
                remedy="use float32, or backend='torch'",
            )
        key = launch.source, launch.kernel
        with self._guard:
            if key not in self._functions:
                binary = cached_binary(launch.source.file, launch.source.defines, self.architecture)
                with self._current():
                    module = self._driver.module_from_buffer(binary)
                    self._functions[key] = module.get_function(launch.kernel)
            function = self._functions[key]
            if launch.shape.shared > _DEFAULT_SHARED:
                with self._current():
                    function.set_attribute(
                        self._driver.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES,
                        launch.shape.shared,
                    )
        return function, "".join(_letter(argument) for argument in launch.arguments)

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Make the primary context current for pycuda, then restore the one before."""
        self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()


def _plain(argument: Tensor | int | None) -> int:
    if argument is None:
        return 0
    return argument.data_ptr() if isinstance(argument, Tensor) else int(argument)


def _letter(argument: Tensor | int | None) -> str:
    if argument is None or isinstance(argument, Tensor):
        return "P"
    return "q" if isinstance(argument, Int64) else "i"
