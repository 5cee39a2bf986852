"""Small ONNX files as other tools write them, and their labels computed with NumPy alone.

The network of all of them is one 1x1 convolution: class 0 is red, class 1 blue, class 2 green.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from export_helpers import run_onnx, scene
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from trocar.contract.bundle import open_bundle
from trocar.contract.classes import ClassTable
from trocar.contract.errors import ArgumentError
from trocar.contract.manifest import InputSpec, Manifest
from trocar.export.bundle import bundle_from_onnx
from trocar.export.gate import ExportOptions
from trocar.export.graph.input_spec import ExternalModel, ModelSpec
from trocar.export.parity.types import GateFrame

HEIGHT, WIDTH = 64, 96
MAP = ["n", 3, HEIGHT, WIDTH]
KERNEL = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], np.float32) * np.float32(0.05)


def own_logits(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits ``[64,96,3]`` of a frame, without ONNX."""
    image = cv2.resize(frame.astype(np.float32), (WIDTH, HEIGHT))
    return np.einsum("hwc,kc->hwk", image, KERNEL)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Softmax over the last dimension."""
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def tensor(name: str, value: Any, dtype: Any = np.float32) -> TensorProto:
    """A constant of a graph."""
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def value(name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    """An input or output of a graph."""
    return helper.make_tensor_value_info(name, kind, shape)


def image_input(batch: int | str = "n", kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    """The usual input: ``[n,3,64,96]``."""
    return value("x", [batch, 3, HEIGHT, WIDTH], kind)


def convolution(
    source: str = "x", result: str = "y", kernel: NDArray[Any] = KERNEL
) -> tuple[NodeProto, TensorProto]:
    """A 1x1 convolution without bias, and its weight."""
    weight = f"{result}_weight"
    node = helper.make_node("Conv", [source, weight], [result])
    return node, numpy_helper.from_array(kernel.reshape(*kernel.shape, 1, 1), weight)


def onnx_file(
    nodes: Sequence[NodeProto],
    outputs: Sequence[ValueInfoProto],
    constants: Sequence[TensorProto],
    *,
    inputs: Sequence[ValueInfoProto] = (),
    opset: int = 18,
    functions: Sequence[onnx.FunctionProto] = (),
    ir_version: int = 8,
) -> bytes:
    """A file of these nodes."""
    graph = helper.make_graph(nodes, "g", list(inputs) or [image_input()], outputs, constants)
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(domain, 1) for domain in {f.domain for f in functions}]
    model = helper.make_model(graph, opset_imports=imports, functions=functions)
    model.ir_version = ir_version
    return bytes(model.SerializeToString())


def with_tail(
    tail: Sequence[NodeProto],
    output: ValueInfoProto,
    *constants: TensorProto,
    opset: int = 18,
) -> bytes:
    """The usual network with nodes behind its logits ``y``."""
    node, weight = convolution()
    return onnx_file([node, *tail], [output], [weight, *constants], opset=opset)


def external(classes: int = 3, **fields: object) -> ExternalModel:
    """An input spec without normalisation and its class table."""
    table = ClassTable.from_names(["background", *(f"tool {i}" for i in range(1, classes))])
    spec = ModelSpec(**{"height": HEIGHT, "width": WIDTH, "normalise": False, **fields})
    manifest = Manifest(
        name="theirs",
        task=spec.task,
        method="foreign",
        classes=table,
        input=InputSpec(height=HEIGHT, width=WIDTH),
    )
    return ExternalModel(spec, manifest)


def imported(data: bytes, out: Path, model: ExternalModel, **options: object) -> tuple:
    """Labels and confidence of the bundle for one frame, and its manifest."""
    frames = [GateFrame(name=str(s), image=scene(s, 120, 160)) for s in range(3)]
    bundle_from_onnx(
        data, model, out, source="theirs.onnx", frames=frames, open_model=run_onnx,
        options=ExportOptions(**options),
    )  # fmt: skip
    bundle = open_bundle(out)
    result = run_onnx(bundle.model)(scene(7, 120, 160)[None])
    return result["labels"][0], result["confidence"][0].astype(float), bundle.manifest


def refusal(data: bytes, out: Path, model: ExternalModel) -> str:
    """Message and remedy of a file that is refused."""
    with pytest.raises(ArgumentError) as caught:
        imported(data, out, model)
    assert not out.exists()
    assert caught.value.remedy
    return f"{caught.value.message} -> {caught.value.remedy}"


def node(op: str, source: str, result: str, **attributes: object) -> NodeProto:
    """A node with one output; ``source`` names its inputs."""
    return helper.make_node(op, source.split(), [result], **attributes)
