"""Nodes before and behind an ONNX graph that give it a float32 image and float32 logits.

prepend_input(model, form, (480, 640))
append_output(model, ("y",), OutputForm(kind="probabilities"), [(1, 3, 480, 640)], 3)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trocar.export.graph.imported.onnx_input import InputForm
from trocar.export.graph.imported.output_form import LABEL_LOGIT, MIN_PROBABILITY, OutputForm

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

_LAYOUT = ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Flatten")
_RESIZING = ("Resize", "Upsample", "Slice")


def value_ops(model: ModelProto, name: str) -> set[str]:
    """The operator that makes an output's values, behind casts, resizes and changes of layout."""
    node = _producer(model.graph, name, (*_LAYOUT, *_RESIZING))
    return {node.op_type} if node is not None else set()


def expose_argmax_input(model: ModelProto, name: str) -> str | None:
    """Makes the input of the arg-max behind an output an output too.

    Args:
        model: Changed in place.
        name: The output; empty for the only one there is.

    Returns:
        Name of the arg-max's input; ``None`` where the output is not made by an arg-max.
    """
    import onnx

    outputs = {value.name: value for value in model.graph.output}
    if name not in outputs and (name or len(outputs) != 1):
        return None
    node = _producer(model.graph, name or next(iter(outputs)), _LAYOUT)
    if node is None or node.op_type != "ArgMax":
        return None
    source = str(node.input[0])
    if source not in outputs:
        inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
        value = next((value for value in inferred if value.name == source), None)
        if value is None:
            value = onnx.helper.make_tensor_value_info(source, onnx.TensorProto.FLOAT, None)
        model.graph.output.append(value)
    return source


def free_batch(model: ModelProto) -> None:
    """Makes the batch of a graph for one image dynamic.

    Reshapes to ``[1, ...]`` keep the first dimension of their input instead. Whether that is
    right is seen by running the graph.
    """
    from onnx import numpy_helper

    graph = model.graph
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value == 1:
            dims[0].dim_param = "batch"
    targets = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    tensors = [tensor for tensor in graph.initializer if tensor.name in targets]
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in targets:
            tensors += [a.t for a in node.attribute if a.name == "value"]
    for tensor in tensors:
        shape = numpy_helper.to_array(tensor)
        if shape.ndim == 1 and len(shape) > 1 and shape[0] == 1:
            shape = np.concatenate([[0], shape[1:]]).astype(np.int64)
            tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))


def prepend_input(model: ModelProto, form: InputForm, size: tuple[int, int]) -> None:
    """Replaces the graph's input by a float32 image ``[batch,3,h,w]``."""
    import onnx

    builder = _Builder(model.graph)
    name = builder.name("image")
    value = name
    if form.channels_last:
        value = builder.add("Transpose", [value], perm=[0, 2, 3, 1])
    if form.type == "uint8":
        value = builder.add("Round", [value])
    kind = {"float": None, "float16": onnx.TensorProto.FLOAT16, "uint8": onnx.TensorProto.UINT8}
    if kind[form.type] is not None:
        value = builder.add("Cast", [value], to=kind[form.type])
    if form.single:
        value = builder.add("Squeeze", [value, builder.constant("first", [0], np.int64)])
    if value == name:
        # The input keeps its own name: nothing stands before it.
        value = name = form.name
    else:
        builder.nodes[-1].output[0] = form.name
    graph = model.graph
    rest = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*builder.nodes, *rest])
    graph.input.append(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 3, *size])
    )


def append_output(
    model: ModelProto,
    names: Sequence[str],
    form: OutputForm,
    shapes: Sequence[tuple[int, ...]],
    classes: int,
) -> list[str]:
    """Replaces the graph's outputs by float32 logits and, for classifiers, the embedding.

    Args:
        model: Changed in place; operator set 18 or later.
        names: Its own outputs: logits or scores, and the embedding.
        form: What the first one means.
        shapes: Shapes of the new outputs for a batch of one.
        classes: Rows of the class table.

    Returns:
        Names of the new outputs.
    """
    import onnx

    graph = model.graph
    builder = _Builder(graph)
    first = builder.logits(names[0], form, classes, shape=shapes[0])
    values = [first, *(builder.float32(name, flat=True) for name in names[1:])]
    graph.node.extend(builder.nodes)
    del graph.output[:], graph.value_info[:]
    for value, shape in zip(values, shapes, strict=True):
        graph.output.append(
            onnx.helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, ["batch", *shape[1:]])
        )
    return values


