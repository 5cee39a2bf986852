"""ONNX Runtime with CUDA graphs: one graph and one set of buffers per input shape.

    cache = CudaGraphCache(session, index=0); cache.infer("frame", frames, {}, ["labels"])

ONNX Runtime records a graph when a run has a new ``gpu_graph_id``, and replays it when a later run
has the same id. A replay reads and writes the addresses of the recording, so every shape has
buffers of its own. Such a session must not run on several threads: one worker thread runs all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from trocar.contract.text.words import first_line

GRAPH_ID_OPTION = "gpu_graph_id"
NO_GRAPH = "-1"
"""Graph id of a run that neither records nor replays."""
MAX_GRAPHS = 4
"""Shapes that get a graph. Further shapes run without: each graph has buffers of its own."""

Shape = tuple[int, ...]


@dataclass
class _Recorded:
    """A graph's id, and the buffers that it reads and writes."""

    graph_id: int
    binding: Any
    frames: Any
    outputs: list[Any]


class CudaGraphCache:
    """CUDA graphs of one session whose CUDA provider has ``enable_cuda_graph``.

    Args:
        session: The session.
        kind: Kind of the device: ``cuda`` (``cpu`` in tests, where no graph is recorded).
        index: Its number.

    Attributes:
        notes: What a person should know: shapes that run without a graph.
    """

    def __init__(self, session: Any, *, kind: str = "cuda", index: int = 0) -> None:
        self._session = session
        self._device = (kind, index)
        self._recorded: dict[Shape, _Recorded] = {}
        self._last_id = 0
        self._replayed: set[int] = set()
        self._refused: set[Shape] = set()
        self.notes: list[str] = []
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="trocar-cuda-graph")

    def infer(
        self,
        frame_input: str,
        frames: NDArray[np.uint8],
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str],
    ) -> list[NDArray[Any]]:
        """Runs frames; the returned arrays belong to the caller.

        Args:
            frame_input: Name of the input that takes the frames.
            frames: uint8 ``[N, H, W, 3]`` RGB.
            inputs: Further inputs by name; they may change only after `clear`.
            outputs: Names of the outputs to return.
        """
        return self._worker.submit(self._infer, frame_input, frames, inputs, outputs).result()

    def clear(self) -> None:
        """Frees all graphs; needed when further inputs change."""
        self._worker.submit(self._recorded.clear).result()

    def close(self) -> None:
        """Frees graphs and buffers, and ends the worker thread."""
        self.clear()
        self._worker.shutdown()
        self._session = None

    def _infer(
        self,
        frame_input: str,
        frames: NDArray[np.uint8],
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str],
    ) -> list[NDArray[Any]]:
        known = self._recorded.get(frames.shape)
        if known is None:
            return self._run_and_record(frame_input, frames, inputs, outputs)
        known.frames.update_inplace(frames)
        try:
            self._run(known.binding, str(known.graph_id))
        except Exception as error:
            if known.graph_id in self._replayed:
                raise
            # The recording failed: this shape goes on without a graph.
            self._recorded.pop(frames.shape)
            self._refused.add(frames.shape)
            reason = first_line(error)
            self.notes.append(f"frames {list(frames.shape)} run without a CUDA graph: {reason}")
            return self._run_and_record(frame_input, frames, inputs, outputs)
        self._replayed.add(known.graph_id)
        return [value.numpy().copy() for value in known.outputs]

    def _run_and_record(
        self,
        frame_input: str,
        frames: NDArray[np.uint8],
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str],
    ) -> list[NDArray[Any]]:
        """Runs without a graph, which also determines the outputs' sizes, and prepares a graph."""
        binding = self._session.io_binding()
        value = self._to_device(frames)
        for name, array in {
            frame_input: value,
            **{n: self._to_device(v) for n, v in inputs.items()},
        }.items():
            binding.bind_ortvalue_input(name, array)
        for name in outputs:
            binding.bind_output(name, *self._device)
        self._run(binding, NO_GRAPH)
        buffers = list(binding.get_outputs())
        results = [buffer.numpy().copy() for buffer in buffers]
        if len(self._recorded) < MAX_GRAPHS and frames.shape not in self._refused:
            # All later runs of this shape write their outputs into the same buffers.
            for name, buffer in zip(outputs, buffers, strict=True):
                binding.bind_ortvalue_output(name, buffer)
            self._last_id += 1
            self._recorded[frames.shape] = _Recorded(self._last_id, binding, value, buffers)
        return results

    def _to_device(self, array: NDArray[Any]) -> Any:
        return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), *self._device)

    def _run(self, binding: Any, graph_id: str) -> None:
        options = onnxruntime.RunOptions()
        options.add_run_config_entry(GRAPH_ID_OPTION, graph_id)
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding, options)
        binding.synchronize_outputs()
