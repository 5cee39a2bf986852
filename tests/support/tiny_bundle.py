"""A tiny bundle for tests: a colour classifier as ONNX graph, made without torch, always the same.

make_tiny_bundle(tmp_path / "tiny.trocar", height=64, width=80, classes=3)

Blue pixels become class 1, green ones class 2, everything else class 0; further classes look for
yellow, cyan and magenta. Load it by path (tests are no package)::

    spec = importlib.util.spec_from_file_location("tiny_bundle", path); ...
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trocar.contract.bundle import GOLDEN, MODEL, open_bundle, write_bundle
from trocar.contract.classes import ClassRow, ClassTable, default_colour
from trocar.contract.manifest import METADATA_KEY, InputSpec, Manifest, OutputSpec

# Weight of red, green and blue, and bias, of each class's logit (pixels in 0..1, times 12).
_DIRECTIONS = (
    (0.5, -0.2, -0.2, 0.1),
    (-0.5, -0.5, 1.0, 0.0),
    (-0.5, 1.0, -0.5, 0.0),
    (0.6, 0.6, -1.2, 0.0),
    (-1.2, 0.6, 0.6, 0.0),
    (0.6, -1.2, 0.6, 0.0),
)
_NAMES = ("background", "grasper", "scissors", "hook", "clipper", "irrigator")
_SCALE = 12.0


def tiny_table(classes: int = 3) -> ClassTable:
    """The class table: background, then instruments."""
    return ClassTable(
        tuple(
            ClassRow(id=i, name=_NAMES[i], colour=default_colour(i), instrument=i > 0)
            for i in range(classes)
        )
    )


def tiny_frame(height: int, width: int, *, shift: int = 0, classes: int = 3) -> NDArray[np.uint8]:
    """``[H, W, 3]`` uint8 RGB: red tissue, a blue bar from the left, a green one from the top."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    y, x = (y + 0.5) / height, (x + 0.5) / width
    frame = np.empty((height, width, 3), np.float64)
    frame[..., 0] = 150 + 40 * np.sin(7 * x) * np.cos(5 * y)
    frame[..., 1] = 50 + 20 * x
    frame[..., 2] = 45 + 20 * y
    offset = shift / 100
    bar = (abs(y - 0.35 - 0.25 * x - offset) < 0.05) & (x < 0.55)
    frame[bar] = (60, 70, 210)
    if classes > 2:
        other = (abs(x - 0.8 + 0.2 * y - offset) < 0.05) & (y < 0.6)
        frame[other] = (60, 200, 70)
    return frame.astype(np.uint8)


