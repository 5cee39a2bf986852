"""The network's body in a frame-in graph: its nodes, its layers and their cost.

body = network_body(model)     # without preprocessing and without what follows the logits
groups = layer_groups(model)   # at most 16 groups of neighbouring layers, in order
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trocar.contract.errors import ArgumentError
from trocar.contract.graph.logits import logits_tensor

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

HEAVY = ("Conv", "ConvTranspose", "MatMul", "Gemm")
"""Operators with weights: convolutions and matrix products."""

MAX_GROUPS = 16

FRAME_NODES = "frame/"
"""Begin of the names of pre- and postprocessing nodes that import and assembly attach."""


def network_body(model: ModelProto) -> list[NodeProto]:
    """Nodes from the first convolution or matrix product to the logits, in the graph's order.

    Preprocessing is no part of it: frames of 0..255 and their normalisation need float32. What
    follows the logits is no part of it either, nor is the assembly of instances.

    Raises:
        ArgumentError: Nodes with subgraphs (``If``, ``Loop``), which cannot be converted.
    """
    after = {logits_tensor(model) or ""} - {""}
    # The assembly of instances compares, sorts and counts: it needs float32.
    assembles = any(output.name == "instances" for output in model.graph.output)
    inside: set[str] = set()
    body = []
    for node in model.graph.node:
        if any(attribute.HasField("g") for attribute in node.attribute):
            raise ArgumentError(
                f"node {node.name} ({node.op_type}) has a subgraph, which cannot be converted",
                remedy="export the network without control flow, or keep float32",
            )
        if after & set(node.input) or (inside and assembles and node.name.startswith(FRAME_NODES)):
            after.update(node.output)
        elif node.op_type in HEAVY or inside & set(node.input):
            inside.update(node.output)
            body.append(node)
    return body


def class_dependent_nodes(model: ModelProto) -> set[str]:
    """Names of the nodes that depend on a classifier's classes, which are inputs with defaults.

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


def trailing_nodes(model: ModelProto) -> set[str]:
    """Names of the body's nodes behind the last layer, such as the resize of the logits."""
    leading: set[str] = set()
    trailing = set()
    for node in reversed(network_body(model)):
        if node.op_type in HEAVY or leading & set(node.output):
            leading.update(node.input)
        else:
            trailing.add(node.name)
    return trailing


def layer_macs(model: ModelProto) -> dict[str, int]:
    """Multiply-accumulates of each convolution and matrix product for one frame, by node name.

    A size that the graph does not state counts as 1.
    """
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    shapes = {
        value.name: [max(1, d.dim_value) for d in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    macs = {}
    for node in network_body(model):
        if node.op_type in HEAVY:
            inner = next((weights[name] for name in node.input[1:2] if name in weights), [1])
            # Each pixel of a convolution's output, or of a transposed convolution's input, is
            # multiplied by all weights; batch and channels are not counted again.
            tensor = node.input[0] if node.op_type == "ConvTranspose" else node.output[0]
            sides = shapes.get(tensor, [])[2:] if node.op_type.startswith("Conv") else [1]
            macs[node.name] = math.prod(inner) * math.prod(sides)
    return macs


def layer_groups(model: ModelProto) -> list[list[str]]:
    """Groups of neighbouring layers by node name, at most `MAX_GROUPS`.

    A layer is a convolution or matrix product with what follows it. The first layer and the last
    two are groups of their own: they are usually the most sensitive.
    """
    layers: list[list[str]] = []
    for node in network_body(model):
        if node.op_type in HEAVY or not layers:
            layers.append([])
        layers[-1].append(node.name)
    if len(layers) <= MAX_GROUPS:
        return layers
    middle = layers[1:-2]
    count = MAX_GROUPS - 3
    edges = [round(i * len(middle) / count) for i in range(count + 1)]
    chunks = [_flat(middle[a:b]) for a, b in itertools.pairwise(edges)]
    return [layers[0], *chunks, layers[-2], layers[-1]]


def _flat(parts: Sequence[Sequence[str]]) -> list[str]:
    return [name for part in parts for name in part]
