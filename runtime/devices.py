"""The devices of this machine, as the NVIDIA driver reports them.

device_from_text("cuda:1")   # Device(kind="cuda", index=1)
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass

from trocar.contract.errors import ArgumentError, BackendError
from trocar.contract.tensorrt.gpu import query_driver


@dataclass(frozen=True)
class Device:
    """A requested device.

    Attributes:
        kind: ``cpu`` or ``cuda``.
        index: Number of the GPU; 0 for the CPU.
    """

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


def device_from_text(text: str) -> Device:
    """Reads ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ArgumentError: It is none of these.
    """
    match = re.fullmatch(r"(cpu)|cuda(?::(\d{1,3}))?", text)
    if match is None:
        raise ArgumentError(
            f"device is {text!r}, expected cpu, cuda or cuda:N", remedy="use one of these"
        )
    return Device("cpu") if match.group(1) else Device("cuda", int(match.group(2) or 0))


@functools.cache
def cuda_count() -> tuple[int, str]:
    """How many GPUs the NVIDIA driver gives, and why there are none (empty otherwise)."""
    driver = query_driver()
    return driver.count, driver.reason


def require_cuda(device: Device) -> None:
    """Refuses a CUDA device that does not exist, before a library falls back to the CPU.

    Raises:
        BackendError: No driver, no GPU, or no GPU of that number.
    """
    count, reason = cuda_count()
    if count == 0:
        raise BackendError(
            f"{device} was requested, but {reason}",
            remedy="run `trocar doctor`, or pass --device cpu",
        )
    if device.index >= count:
        raise BackendError(
            f"{device} was requested, but this machine has {count} GPU(s), counted from 0",
            remedy="pass --device cuda:0"
            if count == 1
            else f"pass --device cuda:0 to cuda:{count - 1}",
        )


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
