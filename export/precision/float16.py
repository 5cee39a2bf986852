"""float32 to float16 inside the ONNX graph: the network's body in half, preprocessing in float32.

    half, about = half_from_float(data, keep={"network.head/Conv"})

Casts stand where the two meet, so that a strongly typed engine builds exactly what is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from trocar.export.graph.body import HEAVY, body_nodes
from trocar.export.parity.types import Answer, Frame, Infer

LARGEST = 65504.0
SAFE = 16384.0
"""Activations beyond this keep their layer in float32: other frames may be four times brighter."""

# Sums of squares, exponentials and divisions lose most in half precision; they cost little.
_SENSITIVE = frozenset(
    ("Exp", "Log", "Pow", "Sqrt", "Reciprocal", "Div", "ReduceL1", "ReduceL2", "ReduceSum",
     "ReduceSumSquare", "ReduceLogSumExp", "LogSoftmax", "LpNormalization", "LayerNormalization",
     "InstanceNormalization", "GroupNormalization")
)  # fmt: skip
# Their type comes from an attribute, not from their inputs.
_UNTOUCHED = frozenset(("Shape", "Size", "ConstantOfShape", "Range", "EyeLike", "Constant"))
# Inputs that stay float32 whatever the type of the first one.
_FLOAT_INPUTS = {("Resize", 1), ("Resize", 2), ("Upsample", 1)}


def half_from_float(data: bytes, *, keep: Collection[str] = ()) -> tuple[bytes, list[str]]:
    """Writes a float16 copy of the body.

    Args:
        data: A float32 frame-in graph.
        keep: Names of nodes that stay float32.

    Returns:
        The ONNX file, and the names of body nodes that stayed float32.

    Raises:
        ArgumentError: The graph holds control flow.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data))
    writer = _Writer(model, keep)
    for node in list(model.graph.node):
        writer.add(node)
    del model.graph.node[:]
    model.graph.node.extend(writer.nodes)
    model.graph.initializer.extend(writer.constants.values())
    _drop_unused(model)
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(), writer.kept


class _Writer:
    """Copies nodes in order and puts casts where float32 and float16 meet."""

    def __init__(self, model: Any, keep: Collection[str]) -> None:
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
        self.body = {node.name for node in body_nodes(model)}
        self.keep = set(keep)
        self.kept: list[str] = []
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        # Names under which float32 tensors exist in half; those that exist in half alone.
        self.as_half: dict[str, str] = {}
        self.only_half: set[str] = set()

    def add(self, node: Any) -> None:
        """Appends one node, converted when it is of the body and not kept."""
        copy = self.onnx.NodeProto()
        copy.CopyFrom(node)
        floats = [i for i, name in enumerate(node.input) if self._is_float(name)]
        made = [name for name in node.output if self._is_float(name)]
        wanted = node.name in self.body and node.op_type not in _UNTOUCHED and bool(made)
        if wanted and (
            node.op_type in _SENSITIVE or node.name in self.keep or not self._fits(node)
        ):
            self.kept.append(node.name)
            wanted = False
        for index in floats:
            fixed = (node.op_type, index) in _FLOAT_INPUTS
            give = self._half if wanted and not fixed else self._float
            copy.input[index] = give(node.input[index])
        if wanted:
            for index, name in enumerate(node.output):
                if name in made:
                    copy.output[index] = self.as_half[name] = f"{name}__half"
                    self.only_half.add(name)
            for attribute in copy.attribute:
                if node.op_type == "Cast" and attribute.name == "to":
                    attribute.i = self.half
        self.nodes.append(copy)
        for name in made:
            if wanted and name in self.outputs:
                self._float(name)

    def _is_float(self, name: str) -> bool:
        return bool(name) and self.types.get(name) == self.float

    def _fits(self, node: Any) -> bool:
        """Whether the node's own constants are within float16's range."""
        arrays = [
            self.onnx.numpy_helper.to_array(self.initial[name])
            for name in node.input
            if name in self.initial and self._is_float(name)
        ]
        return all(float(np.abs(array).max(initial=0.0)) <= LARGEST for array in arrays)

    def _half(self, name: str) -> str:
        if name in self.as_half:
            return self.as_half[name]
        made = self.as_half[name] = f"{name}__half"
        if name in self.initial:
            array = self.onnx.numpy_helper.to_array(self.initial[name]).astype(np.float16)
            self.constants[made] = self.onnx.numpy_helper.from_array(array, made)
        else:
            self._cast(name, made, self.half)
        return made

    def _float(self, name: str) -> str:
        """The float32 form of a tensor that may exist in half only."""
        if name in self.only_half:
            self.only_half.remove(name)
            self._cast(self.as_half[name], name, self.float)
        return name

    def _cast(self, source: str, target: str, kind: int) -> None:
        self.nodes.append(
            self.onnx.helper.make_node("Cast", [source], [target], name=f"{target}/Cast", to=kind)
        )


def _drop_unused(model: Any) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def rounded_everywhere(data: bytes) -> Infer:
    """Runs a float16 graph so that every half tensor really is rounded to half.

    ONNX Runtime has hardly any float16 kernels for CPUs: it computes such layers in float32 and
    takes out the casts between them, so that overflow and rounding do not show. Here each layer's
    output passes an `Identity` in half, which keeps the casts; sums inside a layer are float32, as
    on the matrix units of GPUs.
    """
    import onnx
    import onnxruntime

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
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    source = model.graph.input[0].name
    names = [output.name for output in model.graph.output]

    def infer(frames: Frame) -> Answer:
        return dict(zip(names, session.run(names, {source: frames}), strict=True))

    return infer


def activation_peaks(data: bytes, frames: Sequence[Frame]) -> Mapping[str, float]:
    """Largest magnitude of each body node's float output over the frames, by node name."""
    import onnx
    import onnxruntime

    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data))
    kinds = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    probes: dict[str, str] = {}
    for node in body_nodes(model):
        # Light nodes follow a heavy one or an addition; those two are where magnitudes arise.
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
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    peaks = dict.fromkeys(probes.values(), 0.0)
    for frame in frames:
        values = session.run(list(probes), {model.graph.input[0].name: frame[None]})
        for probe, value in zip(probes, values, strict=True):
            peaks[probes[probe]] = float(np.fmax(peaks[probes[probe]], value))
    return peaks
