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
        [
            value(name, TensorProto.INT64 if name == "labels" else TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
        ],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def query_file(*, classes: int = 4, boxes: bool = False) -> bytes:
    """Class and mask queries: a mask is a random mixture of the image's channels, blurred."""
    rng, names = np.random.default_rng(3), ("c", "m")
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


def prototype_file(*, transposed: bool = True, classes: int = 3, depth: int = 4) -> bytes:
    """Anchors with boxes, class shares and coefficients, and prototypes; many anchors overlap."""
    rng = np.random.default_rng(5)
    node = helper.make_node
    anchors, values = 60, 4 + classes + depth
    rows = np.zeros((anchors, values), np.float32)
    rows[:, 0] = rng.uniform(8, WIDTH - 8, anchors)
    rows[:, 1] = rng.uniform(8, HEIGHT - 8, anchors)
    rows[:, 2:4] = rng.uniform(10, 30, (anchors, 2))
    # Every second anchor is a copy of the one before it, moved by a pixel.
    rows[1::2, :4] = rows[::2, :4] + 1
    logits = rng.normal(-1, 1.5, (anchors, classes))
    logits[1::2] = logits[::2] - 0.3
    rows[:, 4 : 4 + classes] = logits
    rows[:, 4 + classes :] = rng.normal(0, 1, (anchors, depth))
    weight = np.zeros((values, 1), np.float32)
    weight[4 : 4 + classes, 0] = rng.normal(0, 0.02, classes)
    constants = {
        "rows": rows.T[None],
        "weight": weight[None],
        "kernel": rng.normal(0, 0.02, (depth, 3, 3, 3)).astype(np.float32),
        "axes": np.array([1, 2, 3], np.int64),
        "column": np.array([0, 1, 1], np.int64),
        "start": np.array([4], np.int64),
        "end": np.array([4 + classes], np.int64),
        "last": np.array([values], np.int64),
        "zero": np.array([0], np.int64),
        "axis": np.array([1], np.int64),
    }
    nodes = [
        node("Conv", ["x", "kernel"], ["output1"], strides=[4, 4], pads=[1, 1, 1, 1]),
        node("ReduceMean", ["output1", "axes"], ["mean"], keepdims=0),
        node("Reshape", ["mean", "mean_shape"], ["mean_column"]),
        node("Mul", ["weight", "mean_column"], ["change"]),
        node("Add", ["rows", "change"], ["raw"]),
        node("Slice", ["raw", "zero", "start", "axis"], ["box_values"]),
        node("Slice", ["raw", "start", "end", "axis"], ["class_values"]),
        node("Slice", ["raw", "end", "last", "axis"], ["coefficients"]),
        node("Sigmoid", ["class_values"], ["shares"]),
        node("Concat", ["box_values", "shares", "coefficients"], ["joined"], axis=1),
        node("Transpose", ["joined"], ["output0"], perm=[0, 1, 2] if transposed else [0, 2, 1]),
    ]
    constants["mean_shape"] = np.array([-1, 1, 1], np.int64)
    shape = ["n", values, anchors] if transposed else ["n", anchors, values]
    outputs = {"output0": shape, "output1": ["n", depth, HEIGHT // 4, WIDTH // 4]}
    return instance_onnx(nodes, outputs, constants)


def detection_file(*, joined: bool = True, count: int = 7, highest: int = 2) -> bytes:
    """Boxes, classes and masks of finished detections."""
    rng = np.random.default_rng(8)
    node = helper.make_node
    kernel = rng.normal(0, 0.04, (count, 3, 5, 5)).astype(np.float32)
    base = rng.uniform(0.2, 1, (1, count, 1)).astype(np.float32)
    constants = {
        "kernel": kernel - kernel.mean((1, 2, 3), keepdims=True),
        "flat_shape": np.array([0, count, 1], np.int64),
        "axes": np.array([2, 3], np.int64),
        "boxes_base": rng.uniform(0, 40, (1, count, 4)).astype(np.float32),
        "score_base": base,
        "class_base": rng.integers(0, highest + 1, (1, count)).astype(np.float32),
        "zero": np.array(0, np.float32),
        "score_axis": np.array([2], np.int64),
    }
    nodes = [
        node("Conv", ["x", "kernel"], ["values"], pads=[2, 2, 2, 2]),
        node("Sigmoid", ["values"], ["masks"]),
        node("ReduceMean", ["masks", "axes"], ["mean"], keepdims=0),
        node("Reshape", ["mean", "flat_shape"], ["column"]),
        node("Mul", ["column", "zero"], ["nothing"]),
        node("Add", ["nothing", "boxes_base"], ["box_values"]),
        node("Mul", ["column", "score_base"], ["half_scores"]),
        node("Add", ["half_scores", "half_scores"], ["high_scores"]),
        node("Squeeze", ["nothing", "score_axis"], ["nothing_flat"]),
        node("Add", ["nothing_flat", "class_base"], ["class_values"]),
        node("Cast", ["class_values"], ["labels"], to=TensorProto.INT64),
    ]
    outputs: dict[str, Sequence[int | str]] = {"masks": ["n", count, HEIGHT, WIDTH]}
    if joined:
        nodes.append(node("Concat", ["box_values", "high_scores"], ["dets"], axis=2))
        outputs["dets"] = ["n", count, 5]
    else:
        nodes.append(node("Identity", ["box_values"], ["boxes"]))
        nodes.append(node("Squeeze", ["high_scores", "score_axis"], ["scores"]))
        outputs |= {"boxes": ["n", count, 4], "scores": ["n", count]}
    return instance_onnx(nodes, {**outputs, "labels": ["n", count]}, constants)


def coefficient_file(*, joined: bool = True, depth: int = 4, count: int = 9) -> bytes:
    """Finished detections with coefficients, and prototypes; the last rows are empty."""
    rng = np.random.default_rng(11)
    node = helper.make_node
    low = rng.uniform(0, (WIDTH - 20, HEIGHT - 20), (count, 2))
    rows = np.concatenate(
        [
            low,
            low + rng.uniform(8, 20, (count, 2)),
            rng.uniform(0.35, 0.95, (count, 1)),
            rng.integers(0, 3, (count, 1)),
            rng.normal(0, 1, (count, depth)),
        ],
        axis=1,
    ).astype(np.float32)
    rows[-2:] = 0
    constants = {
        "rows": rows[None],
        "kernel": rng.normal(0, 0.02, (depth, 3, 3, 3)).astype(np.float32),
        "axes": np.array([1, 2, 3], np.int64),
        "row_shape": np.array([-1, 1, 1], np.int64),
        "zero": np.array(0, np.float32),
    }
    nodes = [
        node("Conv", ["x", "kernel"], ["protos"], strides=[4, 4], pads=[1, 1, 1, 1]),
        node("ReduceMean", ["protos", "axes"], ["mean"], keepdims=0),
        node("Reshape", ["mean", "row_shape"], ["mean_row"]),
        node("Mul", ["mean_row", "zero"], ["nothing"]),
        node("Add", ["nothing", "rows"], ["output0"]),
    ]
    protos: Sequence[int | str] = ["n", depth, HEIGHT // 4, WIDTH // 4]
    if joined:
        return instance_onnx(
            nodes, {"output0": ["n", count, 6 + depth], "protos": protos}, constants
        )
    parts = ["boxes", "score_column", "class_column", "coefficients"]
    constants |= {"parts": np.array([4, 1, 1, depth], np.int64), "axis": np.array([2], np.int64)}
    nodes += [
        node("Split", ["output0", "parts"], parts, axis=2),
        node("Squeeze", ["score_column", "axis"], ["scores"]),
        node("Squeeze", ["class_column", "axis"], ["class_values"]),
        node("Cast", ["class_values"], ["labels"], to=TensorProto.INT64),
    ]
    outputs: dict[str, Sequence[int | str]] = {
        "boxes": ["n", count, 4],
        "scores": ["n", count],
        "labels": ["n", count],
        "coefficients": ["n", count, depth],
        "protos": protos,
    }
    return instance_onnx(nodes, outputs, constants)


def crop_file(*, side: int = 14, count: int = 6, relative: bool = False) -> bytes:
    """Finished detections with small masks inside of their boxes."""
    rng = np.random.default_rng(12)
    node = helper.make_node
    low = rng.uniform(-4, (WIDTH - 20, HEIGHT - 20), (count, 2))
    dets = np.concatenate(
        [low, low + rng.uniform(8, 30, (count, 2)), rng.uniform(0.35, 0.95, (count, 1))], axis=1
    ).astype(np.float32)
    if relative:
        dets[:, :4] = np.abs(dets[:, :4]) / (WIDTH, HEIGHT, WIDTH, HEIGHT)
    constants = {
        "dets_base": dets[None],
        "labels_base": rng.integers(0, 3, (1, count)).astype(np.float32),
        "kernel": rng.normal(0, 0.05, (count, 3, 5, 5)).astype(np.float32),
        "size": np.array([side, side], np.int64),
        "axes": np.array([1, 2, 3], np.int64),
        "row_shape": np.array([-1, 1, 1], np.int64),
        "flat_shape": np.array([-1, 1], np.int64),
        "zero": np.array(0, np.float32),
    }
    nodes = [
        node("Conv", ["x", "kernel"], ["values"], pads=[2, 2, 2, 2]),
        node("Shape", ["x"], ["batch"], start=0, end=1),
        node("Resize", ["values", "", "", "size"], ["small"], mode="linear", axes=[2, 3]),
        node("Sigmoid", ["small"], ["masks"]),
        node("ReduceMean", ["values", "axes"], ["mean"], keepdims=0),
        node("Mul", ["mean", "zero"], ["nothing"]),
        node("Reshape", ["nothing", "row_shape"], ["row"]),
        node("Reshape", ["nothing", "flat_shape"], ["flat"]),
        node("Add", ["row", "dets_base"], ["dets"]),
        node("Add", ["flat", "labels_base"], ["label_values"]),
        node("Cast", ["label_values"], ["labels"], to=TensorProto.INT64),
    ]
    outputs: dict[str, Sequence[int | str]] = {
        "dets": ["n", count, 5],
        "labels": ["n", count],
        "masks": ["n", count, side, side],
    }
    return instance_onnx(nodes, outputs, constants)


def for_one_image(data: bytes, *, drop_batch: bool) -> bytes:
    """The same file for a batch of 1, or for one image without a batch dimension."""
    import onnx

    model = onnx.load_model_from_string(data)
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "batch_axis"))
    if not drop_batch:
        # What a traced file has: the batch of the trace as a constant.
        first = helper.make_node("Slice", ["x", "batch_axis", "batch_end", "batch_axis"], ["one"])
        graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "batch_end"))
        nodes = [first, *graph.node]
        for node in nodes[1:]:
            node.input[:] = ["one" if name == "x" else name for name in node.input]
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
    else:
        nodes = [helper.make_node("Unsqueeze", ["image", "batch_axis"], ["x"]), *graph.node]
        for value in (*graph.input, *graph.output):
            del value.type.tensor_type.shape.dim[0]
        graph.input[0].name = "image"
        for value in graph.output:
            inner = f"{value.name}_batch"
            for node in nodes:
                node.input[:] = [inner if name == value.name else name for name in node.input]
                node.output[:] = [inner if name == value.name else name for name in node.output]
            nodes.append(helper.make_node("Squeeze", [inner, "batch_axis"], [value.name]))
    del graph.node[:]
    graph.node.extend(type(node).FromString(node.SerializeToString()) for node in nodes)
    return bytes(model.SerializeToString())


