"""Which nodes of a frame-in graph are the network's body, and how its layers group.

body = body_nodes(model)       # neither preprocessing nor what follows the logits
layer_groups(model)            # at most 16 groups of neighbouring layers, in order
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from trocar.contract.errors import ArgumentError
from trocar.export.graph.model_file import logits_tensor

HEAVY = ("Conv", "ConvTranspose", "MatMul", "Gemm")
MOST_GROUPS = 16


def body_nodes(model: Any) -> list[Any]:
    """Nodes from the first convolution or matrix product to the logits, in the graph's order.

    Preprocessing stays out, because 0..255 frames and their normalisation need float32, and so
    does all that follows the logits.

    Raises:
        ArgumentError: Nodes with subgraphs (``If``, ``Loop``), which cannot be converted.
    """
    after = {logits_tensor(model) or ""} - {""}
    inside: set[str] = set()
    body = []
    for node in model.graph.node:
        if any(attribute.HasField("g") for attribute in node.attribute):
            raise ArgumentError(
                f"node {node.name} ({node.op_type}) holds a subgraph, which cannot be converted",
                remedy="export the network without control flow, or keep float32",
            )
        if after & set(node.input):
            after.update(node.output)
        elif node.op_type in HEAVY or inside & set(node.input):
            inside.update(node.output)
            body.append(node)
    return body


def comparing_nodes(model: Any) -> set[str]:
    """Names of the nodes that depend on inputs with defaults: a classifier's comparisons.

    They stay float32: they cost little, and classes that are enrolled later are float32.
    """
    defaults = {tensor.name for tensor in model.graph.initializer}
    inside = {value.name for value in model.graph.input if value.name in defaults}
    names = set()
    for node in model.graph.node:
        if inside & set(node.input):
            inside.update(node.output)
            names.add(node.name)
    return names


def trailing_nodes(model: Any) -> set[str]:
    """Names of the body's nodes that lead to no further layer, such as the logits' enlargement."""
    leading: set[str] = set()
    trailing = set()
    for node in reversed(body_nodes(model)):
        if node.op_type in HEAVY or leading & set(node.output):
            leading.update(node.input)
        else:
            trailing.add(node.name)
    return trailing


def layer_work(model: Any) -> dict[str, int]:
    """Multiplications of each convolution and matrix product for one frame, by node name.

    Sizes that the graph does not state count as one.
    """
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    shapes = {
        value.name: [max(1, d.dim_value) for d in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    work = {}
    for node in body_nodes(model):
        if node.op_type in HEAVY:
            inner = next((weights[name] for name in node.input[1:2] if name in weights), [1])
            # Each place of a convolution's output, or of a transposed one's input, meets all
            # weights; batch and channels are not counted again.
            places = node.input[0] if node.op_type == "ConvTranspose" else node.output[0]
            sides = shapes.get(places, [])[2:] if node.op_type.startswith("Conv") else [1]
            work[node.name] = math.prod(inner) * math.prod(sides)
    return work


def layer_groups(model: Any) -> list[list[str]]:
    """Groups of neighbouring layers by node name, at most `MOST_GROUPS`.

    A layer is a convolution or matrix product with what follows it. The first and the last two
    layers, as a rule the touchy ones, stand alone.
    """
    layers: list[list[str]] = []
    for node in body_nodes(model):
        if node.op_type in HEAVY or not layers:
            layers.append([])
        layers[-1].append(node.name)
    if len(layers) <= MOST_GROUPS:
        return layers
    middle = layers[1:-2]
    count = MOST_GROUPS - 3
    edges = [round(i * len(middle) / count) for i in range(count + 1)]
    chunks = [_flat(middle[a:b]) for a, b in itertools.pairwise(edges)]
    return [layers[0], *chunks, layers[-2], layers[-1]]


def _flat(parts: Sequence[Sequence[str]]) -> list[str]:
    return [name for part in parts for name in part]
