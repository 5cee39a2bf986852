"""Launching through ``cuda.bindings``: the real package, on a GPU of stubs."""

from __future__ import annotations

import json
import types

import pytest
import torch
from stub_gpu import build_stubs

from trocar.contract.errors import BackendError
from trocar.cuda_kernels.backends.kernels import device_offsets

LAUNCH = """
import ctypes, json, types
import torch
from trocar.cuda_kernels.backends._cuda_libraries import launch_library
from trocar.cuda_kernels.backends.kernels import Int64
from trocar.cuda_kernels.backends.launch_plan import LaunchShape
# torch has no CUDA here; of it only the stream is asked for.
torch.cuda.current_stream = lambda device: types.SimpleNamespace(cuda_stream=0)
library = launch_library(torch.device("cuda", 0))
function = library.load(b"a cubin", "hard_counts")
library.allow_shared(function, 65536)
tensor = torch.zeros(4)
with library.ordered() as stream:
    arguments = (tensor, 7, Int64(-3), None)
    library.launch(function, LaunchShape((5, 2, 1), 96, 1024), arguments, stream)
out = (ctypes.c_longlong * 6)()
ctypes.CDLL("libcuda.so.1").stub_gpu_launched(out)
print(json.dumps({"launch": [*out], "pointer": tensor.data_ptr(), "can": library.capability}))
"""


def test_arguments_arrive_as_the_kernel_takes_them(tmp_path) -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    answer = build_stubs(tmp_path).run_driver(LAUNCH)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["launch"] == [5, 96, 1024, found["pointer"], 7, -3]
    assert found["can"] == [9, 0]


def test_offsets_are_never_copied_inside_a_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    gpu = types.SimpleNamespace(type="cuda")
    with pytest.raises(BackendError, match="a capture of a CUDA graph cannot copy them"):
        device_offsets.__wrapped__(((0, 1),), gpu)
