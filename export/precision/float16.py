"""Converts the network's body in an ONNX graph to float16; the rest of the graph stays float32.

    half, float32_nodes = convert_to_float16(data, keep_float32={"network.head/Conv"})

Casts stand between the two precisions, so a strongly typed engine computes what the graph says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trocar.export.cpu_session import infer_on_cpu, open_cpu_session
from trocar.export.graph.body import HEAVY, network_body
from trocar.export.parity.types import Frame, Infer

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

FLOAT16_MAX = 65504.0
SAFE_PEAK = 16384.0
"""A layer with larger activations stays float32: other frames may be four times as bright."""

# Sums of squares, exponentials and divisions lose most in float16, and they cost little.
_SENSITIVE = frozenset(
    ("Exp", "Log", "Pow", "Sqrt", "Reciprocal", "Div", "ReduceL1", "ReduceL2", "ReduceSum",
     "ReduceSumSquare", "ReduceLogSumExp", "LogSoftmax", "LpNormalization", "LayerNormalization",
     "InstanceNormalization", "GroupNormalization")
)  # fmt: skip
# The type of these comes from an attribute, not from their inputs.
_UNTOUCHED = frozenset(("Shape", "Size", "ConstantOfShape", "Range", "EyeLike", "Constant"))
# Inputs that stay float32 whatever the type of the first one.
_FLOAT_INPUTS = {("Resize", 1), ("Resize", 2), ("Upsample", 1)}


def convert_to_float16(
    data: bytes, *, keep_float32: Collection[str] = ()
) -> tuple[bytes, list[str]]:
    """Writes a copy of the graph with its body in float16.

    Args:
        data: A float32 frame-in graph.
        keep_float32: Names of nodes that stay float32.

    Returns:
        The ONNX file, and the names of the body's nodes that stayed float32.

    Raises:
        ArgumentError: The graph has control flow.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data))
    writer = _Writer(model, keep_float32)
    for node in list(model.graph.node):
        writer.add(node)
    del model.graph.node[:]
    model.graph.node.extend(writer.nodes)
    model.graph.initializer.extend(writer.constants.values())
    _drop_unused(model)
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(), writer.float32_nodes


class _Writer:
    """Copies nodes in order, with casts between float32 and float16."""

    def __init__(self, model: ModelProto, keep_float32: Collection[str]) -> None:
        import onnx

        self.onnx = onnx
        self.float, self.half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
        graph = model.graph
        self.types = {
            value.name: value.type.tensor_type.elem_type
            for value in (*graph.value_info, *graph.input, *graph.output)
        }
        self.initial = {tensor.name: tensor for tensor in graph.initializer}
        self.types.update({name: tensor.data_type for name, tensor in self.initial.items()})
        self.outputs = {output.name for output in graph.output}
        self.body = {node.name for node in network_body(model)}
        self.keep_float32 = set(keep_float32)
        self.float32_nodes: list[str] = []
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        # Float16 names of float32 tensors; names of tensors that exist in float16 only.
        self.as_half: dict[str, str] = {}
        self.only_half: set[str] = set()

    def add(self, node: NodeProto) -> None:
        """Appends one node, converted if it is part of the body and may be float16."""
        copy = self.onnx.NodeProto()
        copy.CopyFrom(node)
        floats = [i for i, name in enumerate(node.input) if self._is_float(name)]
        results = [name for name in node.output if self._is_float(name)]
        converts = node.name in self.body and node.op_type not in _UNTOUCHED and bool(results)
        if converts and (
            node.op_type in _SENSITIVE or node.name in self.keep_float32 or not self._fits(node)
        ):
            self.float32_nodes.append(node.name)
            converts = False
        for index in floats:
            fixed = (node.op_type, index) in _FLOAT_INPUTS
            use = self._half if converts and not fixed else self._float
            copy.input[index] = use(node.input[index])
        if converts:
            for index, name in enumerate(node.output):
                if name in results:
                    copy.output[index] = self.as_half[name] = f"{name}__half"
                    self.only_half.add(name)
            for attribute in copy.attribute:
                if node.op_type == "Cast" and attribute.name == "to":
                    attribute.i = self.half
        self.nodes.append(copy)
        for name in results:
            if converts and name in self.outputs:
                self._float(name)

    def _is_float(self, name: str) -> bool:
        return bool(name) and self.types.get(name) == self.float

    def _fits(self, node: NodeProto) -> bool:
        """Whether the node's own constants are within float16's range."""
        arrays = [
            self.onnx.numpy_helper.to_array(self.initial[name])
            for name in node.input
            if name in self.initial and self._is_float(name)
        ]
        return all(float(np.abs(array).max(initial=0.0)) <= FLOAT16_MAX for array in arrays)

    def _half(self, name: str) -> str:
        if name in self.as_half:
            return self.as_half[name]
        half = self.as_half[name] = f"{name}__half"
        if name in self.initial:
            array = self.onnx.numpy_helper.to_array(self.initial[name]).astype(np.float16)
            self.constants[half] = self.onnx.numpy_helper.from_array(array, half)
        else:
            self._cast(name, half, self.half)
        return half

    def _float(self, name: str) -> str:
        """The float32 form of a tensor that may exist in float16 only."""
        if name in self.only_half:
            self.only_half.remove(name)
            self._cast(self.as_half[name], name, self.float)
        return name

    def _cast(self, source: str, target: str, kind: int) -> None:
        self.nodes.append(
            self.onnx.helper.make_node("Cast", [source], [target], name=f"{target}/Cast", to=kind)
        )


