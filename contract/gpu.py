"""The NVIDIA GPU of this machine, asked of the driver itself, so that no CUDA package is needed.

find_gpu()      # Gpu(name="NVIDIA L4", capability="8.9") or None
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

_DRIVERS = ("libcuda.so.1", "nvcuda.dll")
# Of the driver's cuDeviceGetAttribute.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


@dataclass(frozen=True)
class Gpu:
    """A GPU as engines know it: its name and compute capability, e.g. ``"8.9"``."""

    name: str
    capability: str


def find_gpu(index: int = 0) -> Gpu | None:
    """The GPU of that number, or ``None`` without a driver that works."""
    for library in _DRIVERS:
        try:
            driver = ctypes.CDLL(library)
        except OSError:
            continue
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
    return None
