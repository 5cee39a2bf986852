"""ONNX Runtime's CUDA provider: the real one of the installed wheel, on a GPU of stubs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from stub_gpu import StubGpu, build_stubs

from trocar.contract.bundle import MODEL
from trocar.contract.errors import BackendError
from trocar.runtime.backends import onnxruntime_cuda
from trocar.runtime.devices import Device

CUDA = Device("cuda")


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> StubGpu:
    return build_stubs(tmp_path_factory.mktemp("stub_gpu"))


OPEN = """
import json, pathlib
from trocar.contract.errors import TrocarError
from trocar.runtime.backends import open_backend
def use_tf32(precision):
    model = pathlib.Path({model!r})
    backend = open_backend("onnxruntime", model, device="cuda", precision=precision)
    options = backend.session.get_provider_options()["CUDAExecutionProvider"]
    return backend.session.get_providers()[0], backend.precision, options["use_tf32"]
try:
    print(json.dumps([use_tf32(None), use_tf32("tf32")]))
except TrocarError as error:
    print(json.dumps(str(error)))
"""


def test_cuda_starts_with_the_libraries_of_the_wheels(stubs: StubGpu, tiny_bundle: Path) -> None:
    """The loader finds the driver alone. TF32 is off unless it is asked for."""
    pytest.importorskip("nvidia.cudnn", reason="the wheels of CUDA are not installed")
    answer = stubs.run(OPEN.format(model=str(tiny_bundle / MODEL)), libraries=False)
    assert answer.returncode == 0, answer.stderr
    provider = "CUDAExecutionProvider"
    assert json.loads(answer.stdout) == [[provider, "fp32", "0"], [provider, "tf32", "1"]]


def test_doctor_opens_a_cuda_session(stubs: StubGpu) -> None:
    """With the libraries it runs; without them it says which are missing."""
    answer = stubs.run(
        "from trocar.doctor.cuda_session import check_cuda_session as check\n"
        "from trocar.doctor import probe\n"
        "found = check(); print(found.state, found.detail)\n",
        libraries=False,
    )
    assert answer.stdout.startswith("ok a session runs on cuda:0"), answer.stdout + answer.stderr


DRIVER = """
import ctypes, json
from trocar.runtime.backends.cuda_driver import BindingsDriver, CaptureError
held = ctypes.CDLL(None).stub_gpu_held
driver, answer = BindingsDriver(0), {}
with driver.current():
    stream, there = driver.stream(), driver.device(8)
    pinned = [driver.pinned(8), driver.pinned(8)]
    pinned[0][:] = range(8)
    driver.to_device(there, pinned[0], stream)
    graph = driver.capture(stream, lambda: driver.to_host(pinned[1], there, stream))
    graph.launch()
    driver.wait(stream)
    answer["copied"] = pinned[1].tolist()
    def fail():
        raise RuntimeError("not while capturing")
    try:
        driver.capture(stream, fail)
    except CaptureError as error:
        answer["refused"] = str(error)
    graph.close()
    driver.free(stream=stream, pinned=pinned, device=[there])
driver.close()
print(json.dumps({**answer, "held": held()}))
"""


def test_the_driver_speaks_to_cuda_through_its_bindings(stubs: StubGpu) -> None:
    """The real package: names, signatures and handles; what was taken is given back."""
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    answer = stubs.run(DRIVER)
    assert answer.returncode == 0, answer.stderr
    expected = {"copied": list(range(8)), "refused": "not while capturing", "held": 0}
    assert json.loads(answer.stdout) == expected


PLACE = """
import onnxruntime
settings = onnxruntime.SessionOptions()
settings.log_severity_level, settings.log_verbosity_level = 0, 1
cuda = {{"device_id": 0, "enable_cuda_graph": "1"}}
providers = [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
onnxruntime.InferenceSession({model!r}, settings, providers=providers)
"""


def test_every_node_of_a_frame_is_on_the_gpu(stubs: StubGpu, tiny_bundle: Path) -> None:
    """With this wheel and with the oldest one: nothing crosses to the CPU in a frame."""
    answer = stubs.run(PLACE.format(model=str(tiny_bundle / MODEL)))
    assert answer.returncode == 0, answer.stderr[-2000:]
    placed = re.findall(r"odes? placed on \[(\w+)\]\. Number of nodes: (\d+)", answer.stderr)
    assert [name for name, _ in placed] == ["CUDAExecutionProvider"], placed
    assert "MemcpyFromHost" not in answer.stderr


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ("libcublasLt.so.13",)
    monkeypatch.setattr(onnxruntime_cuda, "preload_libraries", lambda: missing)
    with pytest.raises(BackendError, match=r"needs libcublasLt\.so\.13") as caught:
        onnxruntime_cuda.require_libraries(CUDA)
    assert "onnxruntime-gpu[cuda,cudnn]" in caught.value.remedy


def test_a_release_that_leaves_nodes_on_the_cpu_is_refused() -> None:
    onnxruntime_cuda.check_version("1.28.0")
    onnxruntime_cuda.check_version("2.0.0")
    with pytest.raises(BackendError, match=r"1\.26\.0 runs a part of the graph on the CPU"):
        onnxruntime_cuda.check_version("1.26.0")


def test_the_precisions_of_cuda() -> None:
    def chosen(wanted: str | None, graph: str, device: Device = CUDA) -> str:
        return onnxruntime_cuda.check_precision(wanted, graph, device, name="model.onnx")

    assert chosen(None, "fp32") == chosen("fp32", "fp32") == "fp32"
    assert chosen("tf32", "fp32") == "tf32"
    assert chosen(None, "int8", Device("cpu")) == "int8"
    with pytest.raises(BackendError, match=r"int8, which .* computes in float32") as caught:
        chosen(None, "int8")
    assert "--precision fp16" in caught.value.remedy
    for graph, device in (("fp16", CUDA), ("fp32", Device("cpu"))):
        with pytest.raises(BackendError, match="TF32 is for fp32 graphs on CUDA"):
            chosen("tf32", graph, device)
    with pytest.raises(BackendError, match="fp16 was requested"):
        chosen("fp16", "fp32")
