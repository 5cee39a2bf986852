"""The checks of `trocar doctor`: each tries the thing itself and says how to mend it.

    check_onnxruntime().state

A provider that ONNX Runtime merely lists proves nothing; native libraries are asked in a process of
their own, so that a broken one takes nothing down.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trocar.contract.engines import LIBRARIES
from trocar.contract.gpu import query_driver

State = Literal["ok", "warn", "fail", "absent"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        check: What was looked at.
        state: ``ok``; ``warn``: works, with a catch; ``fail``: is there and does not work;
            ``absent``: is not there, which is fine unless it is wanted.
        detail: What was seen.
        remedy: What to do about it; empty when there is nothing to do.
    """

    check: str
    state: State
    detail: str
    remedy: str = ""


def version_of(package: str) -> str | None:
    """The installed version of a distribution, ``None`` when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_python() -> Finding:
    """Python's version and the machine's kind."""
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding(check="Python", state="ok", detail=detail)


def check_wheels() -> Finding:
    """Wheels that overwrite each other's files when both are installed."""
    pairs = (
        ("onnxruntime", "onnxruntime-gpu"),
        ("opencv-python", "opencv-python-headless"),
        ("opencv-contrib-python", "opencv-python-headless"),
    )
    clashes = [(a, b) for a, b in pairs if version_of(a) and version_of(b)]
    if not clashes:
        return Finding(check="wheel conflicts", state="ok", detail="none")
    a, b = clashes[0]
    return Finding(
        check="wheel conflicts",
        state="fail",
        detail="; ".join(f"{a} and {b} are both installed" for a, b in clashes),
        remedy=f"pip uninstall -y {a} {b} && pip install {b}",
    )


def check_torch() -> Finding:
    """Whether torch and torchvision fit each other; asked in a process of its own."""
    if version_of("torch") is None:
        return Finding(
            check="torch",
            state="absent",
            detail="not installed; running bundles does not need it",
            remedy="to train: pip install 'trocar[train,export]'",
        )
    code = (
        "import torch, torchvision; from torchvision.ops import nms; "
        "nms(torch.zeros(1, 4), torch.zeros(1), 0.5); "
        "print(torch.__version__, torchvision.__version__, torch.cuda.is_available())"
    )
    done = _python(code)
    if done.returncode:
        return Finding(
            check="torch",
            state="fail",
            detail=f"torch {version_of('torch')} with torchvision {version_of('torchvision')}: "
            + _last_line(done.stderr),
            remedy="install both from one place: pip install -c constraints.txt torch torchvision",
        )
    versions = done.stdout.split()
    if versions[2] == "False":
        return Finding(
            check="torch",
            state="ok",
            detail=f"{versions[0]}; no GPU that it can use, trains on CPU",
        )
    return Finding(check="torch", state="ok", detail=f"{versions[0]} with CUDA")


