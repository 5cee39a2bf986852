"""The checks of the machine: Python, NVIDIA driver, cameras, disk.

check_disk().detail     # "120 GiB free here"
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from trocar.contract.tensorrt.gpu import query_driver
from trocar.doctor.finding import Finding


def check_python() -> Finding:
    """Python's version and the machine's kind."""
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding(check="Python", state="ok", detail=detail)


def check_driver() -> Finding:
    """NVIDIA's driver: loaded, initialised, and with at least one GPU."""
    driver = query_driver()
    if not driver.installed:
        return Finding(
            check="NVIDIA driver",
            state="absent",
            detail=driver.reason,
            remedy="for GPU inference install NVIDIA's driver (nvidia-smi must answer)",
        )
    if not driver.count:
        return Finding(
            check="NVIDIA driver",
            state="fail",
            detail=driver.reason,
            remedy="run nvidia-smi; in a container pass the GPU through (--gpus all)",
        )
    major, minor = driver.version
    detail = f"CUDA {major}.{minor}, {driver.count} GPU(s)"
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
