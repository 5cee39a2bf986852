"""The two packages that launch kernels: pycuda, else ``cuda.bindings``.

    library = launch_library(torch.device("cuda", 0))
    function = library.load(binary, "hard_counts")

Both load kernels into the primary context of a device, which torch uses as well, and both order
their launches after torch's earlier work on its current stream and before its later work.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from trocar.contract.errors import BackendError
from trocar.cuda_kernels.backends._launch_packages import installed_package
from trocar.cuda_kernels.backends.kernels import Int64
from trocar.cuda_kernels.backends.launch_plan import LaunchShape

Argument = Tensor | int | None

_NON_BLOCKING = 1
"""A stream that does not wait for the default stream, so that a capture may run beside it."""


class LaunchLibrary(Protocol):
    """What the launcher needs of CUDA.

    Attributes:
        capability: Compute capability of the device.
        max_shared: Bytes of shared memory that a block may have at most.
    """

    capability: tuple[int, int]
    max_shared: int

    def load(self, binary: bytes, kernel: str) -> Any:
        """A kernel of a cubin or PTX; it stays loaded until the process ends."""
        ...

    def allow_shared(self, function: Any, nbytes: int) -> None:
        """Lets a kernel have more than 48 KiB of shared memory a block."""
        ...

    def ordered(self) -> Any:
        """A block whose launches are in the order of torch's current stream; gives the stream."""
        ...

    def launch(
        self, function: Any, shape: LaunchShape, arguments: Sequence[Argument], stream: Any
    ) -> None:
        """Queues one launch."""
        ...


def launch_library(device: torch.device) -> LaunchLibrary:
    """Opens a GPU with the installed package.

    Raises:
        BackendError: The package cannot reach the GPU.
    """
    package = installed_package()
    kind = Pycuda if package == "pycuda" else Bindings
    try:
        return kind(device)
    except Exception as error:
        raise BackendError(
            f"{package} cannot reach GPU {device.index}: {error}",
            remedy=f"check that the driver works (nvidia-smi) and that {package} fits it",
        ) from error


class Pycuda:
    """pycuda, which launches on its own stream only; events join this stream and torch's."""

    def __init__(self, device: torch.device) -> None:
        import pycuda.driver as driver

        cuda: Any = torch.cuda  # partly without annotations
        cuda.init()
        driver.init()
        gpu = driver.Device(device.index)
        self.capability = gpu.compute_capability()
        self.max_shared = gpu.get_attribute(
            driver.device_attribute.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        )
        self._driver = driver
        self._device = device
        self._context = gpu.retain_primary_context()
        with self._current():
            self._stream = driver.Stream(_NON_BLOCKING)
        self._torch_stream = cuda.ExternalStream(self._stream.handle, device=device)

    def load(self, binary: bytes, kernel: str) -> Any:
        """See `LaunchLibrary`."""
        with self._current():
            return self._driver.module_from_buffer(binary).get_function(kernel)

    def allow_shared(self, function: Any, nbytes: int) -> None:
        """See `LaunchLibrary`."""
        with self._current():
            attribute = self._driver.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES
            function.set_attribute(attribute, nbytes)

    @contextmanager
    def ordered(self) -> Iterator[Any]:
        """See `LaunchLibrary`."""
        outer = torch.cuda.current_stream(self._device)
        self._torch_stream.wait_stream(outer)
        with self._current():
            yield self._stream
        outer.wait_stream(self._torch_stream)

    def launch(
        self, function: Any, shape: LaunchShape, arguments: Sequence[Argument], stream: Any
    ) -> None:
        """See `LaunchLibrary`."""
        function.prepare("".join(_letter(argument) for argument in arguments))
        function.prepared_async_call(
            shape.grid,
            (shape.threads, 1, 1),
            stream,
            *(_plain(argument) for argument in arguments),
            shared_size=shape.shared,
        )

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Make the primary context current for pycuda, then restore the one before."""
        self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()


class Bindings:
    """``cuda.bindings``, which launches on torch's own stream.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        from cuda.bindings import driver

        self._cuda = driver
        self._device = device
        _checked(driver.cuInit(0))
        self._gpu = _checked(driver.cuDeviceGet(device.index))
        names = driver.CUdevice_attribute
        self.capability = (
            self._attribute(names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            self._attribute(names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        )
        self.max_shared = self._attribute(
            names.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        )
        self._context = _checked(driver.cuDevicePrimaryCtxRetain(self._gpu))

    def load(self, binary: bytes, kernel: str) -> Any:
        """See `LaunchLibrary`."""
        with self._current():
            # PTX is a text: the driver reads up to its end mark.
            module = _checked(self._cuda.cuModuleLoadData(binary + b"\0"))
            return _checked(self._cuda.cuModuleGetFunction(module, kernel.encode()))

    def allow_shared(self, function: Any, nbytes: int) -> None:
        """See `LaunchLibrary`."""
        names = self._cuda.CUfunction_attribute
        attribute = names.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        with self._current():
            _checked(self._cuda.cuFuncSetAttribute(function, attribute, nbytes))

    @contextmanager
    def ordered(self) -> Iterator[Any]:
        """See `LaunchLibrary`."""
        handle = torch.cuda.current_stream(self._device).cuda_stream
        with self._current():
            yield self._cuda.CUstream(handle)

    def launch(
        self, function: Any, shape: LaunchShape, arguments: Sequence[Argument], stream: Any
    ) -> None:
        """See `LaunchLibrary`."""
        values = tuple(_plain(argument) for argument in arguments)
        kinds = tuple(_KINDS[_letter(argument)] for argument in arguments)
        # Pairs of values and C types; the package packs them.
        _checked(
            self._cuda.cuLaunchKernel(
                function, *shape.grid, shape.threads, 1, 1, shape.shared, stream, (values, kinds), 0
            )
        )

    @contextmanager
    def _current(self) -> Iterator[None]:
        _checked(self._cuda.cuCtxPushCurrent(self._context))
        try:
            yield
        finally:
            _checked(self._cuda.cuCtxPopCurrent())

    def _attribute(self, name: Any) -> int:
        return int(_checked(self._cuda.cuDeviceGetAttribute(name, self._gpu)))


_KINDS: dict[str, Any] = {"P": ctypes.c_void_p, "q": ctypes.c_longlong, "i": ctypes.c_int}


def _plain(argument: Argument) -> int:
    if argument is None:
        return 0
    return argument.data_ptr() if isinstance(argument, Tensor) else int(argument)


def _letter(argument: Argument) -> str:
    """Kind of an argument, in the letters of Python's ``struct``."""
    if argument is None or isinstance(argument, Tensor):
        return "P"
    return "q" if isinstance(argument, Int64) else "i"


def _checked(result: tuple[Any, ...]) -> Any:
    status, *values = result
    if int(status) != 0:
        raise RuntimeError(f"CUDA returned {status.name} ({int(status)})")
    return values[0] if values else None