def _drop_unused(model: ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)


def emulate_float16(data: bytes) -> Infer:
    """Runs a float16 graph with every float16 tensor rounded, as a GPU does.

    ONNX Runtime has few float16 kernels for CPUs: it computes most layers in float32 and removes
    the casts between them, so overflow and rounding do not show. Here each layer's output goes
    through an ``Identity`` in float16, which keeps the casts. Sums inside a layer are float32, as
    on the matrix units of GPUs.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data))
    half = onnx.TensorProto.FLOAT16
    inner = {v.name for v in model.graph.value_info if v.type.tensor_type.elem_type == half}
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in inner:
                node.output[index] = f"{name}__raw"
                nodes.append(onnx.helper.make_node("Identity", [f"{name}__raw"], [name]))
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.value_info[:]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return infer_on_cpu(model.SerializeToString(), optimise=False)


def activation_peaks(data: bytes, frames: Sequence[Frame]) -> Mapping[str, float]:
    """Largest magnitude of each body node's float32 output over the frames, by node name."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data))
    kinds = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    probes: dict[str, str] = {}
    for node in network_body(model):
        # Only these operators make magnitudes grow.
        if node.op_type not in (*HEAVY, "Add", "Mul", "Sum", "BatchNormalization", "Pow"):
            continue
        name = node.output[0]
        if kinds.get(name) != onnx.TensorProto.FLOAT:
            continue
        probe = f"{name}__peak"
        model.graph.node.extend(
            [
                onnx.helper.make_node("Abs", [name], [f"{name}__abs"], name=f"{probe}/Abs"),
                onnx.helper.make_node(
                    "ReduceMax", [f"{name}__abs"], [probe], name=f"{probe}/ReduceMax", keepdims=0
                ),
            ]
        )
        probes[probe] = node.name
    if not probes:
        return {}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(probe, onnx.TensorProto.FLOAT, []) for probe in probes
    )
    session = open_cpu_session(model.SerializeToString())
    peaks = dict.fromkeys(probes.values(), 0.0)
    for frame in frames:
        values = session.run(list(probes), {model.graph.input[0].name: frame[None]})
        for probe, value in zip(probes, values, strict=True):
            peaks[probes[probe]] = float(np.fmax(peaks[probes[probe]], value))
    return peaks
