"""Instance models as other tools write them, made of a few ONNX nodes, and frames for them.

The networks know nothing: their outputs are constants plus a little of the image, so that every
frame gives other instances and everything can be computed with NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trocar.contract.classes import ClassTable
from trocar.contract.manifest import InputSpec, Manifest
from trocar.export.graph.input_spec import ExternalModel, ModelSpec, instance_settings
from trocar.export.parity.types import GateFrame

HEIGHT, WIDTH = 48, 64
TABLE = ClassTable.from_names(["background", "grasper", "scissors", "hook"])
QUERIES = 12


def instance_frame(seed: int, height: int = 90, width: int = 120) -> NDArray[np.uint8]:
    """A frame ``[height,width,3]`` of large coloured spots."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def gate_frames(count: int = 3) -> list[GateFrame]:
    return [GateFrame(name=str(seed), image=instance_frame(seed)) for seed in range(count)]


def instance_external(**fields: Any) -> ExternalModel:
    """An input spec of an instance model, without normalisation."""
    spec = ModelSpec(
        **{"height": HEIGHT, "width": WIDTH, "task": "instances", "normalise": False, **fields}
    )
    manifest = Manifest(
        name="theirs",
        task="instances",
        method="foreign",
        classes=TABLE,
        input=InputSpec(height=spec.height, width=spec.width),
        extra=instance_settings(spec),
    )
    return ExternalModel(spec, manifest)


def instance_onnx(
    nodes: Sequence[Any], outputs: dict[str, Sequence[int | str]], constants: dict[str, Any]
) -> bytes:
    """An ONNX file of these nodes; its input is ``x`` ``[n,3,48,64]``."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes),
        "g",
        [value("x", TensorProto.FLOAT, ["n", 3, HEIGHT, WIDTH])],
        [value(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def query_file(*, classes: int = 4, boxes: bool = False, names: Sequence[str] = ("c", "m")) -> bytes:
    """Class and mask queries: a mask is a random mixture of the image's channels, blurred."""
    rng = np.random.default_rng(3)
    node = helper.make_node
    mixture = rng.normal(0, 1, (QUERIES, 3, 5, 5)).astype(np.float32) / 25
    constants = {
        "mixture": mixture - mixture.mean((1, 2, 3), keepdims=True),
        "shift": rng.normal(-12, 6, QUERIES).astype(np.float32),
        "weight": rng.normal(0, 0.1, (QUERIES, classes)).astype(np.float32),
        "bias": rng.normal(0, 2, (1, QUERIES, classes)).astype(np.float32),
        "axes": np.array([2, 3], np.int64),
        "mean_shape": np.array([0, QUERIES, 1], np.int64),
    }
    nodes = [
        node("Conv", ["x", "mixture", "shift"], [names[1]], strides=[2, 2], pads=[2, 2, 2, 2]),
        node("ReduceMean", [names[1], "axes"], ["mean"], keepdims=0),
        node("Reshape", ["mean", "mean_shape"], ["column"]),
        node("Mul", ["column", "weight"], ["scaled"]),
        node("Add", ["scaled", "bias"], [names[0]]),
    ]
    outputs = {
        names[0]: ["n", QUERIES, classes],
        names[1]: ["n", QUERIES, HEIGHT // 2, WIDTH // 2],
    }
    if boxes:
        constants["box_weight"] = rng.normal(0, 0.01, (QUERIES, 4)).astype(np.float32)
        nodes.append(node("Mul", ["column", "box_weight"], ["dets"]))
        outputs = {"dets": ["n", QUERIES, 4], **outputs}
    return instance_onnx(nodes, outputs, constants)
