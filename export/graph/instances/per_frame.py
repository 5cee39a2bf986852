"""Networks that take one image at a time: their outputs, and their graph over a batch.

    values = batched_outputs({"boxes": boxes, "masks": masks})      # [n,4] becomes [1,n,4]
    model = scan_frames(model)                                      # one frame after another

Detectors that return as many rows as they find, such as Mask R-CNN of torchvision, have no batch
dimension. ONNX's operator ``Scan`` runs their whole graph once for each frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, ValueInfoProto

OPERATOR = "Scan"
"""The operator that a graph of `scan_frames` has at its outside."""


def lacks_batch(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether outputs for one image have no batch dimension.

    Scores and boxes are ``[N,n]`` and ``[N,n,4]`` with a batch, ``[n]`` and ``[n,4]`` without.

    >>> lacks_batch({"boxes": (7, 4), "labels": (7,)}), lacks_batch({"labels": (1, 7)})
    (True, False)
    """
    flat = {shape[0] for shape in shapes.values() if len(shape) == 1}
    return any(
        len(shape) == 2 and shape[1] in (4, 5) and shape[0] in flat for shape in shapes.values()
    )


def batched_outputs(values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs for one image, with a batch dimension where they lack it."""
    if lacks_batch({name: value.shape for name, value in values.items()}):
        return {name: np.asarray(value)[None] for name, value in values.items()}
    return dict(values)


def is_per_frame(model: ModelProto) -> bool:
    """Whether a frame-in graph runs one frame after another."""
    return any(node.op_type == OPERATOR and node.name == _NAME for node in model.graph.node)


def scan_frames(model: ModelProto) -> ModelProto:
    """A graph for one frame as one for any batch.

    Args:
        model: One input and outputs with a batch dimension first; computes batches of 1.

    Returns:
        The same with any batch. The weights are tensors of the outer graph.
    """
    import onnx
    from onnx import helper

    graph = model.graph
    _forget_traced_sizes(graph)
    frame, outputs = graph.input[0], list(graph.output)
    first, axes = "scan_frame", "scan_axis"
    inner_nodes = [
        helper.make_node("Unsqueeze", [first, axes], [frame.name], name="frame/Unsqueeze_scan"),
        *graph.node,
        *(
            helper.make_node(
                "Squeeze",
                [output.name, axes],
                [f"{output.name}_of_frame"],
                name=f"frame/Squeeze_{output.name}_of_frame",
            )
            for output in outputs
        ),
    ]
    body = helper.make_graph(
        inner_nodes,
        "one_frame",
        [_without_batch(frame, first)],
        [_without_batch(output, f"{output.name}_of_frame") for output in outputs],
    )
    outer = [f"{output.name}_of_batch" for output in outputs]
    names = [output.name for output in outputs]
    scan = helper.make_node(OPERATOR, ["image_batch"], outer, name=_NAME, num_scan_inputs=1)
    scan.attribute.append(helper.make_attribute("body", body))
    ends = [
        helper.make_node("Identity", [source], [name], name=f"frame/Identity_{name}")
        for source, name in zip(outer, names, strict=True)
    ]
    # Names of a subgraph must differ from those of the graph around it.
    inner = {name: f"{name}_in_scan" for name in [frame.name, *names]}
    _rename(scan, inner)
    scan.input[0] = frame.name
    weights = [
        *graph.initializer,
        onnx.numpy_helper.from_array(np.array([0], np.int64), axes),
    ]
    return helper.make_model(
        helper.make_graph([scan, *ends], graph.name, [frame], outputs, weights),
        opset_imports=list(model.opset_import),
        ir_version=model.ir_version,
    )


_NAME = "frame/Scan_frames"


def _without_batch(value: ValueInfoProto, name: str) -> ValueInfoProto:
    from onnx import helper

    tensor = value.type.tensor_type
    dims = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim][1:]
    return helper.make_tensor_value_info(name, tensor.elem_type, dims)


def _forget_traced_sizes(graph: GraphProto) -> None:
    """Removes sizes from loops inside: those of the image that was traced hold for no other."""
    for node in graph.node:
        inner = [a.g for a in node.attribute if a.HasField("g")]
        for subgraph in (*inner, *(g for a in node.attribute for g in a.graphs)):
            del subgraph.value_info[:]
            for value in subgraph.output:
                value.type.tensor_type.ClearField("shape")
            _forget_traced_sizes(subgraph)


def _rename(scan: Any, names: Mapping[str, str]) -> None:
    """Renames tensors in the body of a ``Scan``, also where inner subgraphs read them."""
    graphs = [attribute.g for attribute in scan.attribute if attribute.HasField("g")]
    while graphs:
        graph = graphs.pop()
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    graphs.append(attribute.g)
                graphs += attribute.graphs
