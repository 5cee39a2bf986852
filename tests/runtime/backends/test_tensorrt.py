"""The TensorRT backend against a fake engine: buffers, graphs, threads, failures."""

from __future__ import annotations

import ast
import contextlib
import gc
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from places import ROOT

from trocar.contract.errors import ArgumentError, BackendError, BundleError
from trocar.runtime.backends.cuda_driver import CaptureError
from trocar.runtime.backends.tensorrt import TensorRtBackend


class FakeDriver:
    """CUDA without a GPU: device memory is an array, work is done at `wait`."""

    def __init__(self) -> None:
        self.memory: dict[int, np.ndarray] = {}
        self.depth = 0
        self.held = 0
        self.allocated = 0
        self.streams = 0
        self.capturable = True
        self.graphs = 0
        self.captured = 0
        self.launched = 0
        self.closed = False
        self._recording: list[Callable[[], None]] | None = None

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def stream(self) -> int:
        self.streams += 1
        return 7

    def free(self, *, stream: int, pinned: list[np.ndarray], device: list[int]) -> None:
        assert self.depth > 0, "no context is current"
        self.streams -= 1
        self.held -= len(pinned)
        for address in device:
            self.memory[address] = np.zeros(0, np.uint8)

    def pinned(self, nbytes: int) -> np.ndarray:
        self.allocated += 1
        self.held += 1
        return np.zeros(nbytes, np.uint8)

    def device(self, nbytes: int) -> int:
        address = 4096 * (len(self.memory) + 1)
        self.memory[address] = np.zeros(nbytes, np.uint8)
        return address

    def _do(self, work: Callable[[], None]) -> None:
        assert self.depth > 0, "no context is current"
        if self._recording is not None:
            self._recording.append(work)
        else:
            work()

    def to_device(self, target: int, source: np.ndarray, stream: int) -> None:
        self._do(lambda: np.copyto(self.memory[target][: source.size], source))

    def to_host(self, target: np.ndarray, source: int, stream: int) -> None:
        self._do(lambda: np.copyto(target, self.memory[source][: target.size]))

    def wait(self, stream: int) -> None:
        assert self.depth > 0, "no context is current"

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        if not self.capturable:
            raise CaptureError("a kernel allocates memory")
        self.captured += 1
        self.graphs += 1
        self._recording = []
        work()
        recorded, self._recording = self._recording, None

        def launch() -> None:
            self.launched += 1
            for step in recorded:
                step()

        def close() -> None:
            self.graphs -= 1

        return SimpleNamespace(launch=launch, close=close)

    def close(self) -> None:
        self.closed = True


class FakeEngine:
    """An engine that labels a pixel by its brightest channel; profile: batch 1..2 of 8x10."""

    num_io_tensors = 3
    names = ("frame", "labels", "confidence")

    def __init__(self, driver: FakeDriver) -> None:
        self.types = {"frame": "UINT8", "labels": "UINT8", "confidence": "HALF"}
        self.driver = driver
        self.contexts = 0
        self.broken = False
        self.capturable = True

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Any:
        return SimpleNamespace(name="INPUT" if name == "frame" else "OUTPUT")

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=self.types[name])

    def get_tensor_profile_shape(self, name: str, index: int) -> tuple[Any, Any, Any]:
        return (1, 8, 10, 3), (1, 8, 10, 3), (2, 8, 10, 3)

    def create_execution_context(self) -> Any:
        self.contexts += 1
        return FakeContext(self)


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        return 1 <= shape[0] <= 2 and tuple(shape[1:]) == (8, 10, 3)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape if name == "frame" else self.shape[:3]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        return self.engine.capturable

    def execute_async_v3(self, handle: int) -> bool:
        assert handle == 7
        if self.engine.broken:
            return False
        memory = self.engine.driver.memory
        shape = self.shape

        def work() -> None:
            count = int(np.prod(shape))
            frames = memory[self.addresses["frame"]][:count].reshape(shape)
            labels = frames.argmax(axis=-1).astype(np.uint8)
            memory[self.addresses["labels"]][: labels.size] = labels.ravel()
            confidence = np.full(labels.shape, 0.5, np.float16)
            memory[self.addresses["confidence"]][: labels.size * 2] = confidence.view(
                np.uint8
            ).ravel()

        self.engine.driver._do(work)
        return True


@pytest.fixture
def fake() -> Iterator[tuple[TensorRtBackend, FakeDriver, FakeEngine]]:
    driver = FakeDriver()
    engine = FakeEngine(driver)
    backend = TensorRtBackend(engine, driver, name="tensorrt", device="cuda:0", precision="fp16")
    yield backend, driver, engine
    backend.close()
    assert driver.closed
    assert (driver.depth, driver.held, driver.streams, driver.graphs) == (0, 0, 0, 0)


