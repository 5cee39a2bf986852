"""Forms of an int8 graph that ONNX Runtime's CPU kernels run faster; what is computed stays.

join_normalisation(model)          # before quantising: Sub and Mul become one node
ranges = with_shared_ranges(model, ranges)
first_layer_in_blocks(model)       # after quantising: a strided first layer on blocks of pixels
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

BLOCK = 2
SHARE = 0.5
"""Least part of a concatenation's range that an input covers to be quantised like the others."""
_ARITHMETIC = {"Sub": np.subtract, "Add": np.add, "Mul": np.multiply, "Div": np.divide}


def join_normalisation(model: Any) -> bool:
    """Joins ``Sub``, ``Add``, ``Mul`` and ``Div`` by channel in front of the first convolution.

    ONNX Runtime moves the transposition of an int8 network's frames in front of them, where
    subtracting three numbers from ``[N, H, W, 3]`` is ten times as slow as from ``[N, 3, H, W]``.
    It moves nothing past the one BatchNormalization that they become.

    Args:
        model: A float32 graph; changed in place. Outputs stay equal up to float32 rounding.

    Returns:
        Whether there was something to join: two such nodes or more that nothing else reads.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    first = _first_convolution(graph)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    if first is None or first.input[1] not in constants:
        return False
    channels = constants[first.input[1]].dims[1]
    made_by = {name: node for node in graph.node for name in node.output}
    readers = [name for node in graph.node for name in node.input]
    chain: list[tuple[Any, Any]] = []  # each node with its constant, the last node first
    name = first.input[0]
    while (node := made_by.get(name)) is not None and node.op_type in _ARITHMETIC:
        value = constants.get(node.input[1])
        by_channel = value is not None and list(value.dims) in (
            [1, channels, 1, 1],
            [channels, 1, 1],
        )
        if not by_channel or readers.count(name) != 1:
            break
        chain.append((node, numpy_helper.to_array(value).astype(np.float64).reshape(-1)))
        name = node.input[0]
    if len(chain) < 2:
        return False
    scale, offset = np.ones(channels), np.zeros(channels)
    for node, value in reversed(chain):
        work = _ARITHMETIC[node.op_type]
        offset = work(offset, value)
        if node.op_type in ("Mul", "Div"):
            scale = work(scale, value)
    last = chain[0][0]
    base = f"{last.name}/joined"
    values = {"scale": scale, "offset": offset, "mean": 0 * scale, "variance": 0 * scale + 1}
    for key, array in values.items():
        graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), f"{base}/{key}"))
    last.CopyFrom(
        helper.make_node(
            "BatchNormalization",
            [name, *(f"{base}/{key}" for key in values)],
            list(last.output),
            name=base,
            epsilon=0.0,
        )
    )
    for node, _ in chain[1:]:
        graph.node.remove(node)
    return True


def with_shared_ranges(model: Any, ranges: Any) -> Any:
    """Ranges in which a concatenation's inputs, where they are alike, have one range.

    Concatenating then copies bytes; with a scale for each input every byte goes through a table.

    Args:
        model: A float32 graph.
        ranges: Of `trocar.export.precision.int8.activation_ranges`; not changed.
    """
    from onnxruntime.quantization.calibrate import TensorData

    shared = copy.copy(ranges)
    shared.data = dict(ranges.data)
    made_by = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type != "Concat":
            continue
        known = [_source(name, made_by) for name in node.input]
        known = [name for name in known if name in shared.data]
        if not known or node.output[0] not in shared.data:
            continue
        ends = np.array([[np.ravel(end)[0] for end in shared[name].range_value] for name in known])
        low, high = min(0.0, ends[:, 0].min()), max(0.0, ends[:, 1].max())
        alike = [
            name
            for name, (least, most) in zip(known, ends, strict=True)
            if most - least >= SHARE * (high - low)
        ]
        for name in (*alike, node.output[0]):
            shared.data[name] = TensorData(
                lowest=np.array([low], np.float32), highest=np.array([high], np.float32)
            )
    return shared


def first_layer_in_blocks(model: Any) -> bool:
    """Turns a first convolution of stride 2 into one of stride 1 on blocks of 2x2 pixels.

    Kernels for int8 multiply four channels at a time, and a frame has three. The same weights over
    the twelve values of a block give the same sums in less than half of the time.

    Args:
        model: A quantised graph with known sizes in front of the layer; changed in place.

    Returns:
        Whether there was such a layer.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    found = _strided_first_layer(model)
    if found is None:
        return False
    layer, image, packed, size = found
    pads = _attributes(layer).get("pads", [0, 0, 0, 0])
    values = numpy_helper.to_array(packed)
    out, channels, *kernel = values.shape
    before = [-(-pad // BLOCK) for pad in pads[:2]]  # blocks in front of the first one
    shift = [BLOCK * b - pad for b, pad in zip(before, pads[:2], strict=True)]
    blocks = [-(-(k + s) // BLOCK) for k, s in zip(kernel, shift, strict=True)]
    made = [(side + pads[i] + pads[2 + i] - kernel[i]) // BLOCK + 1 for i, side in enumerate(size)]
    after = [made[i] - 1 + blocks[i] - before[i] - size[i] // BLOCK for i in range(2)]
    if min(after) < 0:
        return False
    spread = np.zeros((out, BLOCK * BLOCK * channels, *blocks), values.dtype)
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            down, right = y + shift[0], x + shift[1]
            phase = (down % BLOCK) * BLOCK + right % BLOCK
            part = slice(phase * channels, (phase + 1) * channels)
            spread[:, part, down // BLOCK, right // BLOCK] = values[:, :, y, x]
    packed.CopyFrom(numpy_helper.from_array(spread, packed.name))
    source = image.input[0]
    image.input[0] = f"{source}/blocks"
    name = f"{layer.name}/SpaceToDepth"
    node = helper.make_node("SpaceToDepth", [source], [image.input[0]], name=name, blocksize=BLOCK)
    graph.node.insert(list(graph.node).index(image), node)
    del layer.attribute[:]
    layer.attribute.extend(
        helper.make_attribute(key, value)
        for key, value in (
            ("kernel_shape", blocks),
            ("strides", [1, 1]),
            ("pads", [*before, *after]),
        )
    )
    return True


def _strided_first_layer(model: Any) -> tuple[Any, Any, Any, list[int]] | None:
    """The layer, what dequantises its image, its weights, and the image's height and width."""
    from onnx import shape_inference

    graph = model.graph
    layer = _first_convolution(graph)
    if layer is None:
        return None
    made_by = {name: node for node in graph.node for name in node.output}
    image, weight = (made_by.get(name) for name in layer.input[:2])
    if image is None or weight is None:
        return None
    if {image.op_type, weight.op_type} != {"DequantizeLinear"}:
        return None
    readers = [name for node in graph.node for name in node.input]
    if any(readers.count(node.output[0]) != 1 for node in (image, weight)):
        return None
    packed = next((t for t in graph.initializer if t.name == weight.input[0]), None)
    given = _attributes(layer)
    usual = {"dilations": [1, 1], "group": 1, "auto_pad": b"NOTSET"}
    if (
        packed is None
        or packed.dims[1] > 4
        or given.get("strides") != [BLOCK, BLOCK]
        or any(given.get(key, value) != value for key, value in usual.items())
    ):
        return None
    known = shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*known.value_info, *known.input)
    }
    size = shapes.get(image.input[0], [])[2:]
    if len(size) != 2 or any(side < BLOCK or side % BLOCK for side in size):
        return None
    return layer, image, packed, size


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _first_convolution(graph: Any) -> Any:
    return next((node for node in graph.node if node.op_type == "Conv"), None)


def _source(name: str, made_by: dict[str, Any]) -> str:
    """The tensor whose scale a tensor has: enlarging keeps it."""
    while (node := made_by.get(name)) is not None and node.op_type == "Resize":
        name = node.input[0]
    return name
