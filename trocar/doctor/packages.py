"""The checks of installed Python packages; native libraries are loaded in a separate process.

check_onnxruntime().state     # "ok"
"""

from __future__ import annotations

import importlib.util

from trocar.contract.tensorrt.engines import LIBRARIES
from trocar.doctor.finding import Finding
from trocar.doctor.machine import check_driver
from trocar.doctor.probe import cpu_flags, last_line, run_python, version_of


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


def _imported(
    check: str, code: str, *, absent: tuple[str, str] | None, broken: str, version: str = ""
) -> Finding:
    """Whether a package is there and imports.

    Args:
        check: Name of the check.
        code: Imports the package; what it prints is the detail where ``version`` is empty.
        absent: Detail and remedy where the package is not installed, ``None`` where it is.
        broken: Remedy where the import fails.
        version: Name and version for the detail.
    """
    if absent is not None:
        return Finding(check=check, state="absent", detail=absent[0], remedy=absent[1])
    answer = run_python(code)
    if answer.returncode:
        fault = ": ".join(filter(None, (version, last_line(answer.stderr))))
        return Finding(check=check, state="fail", detail=fault, remedy=broken)
    return Finding(check=check, state="ok", detail=version or answer.stdout.strip())


def check_onnxruntime() -> Finding:
    """ONNX Runtime: whether it is installed and imports."""
    missing = (
        "not installed; --backend onnxruntime, the default, needs it",
        "pip install 'trocar[cpu]', or 'trocar[gpu]' for CUDA; one of them",
    )
    wheel = "onnxruntime-gpu" if version_of("onnxruntime-gpu") else "onnxruntime"
    return _imported(
        "ONNX Runtime",
        "import onnxruntime as ort; print(ort.__version__)",
        absent=missing if importlib.util.find_spec("onnxruntime") is None else None,
        broken=f"pip install --force-reinstall {wheel}",
    )


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
        answer = run_python(f"import {module} as t; print(t.__version__)")
        if answer.returncode:
            findings.append(
                Finding(
                    check=name,
                    state="fail",
                    detail=last_line(answer.stderr),
                    remedy="the wheel's libraries are missing: install them from NVIDIA's index",
                )
            )
            continue
        version = answer.stdout.strip()
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
    bf16 = bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
    detail = f"{version}; this processor has {'' if bf16 else 'no '}bfloat16"
    return Finding(check="OpenVINO", state="ok", detail=detail)


def check_webrtc() -> Finding:
    """aiortc, which sends the live page's pictures as video, and whether it imports."""
    missing = (
        "not installed; the live page shows JPEG pictures",
        "for its pictures as video: pip install 'trocar[webrtc]'",
    )
    version = version_of("aiortc")
    return _imported(
        "WebRTC",
        "import aiortc",
        absent=missing if version is None else None,
        broken="pip install --force-reinstall aiortc av cryptography",
        version=f"aiortc {version}",
    )


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
    answer = run_python(code)
    if answer.returncode:
        return Finding(
            check="codecs",
            state="fail",
            detail=last_line(answer.stderr),
            remedy="pip install --force-reinstall av",
        )
    version, x264, h264, hevc, nvenc = answer.stdout.split()
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