def check_driver() -> Finding:
    """NVIDIA's driver: loaded, initialised, and with at least one GPU."""
    driver = query_driver()
    if not driver.installed:
        return Finding(
            check="NVIDIA driver",
            state="absent",
            detail="libcuda.so.1 cannot be loaded",
            remedy="for GPU inference install NVIDIA's driver (nvidia-smi must answer)",
        )
    if not driver.count:
        return Finding(
            check="NVIDIA driver",
            state="fail",
            detail=f"the driver library is there, but no GPU answers (CUDA error {driver.error})",
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


def check_onnxruntime() -> Finding:
    """ONNX Runtime: whether it imports, and whether its CUDA provider really starts."""
    code = (
        "import os, sys, onnxruntime as ort; ort.set_default_logger_severity(4)\n"
        "listed = ort.get_available_providers()\n"
        "print(ort.__version__, 'CUDAExecutionProvider' in listed)\n"
    )
    done = _python(code)
    if done.returncode:
        return Finding(
            check="ONNX Runtime",
            state="fail",
            detail=_last_line(done.stderr),
            remedy="pip install --force-reinstall onnxruntime-gpu",
        )
    version, lists_cuda = done.stdout.split()
    if lists_cuda == "True" and check_driver().state != "absent":
        missing = [name for name in ("libcudart.so.13", "libcudnn.so.9") if not _loads(name)]
        if missing:
            return Finding(
                check="ONNX Runtime",
                state="warn",
                detail=f"{version}; the CUDA provider lacks {', '.join(missing)}",
                remedy="pip install nvidia-cuda-runtime nvidia-cudnn-cu13 (torch brings both)",
            )
    return Finding(check="ONNX Runtime", state="ok", detail=version)


def check_tensorrt() -> list[Finding]:
    """TensorRT and TensorRT for RTX, each with what it needs."""
    findings = []
    for library in LIBRARIES.values():
        name, module, extra = library.title, library.module, library.extra
        if importlib.util.find_spec(module) is None:
            findings.append(
                Finding(
                    check=name,
                    state="absent",
                    detail="not installed",
                    remedy=f"for its engines: pip install 'trocar[{extra}]'",
                )
            )
            continue
        done = _python(f"import {module} as t; print(t.__version__)")
        if done.returncode:
            findings.append(
                Finding(
                    check=name,
                    state="fail",
                    detail=_last_line(done.stderr),
                    remedy="the wheel's libraries are missing: install them from NVIDIA's index",
                )
            )
            continue
        version = done.stdout.strip()
        if check_driver().state != "ok":
            detail = f"{version}; no GPU here, so engines cannot run"
            detail += " (building for RTX can)" if module == "tensorrt_rtx" else " or be built"
            findings.append(Finding(check=name, state="warn", detail=detail))
        else:
            findings.append(Finding(check=name, state="ok", detail=version))
    return findings


def check_openvino() -> Finding:
    """OpenVINO and whether this processor computes bfloat16."""
    version = version_of("openvino")
    if version is None:
        return Finding(
            check="OpenVINO",
            state="absent",
            detail="not installed",
            remedy="for bfloat16 on CPUs: pip install 'trocar[openvino]'",
        )
    bf16 = bool({"avx512_bf16", "amx_bf16"} & _cpu_flags())
    detail = f"{version}; this processor has {'' if bf16 else 'no '}bfloat16"
    return Finding(check="OpenVINO", state="ok", detail=detail)


def check_versions() -> Finding:
    """Sets of versions that are known not to work together."""
    faults = []
    if version_of("nvidia-modelopt"):
        faults.append("nvidia-modelopt pins an old onnx and onnxruntime-gpu")
    torch = version_of("torch")
    if torch and tuple(int(p) for p in torch.split("+")[0].split(".")[:2]) < (2, 8):
        faults.append(f"torch {torch} is older than 2.8")
    if faults:
        return Finding(
            check="versions",
            state="fail",
            detail="; ".join(faults),
            remedy="use a fresh environment with constraints.txt",
        )
    return Finding(check="versions", state="ok", detail="no known clash")


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


def check_codecs() -> Finding:
    """Video encoders and decoders of the FFmpeg that PyAV carries."""
    code = (
        "import av\n"
        "def has(name, mode):\n"
        "    try:\n        av.codec.Codec(name, mode); return True\n"
        "    except Exception:\n        return False\n"
        "print(av.__version__, has('libx264', 'w'), has('h264', 'r'), has('hevc', 'r'), "
        "has('h264_nvenc', 'w'))"
    )
    done = _python(code)
    if done.returncode:
        return Finding(
            check="codecs",
            state="fail",
            detail=_last_line(done.stderr),
            remedy="pip install --force-reinstall av",
        )
    version, x264, h264, hevc, nvenc = done.stdout.split()
    if "False" in (x264, h264, hevc):
        return Finding(
            check="codecs",
            state="warn",
            detail=f"PyAV {version}: libx264 {x264}, h264 {h264}, hevc {hevc}",
            remedy="install PyAV's own wheel (pip install --only-binary :all: av)",
        )
    detail = f"PyAV {version}: H.264 and HEVC decoding, libx264 encoding"
    return Finding(
        check="codecs", state="ok", detail=detail + (", nvenc listed" if nvenc == "True" else "")
    )


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


def _python(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own: a broken native library cannot take the doctor down."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="ignore")
    except OSError:
        return set()
    for line in text.splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


CHECKS: tuple[Callable[[], Finding | list[Finding]], ...] = (
    check_python,
    check_wheels,
    check_versions,
    check_torch,
    check_driver,
    check_onnxruntime,
    check_tensorrt,
    check_openvino,
    check_codecs,
    check_cameras,
    check_disk,
)