def make_tiny_bundle(
    path: str | Path, *, height: int = 64, width: int = 80, classes: int = 3, delay: int = 0
) -> Path:
    """Writes the bundle and returns its path.

    Args:
        path: Folder to make.
        height: Network height.
        width: Network width.
        classes: 2..6.
        delay: How many extra 16-channel convolutions to add, whose result is multiplied by 0:
            makes the graph slow without changing what it says.
    """
    manifest = Manifest(
        name="tiny",
        task="segmentation",
        method="supervised",
        classes=tiny_table(classes),
        input=InputSpec(height=height, width=width, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        outputs=(
            OutputSpec(name="labels", dtype="uint8", shape=("batch", height, width)),
            OutputSpec(name="confidence", dtype="float16", shape=("batch", height, width)),
        ),
        golden_margin=1e-3,
        source={"made_by": "tests"},
    )
    model = _model(manifest, with_logits=False, delay=delay).SerializeToString()
    golden = _golden(manifest, classes=classes)
    write_bundle(path, manifest, {MODEL: model, GOLDEN: golden})
    return Path(path)


def re_exported(path: Path, **changes: Any) -> Path:
    """Writes a bundle anew as its export would with another manifest, copy and hash included."""
    bundle = open_bundle(path)
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    write_bundle(path, replace(bundle.manifest, **changes), files, overwrite=True)
    return path


def _model(manifest: Manifest, *, with_logits: bool, delay: int = 0) -> onnx.ModelProto:
    h, w, k = manifest.input.height, manifest.input.width, len(manifest.classes)
    weight = np.zeros((k, 3, 3, 3), np.float32)
    bias = np.zeros(k, np.float32)
    for i, (*colour, offset) in enumerate(_DIRECTIONS[:k]):
        weight[i] = np.array(colour, np.float32)[:, None, None] * (_SCALE / 255 / 9)
        bias[i] = offset * _SCALE
    tensors = [
        numpy_helper.from_array(np.array([h, w], np.int64), "sizes"),
        numpy_helper.from_array(weight, "weight"),
        numpy_helper.from_array(bias, "bias"),
    ]
    node = helper.make_node
    nodes = [
        node("Cast", ["frame"], ["pixels"], to=TensorProto.FLOAT),
        node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        node(
            "Resize",
            ["planes", "", "", "sizes"],
            ["small"],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
            axes=[2, 3],
        ),
        node("Conv", ["small", "weight", "bias"], ["class_logits"], pads=[1, 1, 1, 1]),
        node("ArgMax", ["class_logits"], ["index"], axis=1, keepdims=0),
        node("Cast", ["index"], ["labels"], to=TensorProto.UINT8),
        node("Softmax", ["class_logits"], ["probabilities"], axis=1),
        node("ReduceMax", ["probabilities", "axis"], ["largest"], keepdims=0),
        node("Cast", ["largest"], ["confidence"], to=TensorProto.FLOAT16),
    ]
    tensors.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    if delay:
        extra_nodes, extra_tensors = _ballast(delay)
        nodes[3].input[0] = "small_again"
        nodes[3:3] = extra_nodes
        tensors += extra_tensors
    outputs = [
        helper.make_tensor_value_info("labels", TensorProto.UINT8, ["batch", h, w]),
        helper.make_tensor_value_info("confidence", TensorProto.FLOAT16, ["batch", h, w]),
    ]
    if with_logits:
        outputs.append(
            helper.make_tensor_value_info("class_logits", TensorProto.FLOAT, ["batch", k, h, w])
        )
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(
                manifest.input.name, TensorProto.UINT8, ["batch", "height", "width", 3]
            )
        ],
        outputs,
        tensors,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], producer_name="trocar tests"
    )
    model.ir_version = 10
    helper.set_model_props(model, {METADATA_KEY: manifest.without_files().to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model


def _ballast(count: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Convolutions whose mean is multiplied by 0 and added to the picture."""
    rng = np.random.default_rng(0)
    tensors = [numpy_helper.from_array(np.zeros(1, np.float32), "nothing")]
    nodes, last = [], "small"
    for i in range(count):
        shape = (16, 3 if i == 0 else 16, 3, 3)
        tensors.append(
            numpy_helper.from_array(rng.normal(0, 0.01, shape).astype(np.float32), f"ballast{i}")
        )
        nodes.append(
            helper.make_node("Conv", [last, f"ballast{i}"], [f"load{i}"], pads=[1, 1, 1, 1])
        )
        last = f"load{i}"
    nodes.append(helper.make_node("ReduceMean", [last], ["mean"], keepdims=1))
    nodes.append(helper.make_node("Mul", ["mean", "nothing"], ["zero"]))
    nodes.append(helper.make_node("Add", ["small", "zero"], ["small_again"]))
    return nodes, tensors


def _golden(manifest: Manifest, *, classes: int) -> bytes:
    h, w = manifest.input.height, manifest.input.width
    frame = tiny_frame(h * 3 // 2, w * 3 // 2, classes=classes)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        _model(manifest, with_logits=True).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    labels, confidence, logits = session.run(
        ["labels", "confidence", "class_logits"], {manifest.input.name: frame[None]}
    )
    ordered = np.sort(logits[0], axis=0)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        frame=frame,
        labels=labels[0],
        margin=ordered[-1] - ordered[-2],
        confidence=confidence[0],
    )
    return buffer.getvalue()
