"""Rewrites an int8 graph into a form that ONNX Runtime's CPU kernels run faster.

fuse_normalisation(model)                    # before quantising: Sub and Mul become one node
ranges = share_concat_ranges(model, ranges)
first_layer_space_to_depth(model)            # after quantising: a strided layer on 2x2 blocks

The results stay equal, up to the rounding that each function states.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto
    from onnxruntime.quantization.calibrate import TensorsData

BLOCK = 2
MIN_SHARED_RANGE = 0.5
"""An input of a concatenation shares its range if its own range is this fraction of it, or more."""
_ARITHMETIC = {"Sub": np.subtract, "Add": np.add, "Mul": np.multiply, "Div": np.divide}


def fuse_normalisation(model: ModelProto) -> bool:
    """Fuses ``Sub``, ``Add``, ``Mul`` and ``Div`` by channel before the first convolution.

    ONNX Runtime moves the transposition of an int8 network's frames behind these nodes, where
    subtracting three numbers from ``[N, H, W, 3]`` is ten times as slow as from ``[N, 3, H, W]``.
    It moves no transposition past the one ``BatchNormalization`` that they become.

    Args:
        model: A float32 graph; changed in place. Outputs stay equal up to float32 rounding.

    Returns:
        Whether there were nodes to fuse: two or more, read by no other node.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    first = _first_convolution(graph)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    if first is None or first.input[1] not in constants:
        return False
    channels = constants[first.input[1]].dims[1]
    producers = {name: node for node in graph.node for name in node.output}
    readers = [name for node in graph.node for name in node.input]
    chain: list[tuple[NodeProto, NDArray[np.float64]]] = []  # the last node first
    name = first.input[0]
    while (node := producers.get(name)) is not None and node.op_type in _ARITHMETIC:
        value = constants.get(node.input[1])
        if value is None or readers.count(name) != 1:
            break
        if list(value.dims) not in ([1, channels, 1, 1], [channels, 1, 1]):
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


def share_concat_ranges(model: ModelProto, ranges: TensorsData) -> TensorsData:
    """Ranges in which similar inputs of a concatenation have one range.

    A concatenation of equal scales copies bytes; with a scale for each input it must convert every
    byte.

    Args:
        model: A float32 graph.
        ranges: Result of `trocar.export.precision.int8.activation_ranges`; not changed.
    """
    from onnxruntime.quantization.calibrate import TensorData

    shared = copy.copy(ranges)
    shared.data = dict(ranges.data)
    producers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type != "Concat":
            continue
        known = [_source(name, producers) for name in node.input]
        known = [name for name in known if name in shared.data]
        if not known or node.output[0] not in shared.data:
            continue
        ends = np.array([[np.ravel(end)[0] for end in shared[name].range_value] for name in known])
        low, high = min(0.0, ends[:, 0].min()), max(0.0, ends[:, 1].max())
        similar = [
            name
            for name, (smallest, largest) in zip(known, ends, strict=True)
            if largest - smallest >= MIN_SHARED_RANGE * (high - low)
        ]
        for name in (*similar, node.output[0]):
            shared.data[name] = TensorData(
                lowest=np.array([low], np.float32), highest=np.array([high], np.float32)
            )
    return shared


def first_layer_space_to_depth(model: ModelProto) -> bool:
    """Turns a first convolution of stride 2 into one of stride 1 on blocks of 2x2 pixels.

    Kernels for int8 multiply four channels at a time, and a frame has three channels. The same
    weights on the twelve values of a block give the same sums in less than half of the time.

    Args:
        model: A quantised graph with known sizes before the layer; changed in place.

    Returns:
        Whether there was such a layer.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    first = _strided_first_layer(model)
    if first is None:
        return False
    layer, image, packed, size = first.layer, first.image, first.weights, first.size
    pads = _pads(layer)
    values = numpy_helper.to_array(packed)
    out, channels, *kernel = values.shape
    before = [-(-pad // BLOCK) for pad in pads[:2]]  # blocks of padding before the image
    shift = [BLOCK * b - pad for b, pad in zip(before, pads[:2], strict=True)]
    blocks = [-(-(k + s) // BLOCK) for k, s in zip(kernel, shift, strict=True)]
    sides = [(side + pads[i] + pads[2 + i] - kernel[i]) // BLOCK + 1 for i, side in enumerate(size)]
    after = [sides[i] - 1 + blocks[i] - before[i] - size[i] // BLOCK for i in range(2)]
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


@dataclass(frozen=True)
class _FirstLayer:
    """A quantised first convolution.

    Attributes:
        layer: The convolution.
        image: The node that dequantises its image.
        weights: Its int8 weights.
        size: Height and width of the image.
    """

    layer: NodeProto
    image: NodeProto
    weights: TensorProto
    size: list[int]


def _strided_first_layer(model: ModelProto) -> _FirstLayer | None:
    from onnx import shape_inference

    graph = model.graph
    layer = _first_convolution(graph)
    if layer is None:
        return None
    producers = {name: node for node in graph.node for name in node.output}
    image, weight = (producers.get(name) for name in layer.input[:2])
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
    return _FirstLayer(layer, image, packed, size)


def _attributes(node: NodeProto) -> dict[str, object]:
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _pads(node: NodeProto) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == "pads"), [0, 0, 0, 0])


def _first_convolution(graph: GraphProto) -> NodeProto | None:
    return next((node for node in graph.node if node.op_type == "Conv"), None)


def _source(name: str, producers: Mapping[str, NodeProto]) -> str:
    """The tensor whose scale a tensor has; resizing keeps the scale."""
    while (node := producers.get(name)) is not None and node.op_type == "Resize":
        name = node.input[0]
    return name