def test_tensorrt_buffers_graphs_and_copies(fake: Any, rng: np.random.Generator) -> None:
    backend, driver, _ = fake
    kept = []
    for _ in range(5):
        frames = rng.integers(0, 255, (1, 8, 10, 3), np.uint8)
        given = backend.infer(frames)
        assert np.array_equal(given["labels"], frames.argmax(axis=-1))
        assert given["confidence"].dtype == np.float16
        assert (given["confidence"] == 0.5).all()
        kept.append((given["labels"], frames.argmax(axis=-1)))
    # Results are the caller's: later frames leave them alone.
    assert all(np.array_equal(a, b) for a, b in kept)
    assert driver.allocated == 3
    assert (driver.captured, driver.launched) == (1, 4)
    two = rng.integers(0, 255, (2, 8, 10, 3), np.uint8)
    assert np.array_equal(backend.infer(two)["labels"], two.argmax(axis=-1))
    assert driver.allocated == 6
    # A shape that comes again finds its buffers and its graph.
    assert np.array_equal(backend.infer(frames)["labels"], frames.argmax(axis=-1))
    assert (driver.allocated, driver.captured, driver.launched) == (6, 1, 5)


def test_what_cannot_be_recorded_runs_without_a_graph_and_says_so(
    fake: Any, rng: np.random.Generator
) -> None:
    backend, driver, _ = fake
    driver.capturable = False
    for _ in range(5):
        frames = rng.integers(0, 255, (1, 8, 10, 3), np.uint8)
        assert np.array_equal(backend.infer(frames)["labels"], frames.argmax(axis=-1))
    assert driver.allocated == 3
    (note,) = backend.notes
    assert "without a CUDA graph: a kernel allocates memory" in note


def test_an_engine_that_allocates_while_it_runs_is_not_recorded(fake: Any) -> None:
    """TensorRT for RTX says it itself."""
    backend, driver, engine = fake
    engine.capturable = False
    for _ in range(3):
        backend.infer(np.zeros((1, 8, 10, 3), np.uint8))
    assert driver.captured == 0
    assert len(backend.notes) == 1


def test_tensorrt_refuses_what_its_profile_excludes_and_goes_on(
    fake: Any, rng: np.random.Generator
) -> None:
    backend, _, engine = fake
    good = rng.integers(0, 255, (1, 8, 10, 3), np.uint8)
    backend.infer(good)
    with pytest.raises(BackendError, match="profile takes") as caught:
        backend.infer(np.zeros((1, 9, 10, 3), np.uint8))
    assert "--engine-shape 10x9 --batch 1" in caught.value.remedy
    with pytest.raises(ArgumentError, match="uint8"):
        backend.infer(np.zeros((1, 8, 10, 3), np.float32))
    assert np.array_equal(backend.infer(good)["labels"], good.argmax(axis=-1))
    engine.broken = True
    with pytest.raises(BackendError, match="execute_async_v3 failed"):
        backend.infer(np.zeros((2, 8, 10, 3), np.uint8))
    engine.broken = False
    assert np.array_equal(backend.infer(good)["labels"], good.argmax(axis=-1))


def test_tensorrt_has_a_context_for_each_thread(fake: Any) -> None:
    backend, driver, engine = fake
    threads = [
        threading.Thread(target=backend.infer, args=(np.zeros((1, 8, 10, 3), np.uint8),))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
        thread.join()
    assert engine.contexts == 3
    # What a thread had is freed with it.
    gc.collect()
    assert (driver.held, driver.streams) == (0, 0)
    backend.infer(np.zeros((1, 8, 10, 3), np.uint8))
    assert driver.streams == 1


def test_an_engine_with_another_input_is_refused() -> None:
    driver = FakeDriver()
    engine = FakeEngine(driver)
    engine.types["frame"] = "FLOAT"
    with pytest.raises(BundleError, match="expected one input of uint8"):
        TensorRtBackend(engine, driver, name="tensorrt", device="cuda:0", precision="fp32")


@pytest.mark.parametrize(
    "flavour", ["tensorrt-10.0", "tensorrt-10.16", "tensorrt-11.1", "tensorrt-rtx-1.7"]
)
def test_every_tensorrt_name_is_in_every_version(flavour: str) -> None:
    file = ROOT / "tests" / "export" / "tensorrt" / "api_names" / f"{flavour}.json"
    known = file.read_text(encoding="utf-8")
    files = [ROOT / "runtime" / "backends" / f"{n}.py" for n in ("tensorrt", "engine_lanes")]
    tree = ast.parse(
        "\n".join(
            f.read_text(encoding="utf-8").replace("from __future__ import annotations", "")
            for f in files
        )
    )
    ours = {"trt", "context", "_engine", "engine", "runtime", "refitter", "parser"}
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            if name in ours and not node.attr.startswith("__"):
                used.add(node.attr)
    assert {"execute_async_v3", "set_tensor_address", "deserialize_cuda_engine"} <= used
    missing = {name for name in used if f'"{name}"' not in known}
    assert not missing
