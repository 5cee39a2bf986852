"""The clock that a device runs at just now: what idles between frames is often clocked down.

clock_mhz(Device("cuda"))    # 1980.0, or None where it cannot be read
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

from trocar.runtime.devices import Device

_CPU_INFO = Path("/proc/cpuinfo")
_CPU_FILES = "cpu*/cpufreq/scaling_cur_freq"
_CPU_ROOT = Path("/sys/devices/system/cpu")
_NVML = "libnvidia-ml.so.1"
_SM_CLOCK = 1
"""NVML_CLOCK_SM of nvml.h."""


def clock_mhz(device: Device) -> float | None:
    """Clock of a device now.

    Args:
        device: ``cpu``: the highest clock of a core. ``cuda``: that of the multiprocessors.

    Returns:
        Megahertz; ``None`` where the system does not tell.
    """
    return _gpu_mhz(device.index) if device.kind == "cuda" else _cpu_mhz()


def _cpu_mhz() -> float | None:
    try:
        values = [int(path.read_text()) / 1000 for path in _CPU_ROOT.glob(_CPU_FILES)]
        if not values:
            text = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
            values = [float(value) for value in re.findall(r"^cpu MHz\s*: ([\d.]+)$", text, re.M)]
    except (OSError, ValueError):
        return None
    return max(values, default=None)


def _gpu_mhz(index: int) -> float | None:
    """NVML and CUDA number GPUs differently, so the address on the bus names the device."""
    try:
        driver, nvml = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL(_NVML)
        device, handle, clock = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint()
        bus = ctypes.create_string_buffer(32)
        failed = (
            driver.cuInit(0)
            or driver.cuDeviceGet(ctypes.byref(device), index)
            or driver.cuDeviceGetPCIBusId(bus, len(bus), device)
            or nvml.nvmlInit_v2()
            or nvml.nvmlDeviceGetHandleByPciBusId_v2(bus, ctypes.byref(handle))
            or nvml.nvmlDeviceGetClockInfo(handle, _SM_CLOCK, ctypes.byref(clock))
        )
    except (OSError, AttributeError):
        return None
    return None if failed else float(clock.value)