def channel_file() -> bytes:
    """Two detections of one class: what is red, with the better score, and what is green."""
    node = helper.make_node
    constants = {
        "kernel": np.array([[[[1]], [[0]], [[0]]], [[[0]], [[1]], [[0]]]], np.float32),
        "shift": np.full((1, 1, 1, 1), -128, np.float32),
        "gain": np.full((1, 1, 1, 1), 0.2, np.float32),
        "rows": np.array([[[2, 2, 60, 40, 0.9], [2, 2, 60, 40, 0.8]]], np.float32),
        "class": np.zeros((1, 2), np.float32),
        "zero": np.array(0, np.float32),
        "axes": np.array([1, 2, 3], np.int64),
        "row_shape": np.array([-1, 1, 1], np.int64),
        "class_shape": np.array([-1, 1], np.int64),
    }
    nodes = [
        node("Conv", ["x", "kernel"], ["channels"]),
        node("Add", ["channels", "shift"], ["shifted"]),
        node("Mul", ["shifted", "gain"], ["values"]),
        node("Sigmoid", ["values"], ["masks"]),
        # The batch is that of the frames.
        node("ReduceMean", ["masks", "axes"], ["mean"], keepdims=0),
        node("Mul", ["mean", "zero"], ["nothing"]),
        node("Reshape", ["nothing", "row_shape"], ["row_nothing"]),
        node("Add", ["row_nothing", "rows"], ["dets"]),
        node("Reshape", ["nothing", "class_shape"], ["class_nothing"]),
        node("Add", ["class_nothing", "class"], ["class_values"]),
        node("Cast", ["class_values"], ["labels"], to=TensorProto.INT64),
    ]
    outputs = {"masks": ["n", 2, HEIGHT, WIDTH], "dets": ["n", 2, 5], "labels": ["n", 2]}
    return instance_onnx(nodes, outputs, constants)


def crossing_frame(step: int, height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    """A red bar from the top crosses a green one from the left, which moves down with each step."""
    frame = np.full((height, width, 3), 20, np.uint8)
    first, last = (20 + 6 * step) * height // 120, (36 + 6 * step) * height // 120
    frame[first:last, : width * 3 // 4, 1] = 250
    frame[: height * 4 // 5, width * 3 // 8 : width // 2, 0] = 250
    return frame
