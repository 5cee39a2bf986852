"""ONNX Runtime with CUDA graphs, without a GPU: the library's own names, and a replay's blindness.

A replayed graph reads and writes where it was recorded, whatever is bound now; so does the
fake.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from trocar.contract.bundle import MODEL
from trocar.contract.errors import BackendError, BundleError, ConfigError
from trocar.runtime.backends import cuda_graph, open_backend
from trocar.runtime.backends import onnxruntime as backend_module
from trocar.runtime.backends.cuda_graph import MAX_GRAPHS, CudaGraphCache


class Value:
    """Memory of a device at an address of its own."""

    memory: dict[int, np.ndarray] = {}  # noqa: RUF012
    free = itertools.count(1)

    def __init__(self, array: np.ndarray) -> None:
        self.address = next(self.free)
        self.memory[self.address] = array.copy()

    @classmethod
    def ortvalue_from_numpy(cls, array: np.ndarray, kind: str, index: int) -> Value:
        assert (kind, index) == ("cuda", 1)
        return cls(array)

    def update_inplace(self, array: np.ndarray) -> None:
        assert array.shape == self.memory[self.address].shape
        self.memory[self.address][...] = array

    def numpy(self) -> np.ndarray:
        return self.memory[self.address]


class Binding:
    def __init__(self) -> None:
        self.inputs: dict[str, Value] = {}
        self.outputs: dict[str, Value | None] = {}

    def bind_ortvalue_input(self, name: str, value: Value) -> None:
        self.inputs[name] = value

    def bind_output(self, name: str, kind: str, index: int) -> None:
        self.outputs[name] = None

    def bind_ortvalue_output(self, name: str, value: Value) -> None:
        self.outputs[name] = value

    def get_outputs(self) -> list[Any]:
        return list(self.outputs.values())

    def synchronize_inputs(self) -> None: ...

    def synchronize_outputs(self) -> None: ...


class Options:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value


class RecordingSession:
    """Adds ``shift`` to the frames; records by number, replays at the recorded addresses."""

    def __init__(self) -> None:
        self.graphs: dict[str, Callable[[], None]] = {}
        self.log: list[str] = []
        self.threads: set[int] = set()

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding, options: Options) -> None:
        self.threads.add(threading.get_ident())
        number = options.entries["gpu_graph_id"]
        if number in self.graphs:
            self.log.append(f"replay {number}")
            self.graphs[number]()
            return
        frames, shift = binding.inputs["frame"].address, binding.inputs["shift"].address
        memory = Value.memory
        if binding.outputs["labels"] is None:
            binding.outputs["labels"] = Value(np.zeros_like(memory[frames]))
        target = binding.outputs["labels"].address

        def work() -> None:
            memory[target][...] = memory[frames] + memory[shift]

        work()
        self.log.append(f"run {number}")
        if number != "-1":
            self.graphs[number] = work


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> RecordingSession:
    fake_library = SimpleNamespace(OrtValue=Value, RunOptions=Options)
    monkeypatch.setattr(cuda_graph, "onnxruntime", fake_library)
    return RecordingSession()


def test_one_graph_a_shape_at_addresses_that_stay(recording: RecordingSession) -> None:
    runs = CudaGraphCache(recording, index=1)
    shift = np.array([3], np.uint8)
    kept = []
    for value in range(4):
        for batch in (1, 2):
            frames = np.full((batch, 4, 5, 3), value + 10 * batch, np.uint8)
            (labels,) = runs.infer("frame", frames, {"shift": shift}, ["labels"])
            assert (labels == frames + 3).all()
            kept.append((labels, frames + 3))
    # Answers are the caller's: later replays leave them alone.
    assert all((a == b).all() for a, b in kept)
    assert recording.log == [
        *("run -1", "run -1", "run 1", "run 2"),
        *("replay 1", "replay 2", "replay 1", "replay 2"),
    ]
    runs.clear()
    (labels,) = runs.infer("frame", frames, {"shift": shift + 1}, ["labels"])
    assert (labels == frames + 4).all()
    (labels,) = runs.infer("frame", frames, {"shift": shift + 1}, ["labels"])
    assert (labels == frames + 4).all()
    assert recording.log[-2:] == ["run -1", "run 3"]
    runs.close()


def test_only_some_shapes_get_graphs_and_one_thread_runs_them(recording: RecordingSession) -> None:
    runs = CudaGraphCache(recording, index=1)
    shift = np.array([1], np.uint8)
    wrong: list[int] = []

    def go(batch: int) -> None:
        for _ in range(3):
            frames = np.full((batch, 2, 2, 3), batch, np.uint8)
            (labels,) = runs.infer("frame", frames, {"shift": shift}, ["labels"])
            if not (labels == batch + 1).all():
                wrong.append(batch)

    threads = [threading.Thread(target=go, args=(batch + 1,)) for batch in range(MAX_GRAPHS + 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(recording.graphs) == MAX_GRAPHS
    assert len(recording.threads) == 1
    runs.close()


def test_a_recording_that_fails_leaves_the_shape_without_a_graph(
    recording: RecordingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = CudaGraphCache(recording, index=1)
    plain = recording.run_with_iobinding

    def refuse(binding: Binding, options: Options) -> None:
        if options.entries["gpu_graph_id"] != "-1":
            raise RuntimeError("operation not permitted when stream is capturing")
        plain(binding, options)

    monkeypatch.setattr(recording, "run_with_iobinding", refuse)
    shift = np.array([3], np.uint8)
    for value in range(5):
        frames = np.full((1, 4, 5, 3), value, np.uint8)
        (labels,) = runs.infer("frame", frames, {"shift": shift}, ["labels"])
        assert (labels == frames + 3).all()
    (note,) = runs.notes
    assert "[1, 4, 5, 3] run without a CUDA graph: operation not permitted" in note
    runs.close()


def test_the_librarys_own_calls_are_these(
    tiny_bundle: Path, tiny: ModuleType, rng: np.random.Generator
) -> None:
    """The same calls on the CPU, where nothing is recorded, give what a plain run gives."""
    session = onnxruntime.InferenceSession(
        str(tiny_bundle / MODEL), providers=["CPUExecutionProvider"]
    )
    runs = CudaGraphCache(session, kind="cpu")
    names = [output.name for output in session.get_outputs()]
    for shift in range(3):
        for batch in (1, 3):
            frames = np.stack([tiny.tiny_frame(70, 90, shift=shift + b) for b in range(batch)])
            given = runs.infer("frame", frames, {}, names)
            expected = session.run(names, {"frame": frames})
            assert all((a == b).all() for a, b in zip(given, expected, strict=True))
    runs.close()


def test_asking_for_graphs_reaches_the_provider_or_is_an_error(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_bundle / MODEL
    with pytest.raises(BackendError, match="CUDA graphs were requested on cpu"):
        open_backend("onnxruntime", model, graphs=True)
    monkeypatch.setattr(backend_module, "require_cuda", lambda device: None)
    monkeypatch.setattr(backend_module, "require_libraries", lambda device: None)
    # The lowest version for CPUs is older than that for CUDA.
    monkeypatch.setattr(backend_module, "check_version", lambda: None)
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    asked: list[Any] = []

    class Refusing:
        def __init__(self, path: str, options: Any, *, providers: list[Any]) -> None:
            asked.append(providers)
            raise RuntimeError("not all nodes are on CUDA\nand so on")

    monkeypatch.setattr(onnxruntime, "InferenceSession", Refusing)
    with pytest.raises(BackendError, match=r"CUDA graphs were requested, but .* not all nodes"):
        open_backend("onnxruntime", model, device="cuda:1", graphs=True)
    with pytest.raises(BundleError, match="not all nodes are on CUDA"):
        open_backend("onnxruntime", model, device="cuda:1")
    cuda, plain = "CUDAExecutionProvider", {"device_id": 1, "use_tf32": "0"}
    assert asked == [
        [(cuda, {**plain, "enable_cuda_graph": "1"}), "CPUExecutionProvider"],
        [(cuda, plain), "CPUExecutionProvider"],
    ]


def test_the_flag_is_onnx_runtimes(tiny_bundle: Path) -> None:
    from trocar.runtime.pipeline.options import ModelOptions

    with pytest.raises(ConfigError, match="--cuda-graph is for --backend onnxruntime"):
        ModelOptions(path=tiny_bundle, backend="openvino", cuda_graph=True)
