"""libtrocar starts ONNX Runtime's real CUDA provider on a GPU of stubs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from places import ROOT
from stub_gpu import build_stubs

OPEN = """
import ctypes, json, sys
sys.path.insert(0, {examples!r})
from trocar_ctypes import Error, Options, make
library = ctypes.CDLL({library!r})
answers = []
for precision in (None, b"fp16"):
    options = make(Options, threads=1, device=b"cuda", precision=precision, library={runtime!r})
    error, session = make(Error), ctypes.c_void_p()
    library.trocar_session_open(
        {bundle!r}, ctypes.byref(options), ctypes.byref(session), ctypes.byref(error)
    )
    answers.append([error.code, error.message.decode(), error.remedy.decode()])
print(json.dumps(answers))
"""
BACKEND, PARITY = 9, 8


def test_cuda_starts_with_the_libraries_of_the_wheels(
    library: str, onnxruntime_library: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    """The loader finds the driver alone. The kernels compute nothing: the golden frame fails."""
    pytest.importorskip("nvidia.cudnn", reason="the wheels of CUDA are not installed")
    code = OPEN.format(
        examples=str(ROOT / "runtime" / "cpp" / "examples"),
        library=library,
        runtime=onnxruntime_library.encode(),
        bundle=str(tiny_bundle).encode(),
    )
    answer = build_stubs(tmp_path).run(code, libraries=False)
    assert answer.returncode == 0, answer.stderr
    (opened, _, _), (refused, text, _) = json.loads(answer.stdout)
    assert "cannot load" not in answer.stdout
    assert opened in (BACKEND, PARITY)
    assert refused == BACKEND
    assert "precision fp16 was requested, but the graph is fp32" in text
