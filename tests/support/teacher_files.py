"""Teachers for the tests of distillation: ONNX files that no other test needs.

path = colour_teacher((64, 80))      # a foreign .onnx file: one 1x1 convolution
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

KERNEL = np.array([[1, 0, -1], [0, -1, 1], [-1, 1, 0]], np.float32)
"""Weights [K,3] of the convolution."""


def write_foreign(
    path: Path,
    size: tuple[int | str, int | str],
    *,
    classes: int = 3,
    softmax: bool = False,
    channels: int = 3,
    batch: int | str = "n",
) -> Path:
    """An ONNX file as other tools write them: float images ``[n,3,h,w]`` to maps ``[n,K,h,w]``."""
    weight = np.resize(KERNEL, (classes, channels)).reshape(classes, channels, 1, 1)
    nodes = [helper.make_node("Conv", ["x", "w"], ["maps"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["maps"], ["shares"], axis=1))
    output = "shares" if softmax else "maps"
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, channels, *size])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, classes, *size])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@functools.cache
def colour_teacher(size: tuple[int, int]) -> Path:
    """A foreign teacher of three classes; removed when the process ends."""
    return write_foreign(Path(_FOLDER.name) / f"teacher_{size[0]}x{size[1]}.onnx", size)


_FOLDER = tempfile.TemporaryDirectory()
