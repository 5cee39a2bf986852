"""ONNX Runtime on the CPU, for everything that the exporter runs itself.

infer = infer_on_cpu(data)                                   # bytes of a frame-in ONNX file
labels = infer(np.zeros((1, 480, 640, 3), np.uint8))["labels"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trocar.export.parity.types import Frame, Infer, Outputs

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def open_cpu_session(data: bytes, *, optimise: bool = True) -> InferenceSession:
    """Opens the bytes of an ONNX file with ONNX Runtime's CPU kernels; only errors are logged.

    Args:
        data: The file.
        optimise: Whether ONNX Runtime may change the graph, e.g. remove casts.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def infer_on_cpu(data: bytes, *, optimise: bool = True) -> Infer:
    """Opens a frame-in ONNX file, as `open_cpu_session`, and returns what runs it."""
    session = open_cpu_session(data, optimise=optimise)
    source = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]

    def infer(frames: Frame) -> Outputs:
        return dict(zip(names, session.run(names, {source: frames}), strict=True))

    return infer
