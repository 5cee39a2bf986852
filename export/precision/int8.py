"""Converts an ONNX graph to int8 with quantise/dequantise pairs, for one of two targets.

    ranges = activation_ranges(data, frames)
    small = convert_to_int8(data, ranges, target="cpu", keep_float32={"network.head/Conv"})

``cpu``: unsigned activations and signed weights per channel, which ONNX Runtime's CPU kernels
take. ``tensorrt``: signed, symmetric, without quantised biases; TensorRT takes nothing else. ONNX
Runtime's calibrator measures the ranges, and its quantiser writes the graph.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from trocar.contract.errors import DataError
from trocar.export.graph.body import network_body, trailing_nodes
from trocar.export.parity.types import Frame
from trocar.export.precision.int8_cpu import (
    first_layer_space_to_depth,
    fuse_normalisation,
    share_concat_ranges,
)

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime.quantization.calibrate import TensorsData

OnFrame: TypeAlias = Callable[[int, int], None]

INT8_TARGETS = ("cpu", "tensorrt")
"""ONNX Runtime on CPUs, or TensorRT."""

# Operators that each target computes in int8; others would only be dequantised and quantised.
_TYPES = {
    "cpu": ("Conv", "MatMul", "Gemm", "Add", "Mul", "Concat", "Relu", "Clip", "MaxPool",
            "AveragePool", "GlobalAveragePool", "Resize"),
    "tensorrt": ("Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "MaxPool", "AveragePool"),
}  # fmt: skip


def activation_ranges(
    data: bytes, frames: Sequence[Frame], *, on_progress: OnFrame | None = None
) -> TensorsData:
    """Smallest and largest value of every tensor of the body over the frames.

    Raises:
        DataError: There are no frames.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    if not len(frames):
        raise DataError(
            "int8 needs frames to calibrate on and got none",
            remedy="pass --calibrate DIR with a few dozen frames of your own",
        )
    types = sorted({kind for kinds in _TYPES.values() for kind in kinds})
    with tempfile.TemporaryDirectory() as folder, _quiet_quantiser():
        model = _with_shapes(data)
        path = Path(folder) / "model.onnx"
        onnx.save_model(model, str(path))
        calibrator = create_calibrator(
            path,
            types,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Reader(model.graph.input[0].name, frames, on_progress))
        return calibrator.compute_data()


def convert_to_int8(
    data: bytes, ranges: TensorsData, *, target: str, keep_float32: Collection[str] = ()
) -> bytes:
    """Writes the int8 graph.

    Args:
        data: A float32 frame-in graph.
        ranges: Result of `activation_ranges` for the same graph.
        target: ``cpu`` or ``tensorrt``.
        keep_float32: Names of nodes that stay float32.
    """
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    model = _with_shapes(data)
    types = _TYPES[target]
    stay = {*keep_float32, *trailing_nodes(model)}
    names = [n.name for n in network_body(model) if n.op_type in types and n.name not in stay]
    cpu = target == "cpu"
    if cpu:
        fuse_normalisation(model)
        ranges = share_concat_ranges(model, ranges)
    with _quiet_quantiser():
        if names:
            quantiser = QDQQuantizer(
                model,
                True,  # per channel
                False,  # reduced range
                QuantType.QInt8,
                QuantType.QUInt8 if cpu else QuantType.QInt8,
                ranges,
                names,
                [],
                list(types),
                {
                    "ActivationSymmetric": not cpu,
                    "WeightSymmetric": True,
                    "QuantizeBias": cpu,
                    "ForceQuantizeNoInputCheck": False,
                },
            )
            quantiser.quantize_model()
            quantiser.model.topological_sort()
            model = quantiser.model.model
            if cpu:
                first_layer_space_to_depth(model)
    del model.graph.value_info[:]
    opsets = [e for e in model.opset_import if not e.domain or _uses(model, e.domain)]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _uses(model: ModelProto, domain: str) -> bool:
    return any(node.domain == domain for node in model.graph.node)


def _with_shapes(data: bytes) -> ModelProto:
    import onnx

    return onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data))


class _Reader:
    """Gives frames one by one, in the form that ONNX Runtime's calibrators ask for."""

    def __init__(self, name: str, frames: Sequence[Frame], on_progress: OnFrame | None) -> None:
        self.name = name
        self.frames = frames
        self.on_progress = on_progress
        self.done = 0

    def get_next(self) -> dict[str, Frame] | None:
        """The next input, ``None`` at the end."""
        if self.done == len(self.frames):
            return None
        frame = np.ascontiguousarray(self.frames[self.done])
        self.done += 1
        if self.on_progress:
            self.on_progress(self.done, len(self.frames))
        return {self.name: frame[None]}


@contextlib.contextmanager
def _quiet_quantiser() -> Iterator[None]:
    """Hides the messages of the quantiser, which it logs through the root logger and prints."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
