"""NVIDIA GPUs of this machine, asked of the driver itself: no CUDA package is needed.

find_gpu()                # Gpu(name="NVIDIA L4", capability="8.9"), or None
query_driver().count      # 0 without a driver that works
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

_DRIVERS = ("libcuda.so.1", "nvcuda.dll")
# Numbers of attributes for the driver's cuDeviceGetAttribute.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        name: Name that the driver gives, e.g. ``NVIDIA L4``.
        capability: Compute capability, e.g. ``8.9``.
    """

    name: str
    capability: str


@dataclass(frozen=True, kw_only=True)
class DriverStatus:
    """What the NVIDIA driver answers.

    Attributes:
        installed: Whether the driver's library can be loaded.
        error: The driver's status code; 0 for success.
        version: Newest CUDA version that it supports, e.g. ``(13, 0)``; ``(0, 0)`` when unknown.
        count: Number of usable GPUs.
    """

    installed: bool
    error: int = 0
    version: tuple[int, int] = (0, 0)
    count: int = 0

    @property
    def reason(self) -> str:
        """Why there is no usable GPU; empty when there is one."""
        if not self.installed:
            return f"the NVIDIA driver ({_DRIVERS[0]}) is not installed"
        if self.count:
            return ""
        return f"the NVIDIA driver finds no usable GPU (CUDA error {self.error})"


def query_driver() -> DriverStatus:
    """Loads and starts the driver, and counts its GPUs."""
    driver = _load_driver()
    if driver is None:
        return DriverStatus(installed=False)
    number, count = ctypes.c_int(0), ctypes.c_int(0)
    driver.cuDriverGetVersion(ctypes.byref(number))
    version = (number.value // 1000, number.value % 1000 // 10)
    error = int(driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)))
    return DriverStatus(
        installed=True, error=error, version=version, count=0 if error else count.value
    )


def find_gpu(index: int = 0) -> Gpu | None:
    """The GPU of that number, counted from 0; ``None`` when the driver has no such GPU."""
    driver = _load_driver()
    if driver is None:
        return None
    device = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGet(ctypes.byref(device), index) != 0:
        return None
    name = ctypes.create_string_buffer(256)
    if driver.cuDeviceGetName(name, len(name), device) != 0:
        return None
    numbers = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int()
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device) != 0:
            return None
        numbers.append(str(value.value))
    return Gpu(name.value.decode("utf-8", "replace"), ".".join(numbers))


def _load_driver() -> ctypes.CDLL | None:
    for library in _DRIVERS:
        try:
            return ctypes.CDLL(library)
        except OSError:
            continue
    return None