def cast_outputs(
    model: ModelProto, outputs: Sequence[tuple[str, int]], *, add_batch: bool = False
) -> None:
    """Replaces the graph's outputs by float32 copies of some of them.

    Args:
        model: Changed in place.
        outputs: Name and number of dimensions of each, the batch included.
        add_batch: The outputs have no batch dimension, and get one of size 1.
    """
    import onnx

    graph = model.graph
    builder = _Builder(graph)
    values = [builder.float32(name, flat=False) for name, _ in outputs]
    if add_batch:
        axis = builder.constant("axis", [0], np.int64)
        values = [builder.add("Unsqueeze", [value, axis]) for value in values]
    graph.node.extend(builder.nodes)
    del graph.output[:], graph.value_info[:]
    for number, (value, (_, rank)) in enumerate(zip(values, outputs, strict=True)):
        dims = ["batch", *(f"output_{number}_{i}" for i in range(1, rank))]
        graph.output.append(onnx.helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, dims))


class _Builder:
    """Makes nodes whose tensors have names that the graph does not use."""

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self.nodes: list[NodeProto] = []
        text = graph.SerializeToString() if graph.ByteSize() < 1 << 20 else b""
        taken = {tensor for node in graph.node for tensor in (*node.input, *node.output)}
        self.prefix = "trocar_"
        while self.prefix.encode() in text or any(t.startswith(self.prefix) for t in taken):
            self.prefix += "_"

    def name(self, stem: str) -> str:
        """A name that no tensor of the graph has."""
        return f"{self.prefix}{stem}"

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """Adds a node with one output; returns the output's name."""
        import onnx

        output = self.name(f"{op}_{len(self.nodes)}")
        node = onnx.helper.make_node(op, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, stem: str, value: Any, dtype: Any = np.float32) -> str:
        """Adds a constant tensor; returns its name."""
        from onnx import numpy_helper

        name = self.name(f"{stem}_{len(self.nodes)}")
        self.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def float32(self, value: str, *, flat: bool) -> str:
        """The tensor as float32, and as rows where ``flat``."""
        import onnx

        value = self.add("Cast", [value], to=onnx.TensorProto.FLOAT)
        return self.add("Flatten", [value], axis=1) if flat else value

    def logits(self, value: str, form: OutputForm, classes: int, *, shape: tuple[int, ...]) -> str:
        """Logits of an output, ``shape`` for one image; the same as `output_form.logits_of`."""
        import onnx

        flat = len(shape) == 2
        if form.kind == "labels":
            value = self.add("Cast", [value], to=onnx.TensorProto.INT64)
            planes = self.constant("planes", [0, *shape[2:]], np.int64)
            value = self.add("Reshape", [value, planes])
            depth = self.constant("depth", classes, np.int64)
            levels = self.constant("levels", [0, LABEL_LOGIT])
            return self.add("OneHot", [value, depth, levels], axis=1)
        value = self.float32(value, flat=flat)
        if form.channels_last and not flat:
            value = self.add("Transpose", [value], perm=[0, 3, 1, 2])
        if form.kind == "one_logit":
            zero = self.add("Mul", [value, self.constant("zero", 0)])
            return self.add("Concat", [zero, value], axis=1)
        if form.kind == "one_probability":
            other = self.add("Sub", [self.constant("one", 1), value])
            value = self.add("Concat", [other, value], axis=1)
        if form.kind in ("probabilities", "one_probability"):
            low, high = self.constant("low", MIN_PROBABILITY), self.constant("high", 1)
            value = self.add("Log", [self.add("Clip", [value, low, high])])
        return value


def add_prefix(graph: GraphProto, prefix: str) -> None:
    """Puts a prefix before every tensor name of a graph and of its subgraphs, in place.

    `onnx.compose.add_prefix` leaves out what a subgraph reads from the graph around it.
    """
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = prefix + value.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = prefix + sparse.values.name
    del graph.quantization_annotation[:]
    for node in graph.node:
        node.input[:] = [name and prefix + name for name in node.input]
        node.output[:] = [name and prefix + name for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                add_prefix(attribute.g, prefix)
            for inner in attribute.graphs:
                add_prefix(inner, prefix)


def _producer(graph: GraphProto, name: str, passing: Sequence[str]) -> NodeProto | None:
    """The node that makes a tensor, behind nodes that only pass its values on."""
    producers = {output: node for node in graph.node for output in node.output}
    node = producers.get(name)
    while node is not None and node.op_type in passing:
        node = producers.get(node.input[0])
    return node
