"""Where an engine runs: an execution context, a stream and buffers for every thread and shape.

    lanes = EngineLanes(engine, driver, ports, graphs=True, profile="batch 1 of 1080x1920")
    lane = lanes.lane((1, 1080, 1920, 3)); lane.run(frames)

A lane lives as long as its thread, so a shape that comes again finds its graph and its buffers.
From the second run on, copies and kernels are one CUDA graph; where they cannot be recorded, the
lane goes on without.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import BackendError
from trocar.runtime.backends.cuda_driver import CaptureError, Driver, Graph

MAX_LANES = 8
"""Shapes of one thread that keep a lane; the one that was used least of late makes room."""

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Inputs and outputs of an engine.

    Attributes:
        entry: Name of the input that takes frames.
        outputs: Names of the outputs.
        types: NumPy type of each, by name.
    """

    entry: str
    outputs: Sequence[str]
    types: Mapping[str, np.dtype[Any]]


@dataclass
class Lane:
    """One execution context with its stream, its buffers and its graph; used by one thread."""

    driver: Driver
    context: Any
    ports: Ports
    graphs: bool
    tell: Callable[[str], None]
    stream: int
    shape: Shape = ()
    host: dict[str, NDArray[Any]] = field(default_factory=dict)
    raw: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    device: dict[str, int] = field(default_factory=dict)
    num_runs: int = 0
    graph: Graph | None = None

    def run(self, frames: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Runs frames of the lane's shape; the results are copies."""
        np.copyto(self.host[self.ports.entry], frames)
        if self.graph is None and self.graphs and self.num_runs == 1:
            # Recorded on the second run: during the first run the engine allocates memory.
            self._record()
        self.num_runs += 1
        if self.graph is not None:
            self.graph.launch()
        else:
            self._enqueue()
        self.driver.wait(self.stream)
        return {name: self.host[name].copy() for name in self.ports.outputs}

    def prepare(self, shape: Shape, profile: str) -> None:
        """Sets the input's shape and allocates buffers for it.

        Raises:
            BackendError: The engine refuses the shape or a buffer.
        """
        if not self.context.set_input_shape(self.ports.entry, shape):
            raise BackendError(
                f"the engine does not take frames {list(shape)}: its profile takes {profile}",
                remedy="trocar export BUNDLE --engine … "
                f"--engine-shape {shape[2]}x{shape[1]} --batch {shape[0]}",
            )
        for name in (self.ports.entry, *self.ports.outputs):
            size = tuple(int(d) for d in self.context.get_tensor_shape(name))
            if any(d < 0 for d in size):
                raise BackendError(
                    f"output {name} has an unknown size {list(size)}",
                    remedy="build the engine again; outputs may not depend on values",
                )
            kind = self.ports.types[name]
            nbytes = prod(size) * kind.itemsize
            raw = self.raw[name] = self.driver.pinned(nbytes)
            self.host[name] = raw[:nbytes].view(kind).reshape(size)
            self.device[name] = self.driver.device(nbytes)
            if not self.context.set_tensor_address(name, self.device[name]):
                raise BackendError(
                    f"TensorRT refused the buffer of {name}", remedy="report this as a bug"
                )
        self.shape = shape

    def close(self) -> None:
        """Waits for what is on its way, and frees everything; the context is current."""
        # The fault that led here is the one to tell.
        with contextlib.suppress(Exception):
            self.driver.wait(self.stream)
        if self.graph is not None:
            self.graph.close()
        self.graph = self.context = None
        self.host.clear()
        pinned, device = list(self.raw.values()), list(self.device.values())
        self.driver.free(stream=self.stream, pinned=pinned, device=device)
        self.raw.clear()
        self.device.clear()

    def _record(self) -> None:
        capturable = getattr(self.context, "is_stream_capturable", None)
        try:
            if capturable is not None and not capturable(self.stream):
                raise CaptureError("the engine allocates memory while it runs")
            self.graph = self.driver.capture(self.stream, self._enqueue)
        except CaptureError as error:
            self.tell(f"frames {list(self.shape)} run without a CUDA graph: {error}")

    def _enqueue(self) -> None:
        entry = self.ports.entry
        self.driver.to_device(self.device[entry], self.raw[entry], self.stream)
        if not self.context.execute_async_v3(self.stream):
            raise RuntimeError("execute_async_v3 failed; its log says why")
        for name in self.ports.outputs:
            self.driver.to_host(self.raw[name], self.device[name], self.stream)


class _ThreadLanes:
    """The lanes of one thread by shape; freed when the thread ends."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.by_shape: dict[Shape, Lane] = {}

    def close(self) -> None:
        """Frees all lanes."""
        lanes = list(self.by_shape.values())
        self.by_shape.clear()
        if lanes:
            with self._driver.current():
                for lane in lanes:
                    lane.close()

    def __del__(self) -> None:
        self.close()


class EngineLanes:
    """All lanes of an engine.

    Args:
        engine: A deserialized ``ICudaEngine``.
        driver: CUDA.
        ports: The engine's inputs and outputs.
        graphs: Whether CUDA graphs are recorded.
        profile: What the engine takes, in words.

    Attributes:
        notes: What a person should know: shapes that run without a graph.
    """

    def __init__(
        self, engine: Any, driver: Driver, ports: Ports, *, graphs: bool, profile: str
    ) -> None:
        self._engine = engine
        self._driver = driver
        self._ports = ports
        self._graphs = graphs
        self._profile = profile
        self._local = threading.local()
        self._all: weakref.WeakSet[_ThreadLanes] = weakref.WeakSet()
        self._lock = threading.Lock()
        self.notes: list[str] = []

    def lane(self, shape: Shape) -> Lane:
        """This thread's lane for frames of a shape; the context is current.

        Raises:
            BackendError: The engine does not take the shape, or gives no execution context.
        """
        lanes = self._mine().by_shape
        lane = lanes.pop(shape, None)
        if lane is None:
            lane = self._new(shape)
            while len(lanes) >= MAX_LANES:
                lanes.pop(next(iter(lanes))).close()
        lanes[shape] = lane
        return lane

    def drop(self, shape: Shape) -> None:
        """Frees this thread's lane of a shape: nothing of a failed run is trusted."""
        lane = self._mine().by_shape.pop(shape, None)
        if lane is not None:
            lane.close()

    def close(self) -> None:
        """Frees the lanes of all threads, then the engine."""
        with self._lock:
            everybody = list(self._all)
        for lanes in everybody:
            lanes.close()
        self._engine = None

    def _mine(self) -> _ThreadLanes:
        lanes: _ThreadLanes | None = getattr(self._local, "lanes", None)
        if lanes is None:
            lanes = self._local.lanes = _ThreadLanes(self._driver)
            with self._lock:
                self._all.add(lanes)
        return lanes

    def _new(self, shape: Shape) -> Lane:
        context = self._engine.create_execution_context()
        if context is None:
            raise BackendError(
                "TensorRT created no execution context", remedy="check the GPU's free memory"
            )
        lane = Lane(
            self._driver, context, self._ports, self._graphs, self._tell, self._driver.stream()
        )
        try:
            lane.prepare(shape, self._profile)
        except BaseException:
            lane.close()
            raise
        return lane

    def _tell(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)
