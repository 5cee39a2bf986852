"""ONNX Runtime with CUDA graphs: one graph a shape, buffers that stay where they are.

    runs = GraphRuns(session, index=0); runs.infer("frame", frames, {}, ["labels"])

ONNX Runtime records a graph when a run carries a new ``gpu_graph_id`` and replays it when that
number comes again. A replay reads and writes where the recording did, so every shape keeps its
buffers. Such a session may not run on several threads: all runs are on one thread of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

ID = "gpu_graph_id"
WITHOUT = "-1"
"""The number of a run that neither records nor replays."""
KEPT = 4
"""Shapes that have a graph; further ones run without, for each graph holds buffers of its own."""

Key = tuple[int, ...]


@dataclass
class _Recorded:
    """Buffers that a graph reads and writes."""

    number: int
    binding: Any
    frames: Any
    outputs: list[Any]


class GraphRuns:
    """The runs of one session whose CUDA provider has ``enable_cuda_graph``.

    Args:
        session: The session.
        kind: Kind of the device: ``cuda`` (``cpu`` in tests, where no graph is recorded).
        index: Its number.
    """

    def __init__(self, session: Any, *, kind: str = "cuda", index: int = 0) -> None:
        self._session = session
        self._place = (kind, index)
        self._recorded: dict[Key, _Recorded] = {}
        self._numbers = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trocar-cuda-graph")

    def infer(
        self,
        entry: str,
        frames: NDArray[np.uint8],
        given: Mapping[str, NDArray[Any]],
        outputs: Sequence[str],
    ) -> list[NDArray[Any]]:
        """Runs frames; the arrays belong to the caller.

        Args:
            entry: Name of the frames' input.
            frames: uint8 ``[N, H, W, 3]``.
            given: Further inputs; the same until `forget` is called.
            outputs: Names of the outputs that are wanted.
        """
        return self._thread.submit(self._infer, entry, frames, given, outputs).result()

    def forget(self) -> None:
        """Drops all graphs, when further inputs change."""
        self._thread.submit(self._recorded.clear).result()

    def close(self) -> None:
        """Drops graphs, buffers and the thread."""
        self.forget()
        self._thread.shutdown()
        self._session = None

    def _infer(
        self,
        entry: str,
        frames: NDArray[np.uint8],
        given: Mapping[str, NDArray[Any]],
        outputs: Sequence[str],
    ) -> list[NDArray[Any]]:
        known = self._recorded.get(frames.shape)
        if known is None:
            return self._first(entry, frames, given, outputs)
        known.frames.update_inplace(frames)
        self._run(known.binding, str(known.number))
        return [value.numpy().copy() for value in known.outputs]

    def _first(
        self,
        entry: str,
        frames: NDArray[np.uint8],
        given: Mapping[str, NDArray[Any]],
        outputs: Sequence[str],
    ) -> list[NDArray[Any]]:
        """A run without a graph, which also says how large the outputs are."""
        binding = self._session.io_binding()
        value = self._put(frames)
        for name, held in {entry: value, **{n: self._put(v) for n, v in given.items()}}.items():
            binding.bind_ortvalue_input(name, held)
        for name in outputs:
            binding.bind_output(name, *self._place)
        self._run(binding, WITHOUT)
        made = list(binding.get_outputs())
        answers = [one.numpy().copy() for one in made]
        if len(self._recorded) < KEPT:
            # From now on the outputs are written where this run left them.
            for name, one in zip(outputs, made, strict=True):
                binding.bind_ortvalue_output(name, one)
            self._numbers += 1
            self._recorded[frames.shape] = _Recorded(self._numbers, binding, value, made)
        return answers

    def _put(self, array: NDArray[Any]) -> Any:
        return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), *self._place)

    def _run(self, binding: Any, number: str) -> None:
        options = onnxruntime.RunOptions()
        options.add_run_config_entry(ID, number)
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding, options)
        binding.synchronize_outputs()
