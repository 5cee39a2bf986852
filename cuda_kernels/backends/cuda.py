"""Launches the kernels on NVIDIA GPUs, in torch's context and stream order.

    cuda_backend(torch.device("cuda", 0)).hard_counts(labels, plan)

torch uses the primary context of a device. The kernels are loaded into the same context and work on
torch's memory. pycuda launches them, or ``cuda.bindings`` where pycuda is not installed (see
`trocar.cuda_kernels.backends._cuda_libraries`). The host never waits, and a CUDA graph captures the
launches too.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from trocar.contract.errors import ArgumentError, BackendError
from trocar.cuda_kernels.backends._cuda_libraries import launch_library
from trocar.cuda_kernels.backends.kernels import KernelBackend, Launch, Source
from trocar.cuda_kernels.backends.launch_plan import Tuning
from trocar.cuda_kernels.compilation.cache import cached_binary, target_of
from trocar.cuda_kernels.compilation.sources import check_architecture

_DEFAULT_SHARED = 48 * 1024  # bytes; a kernel must ask for more by an attribute
_lock = threading.Lock()


def cuda_backend(device: torch.device, *, tensor_cores: bool = False) -> KernelBackend:
    """Return the backend of one GPU; the loaded kernels are shared by all calls.

    Raises:
        BackendError: The driver fails, or the GPU is older than sm_75 (sm_80 with
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
        self._device = torch.device("cuda", index)
        self._library = launch_library(self._device)
        major, minor = self._library.capability
        if (major, minor) < (7, 5):
            raise BackendError(
                f"GPU {index} has compute capability {major}.{minor}, the kernels need 7.5",
                remedy="use backend='torch'",
            )
        self.architecture = f"sm_{major}{minor}"
        self._functions: dict[tuple[Source, str], Any] = {}
        self._guard = threading.Lock()  # autograd runs the backward pass in another thread
        processors = torch.cuda.get_device_properties(index).multi_processor_count
        self.tuning = Tuning(blocks=8 * processors)

    def run(self, device: torch.device, launches: Sequence[Launch]) -> None:
        """Queue the launches after torch's earlier work and before its later work."""
        ready = [self._prepared(launch) for launch in launches]
        with (
            self._guard,
            torch.cuda.device(self._device),
            # The lock keeps the launches of two threads from interleaving.
            self._library.ordered() as stream,
        ):
            for launch, function in zip(launches, ready, strict=True):
                self._library.launch(function, launch.shape, launch.arguments, stream)

    def _prepared(self, launch: Launch) -> Any:
        """The loaded function of a launch."""
        if launch.shape.shared > self._library.max_shared:
            raise ArgumentError(
                f"{launch.kernel} would need {launch.shape.shared} bytes of shared memory a block, "
                f"this GPU has {self._library.max_shared}",
                remedy="use float32, or backend='torch'",
            )
        key = launch.source, launch.kernel
        with self._guard:
            if key not in self._functions:
                target = target_of(self.architecture)
                binary = cached_binary(launch.source.file, launch.source.defines, target)
                self._functions[key] = self._library.load(binary, launch.kernel)
            function = self._functions[key]
            if launch.shape.shared > _DEFAULT_SHARED:
                self._library.allow_shared(function, launch.shape.shared)
        return function
