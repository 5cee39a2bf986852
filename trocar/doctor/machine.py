"""The checks of the machine: Python, NVIDIA driver, cameras, disk.

check_disk().detail     # "120 GiB free here"
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from pathlib import Path

from trocar.doctor.finding import Finding


def check_python() -> Finding:
    """Python's version and the machine's kind."""
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding(check="Python", state="ok", detail=detail)


def check_driver() -> Finding:
    """NVIDIA's driver: loaded, initialised, and with at least one GPU."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Finding(
            check="NVIDIA driver",
            state="absent",
            detail="libcuda.so.1 cannot be loaded",
            remedy="for GPU inference install NVIDIA's driver (nvidia-smi must answer)",
        )
    status = int(cuda.cuInit(0))
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    if status == 0:
        status = int(cuda.cuDeviceGetCount(ctypes.byref(count)))
    if status or count.value == 0:
        return Finding(
            check="NVIDIA driver",
            state="fail",
            detail=f"the driver library is there, but no GPU answers (CUDA error {status})",
            remedy="run nvidia-smi; in a container pass the GPU through (--gpus all)",
        )
    major, minor = divmod(version.value, 1000)
    detail = f"CUDA {major}.{minor // 10}, {count.value} GPU(s)"
    if major < 13:
        return Finding(
            check="NVIDIA driver",
            state="warn",
            detail=detail,
            remedy="current ONNX Runtime and torch wheels are built for CUDA 13: update the driver",
        )
    return Finding(check="NVIDIA driver", state="ok", detail=detail)


def check_cameras() -> Finding:
    """V4L2 devices that this user may read."""
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        return Finding(check="cameras", state="absent", detail="no /dev/video* device")
    closed = [str(d) for d in devices if not os.access(d, os.R_OK | os.W_OK)]
    if closed:
        return Finding(
            check="cameras",
            state="fail",
            detail=f"no permission for {', '.join(closed)}",
            remedy="sudo usermod -aG video $USER, then log in again",
        )
    return Finding(check="cameras", state="ok", detail=", ".join(str(d) for d in devices))


def check_disk() -> Finding:
    """Free space where recordings would be written."""
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    if free < 5:
        return Finding(
            check="disk",
            state="warn",
            detail=f"{free:.1f} GiB free here",
            remedy="an hour of 1080p overlay takes about 2 GiB",
        )
    return Finding(check="disk", state="ok", detail=f"{free:.0f} GiB free here")
