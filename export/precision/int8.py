"""float32 to int8 as quantise/dequantise pairs inside the ONNX graph, in one of two recipes.

    ranges = activation_ranges(data, frames)
    small = int8_from_float(data, ranges, recipe="cpu", leave_out={"network.head/Conv"})

``cpu``: unsigned activations, signed weights per channel, what ONNX Runtime's CPU kernels are
written for. ``tensorrt``: signed and symmetric throughout, no quantised biases, which is all that
TensorRT takes. Ranges come from ONNX Runtime's own calibrator, quantising from its quantiser.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trocar.contract.errors import DataError
from trocar.export.graph.body import body_nodes, trailing_nodes
from trocar.export.parity.types import Frame
from trocar.export.precision.int8_cpu import (
    first_layer_in_blocks,
    join_normalisation,
    with_shared_ranges,
)

RECIPES = ("cpu", "tensorrt")

# What each target computes in int8; the rest would only be dequantised and quantised again.
_TYPES = {
    "cpu": ("Conv", "MatMul", "Gemm", "Add", "Mul", "Concat", "Relu", "Clip", "MaxPool",
            "AveragePool", "GlobalAveragePool", "Resize"),
    "tensorrt": ("Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "MaxPool", "AveragePool"),
}  # fmt: skip


def activation_ranges(
    data: bytes, frames: Sequence[Frame], *, progress: Callable[[int, int], None] | None = None
) -> Any:
    """Smallest and largest value of every body tensor over the frames.

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
    with tempfile.TemporaryDirectory() as folder, _quiet():
        model = _with_shapes(data)
        path = Path(folder) / "model.onnx"
        onnx.save_model(model, str(path))
        calibrator = create_calibrator(
            path,
            types,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(_Reader(model.graph.input[0].name, frames, progress))
        return calibrator.compute_data()


def int8_from_float(
    data: bytes, ranges: Any, *, recipe: str, leave_out: Collection[str] = ()
) -> bytes:
    """Writes the int8 graph.

    Args:
        data: A float32 frame-in graph.
        ranges: Of `activation_ranges`, for the same graph.
        recipe: ``cpu`` or ``tensorrt``.
        leave_out: Names of nodes that stay float32.
    """
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    model = _with_shapes(data)
    types = _TYPES[recipe]
    stay = {*leave_out, *trailing_nodes(model)}
    names = [n.name for n in body_nodes(model) if n.op_type in types and n.name not in stay]
    cpu = recipe == "cpu"
    if cpu:
        join_normalisation(model)
        ranges = with_shared_ranges(model, ranges)
    with _quiet():
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
                first_layer_in_blocks(model)
    del model.graph.value_info[:]
    kept = [entry for entry in model.opset_import if not entry.domain or _uses(model, entry.domain)]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _uses(model: Any, domain: str) -> bool:
    return any(node.domain == domain for node in model.graph.node)


def _with_shapes(data: bytes) -> Any:
    import onnx

    return onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data))


class _Reader:
    """Frames one by one, as ONNX Runtime's calibrators ask for them."""

    def __init__(
        self, name: str, frames: Sequence[Frame], progress: Callable[[int, int], None] | None
    ) -> None:
        self.name = name
        self.frames = frames
        self.progress = progress
        self.done = 0

    def get_next(self) -> dict[str, Frame] | None:
        """The next input, ``None`` at the end."""
        if self.done == len(self.frames):
            return None
        frame = np.ascontiguousarray(self.frames[self.done])
        self.done += 1
        if self.progress:
            self.progress(self.done, len(self.frames))
        return {self.name: frame[None]}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser logs through the root logger and prints; neither is for our users."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
