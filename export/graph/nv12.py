"""A second form of a frame-in graph: NV12 planes in, the same outputs.

    data = with_nv12_input(model)      # inputs luma, chroma and colour instead of frame

Both planes are resized to the network's size, then the colours are converted. The order of these
linear steps makes no difference but for rounding, clamping and chroma: the RGB path rounds and
clamps each pixel of the frame and repeats each chroma value for two by two pixels, this graph
interpolates chroma. It touches three million values of a 1080p frame instead of twelve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trocar.contract.errors import ArgumentError
from trocar.export.graph.model_file import load, read_manifest

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_PREFIX = "nv12/"


def with_nv12_input(data: bytes) -> bytes:
    """The same graph with the inputs ``luma``, ``chroma`` and ``colour`` instead of the frame.

    ``luma`` is ``[batch, height, width]`` uint8, ``chroma``
    ``[batch, chroma_height, chroma_width, 2]`` uint8 and ``colour`` ``[batch, 3, 4]`` float32, see
    `trocar.contract.media.nv12.colour_matrix`. The file states no manifest: it is a part of a
    bundle.

    Args:
        data: A frame-in ONNX file with its manifest.

    Raises:
        ArgumentError: The graph does more with frames than to resize them.
    """
    import onnx

    model = load(data)
    manifest = read_manifest(model)
    frame = manifest.input.name
    resize = _resize_of(model, frame)
    if resize is None:
        raise ArgumentError(
            f"{manifest.name} cannot take NV12: its graph does not resize frames alone (it pads, "
            "crops or converts them first)",
            remedy="leave --nv12 out",
        )
    image = resize.output[0]
    graph = model.graph
    size = (manifest.input.height, manifest.input.width)
    front, constants = _front(size, image)
    kept = [node for node in graph.node if image not in node.output]
    for node in kept:
        if _is_batch_of(node, frame):
            node.input[0] = "luma"
    nodes = _needed([*front, *kept], {output.name for output in graph.output})
    if any(frame in node.input for node in nodes):
        raise ArgumentError(
            f"{manifest.name} cannot take NV12: its graph uses the frame's size behind the resize",
            remedy="leave --nv12 out",
        )
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input} | {o.name for o in graph.output}
    own = [value for value in graph.input if value.name != frame]
    inputs = [
        onnx.helper.make_tensor_value_info(
            "luma", onnx.TensorProto.UINT8, ["batch", "height", "width"]
        ),
        onnx.helper.make_tensor_value_info(
            "chroma", onnx.TensorProto.UINT8, ["batch", "chroma_height", "chroma_width", 2]
        ),
        onnx.helper.make_tensor_value_info("colour", onnx.TensorProto.FLOAT, ["batch", 3, 4]),
    ]
    del graph.input[:]
    graph.input.extend([*inputs, *own])
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*tensors, *constants])
    values = [v for v in graph.value_info if v.name in used]
    del graph.value_info[:]
    graph.value_info.extend(values)
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _resize_of(model: ModelProto, frame: str) -> NodeProto | None:
    """The node that makes the network's image of the frame, if nothing but a resize does."""
    import onnx

    users: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    tensor = frame
    for kind in ("Cast", "Transpose", "Resize"):
        # Shapes are read along the way; only one node takes the values.
        following = [node for node in users.get(tensor, []) if node.op_type != "Shape"]
        if len(following) != 1 or following[0].op_type != kind:
            return None
        node = following[0]
        tensor = node.output[0]
    settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    is_plain = (
        settings.get("mode") == b"linear"
        and settings.get("coordinate_transformation_mode", b"half_pixel")
        in (b"half_pixel", b"pytorch_half_pixel")
        and not settings.get("antialias")
        and settings.get("keep_aspect_ratio_policy", b"stretch") == b"stretch"
    )
    return node if is_plain else None


def _is_batch_of(node: NodeProto, frame: str) -> bool:
    """Whether a node reads the number of frames, which both planes state as well."""
    import onnx

    settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    is_first = settings.get("start", 0) == 0 and settings.get("end") == 1
    return node.op_type == "Shape" and node.input[0] == frame and is_first


def _front(size: tuple[int, int], image: str) -> tuple[list[NodeProto], list[TensorProto]]:
    """Nodes and constants from the planes to the network's image, ``[N, 3, h, w]`` of 0..255."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []

    def constant(name: str, value: Any, dtype: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, dtype), _PREFIX + name))
        return _PREFIX + name

    def add(kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        output = name if name == image else _PREFIX + name
        nodes.append(
            helper.make_node(kind, inputs, [output], name=f"{_PREFIX}{kind} {name}", **attributes)
        )
        return output

    sides = constant("size", size, np.int64)

    def resized(plane: str, name: str) -> str:
        leading = add("Shape", [plane], f"{name} shape", start=0, end=2)
        sizes = add("Concat", [leading, sides], f"{name} sizes", axis=0)
        return add(
            "Resize",
            [plane, "", "", sizes],
            f"{name} resized",
            mode="linear",
            coordinate_transformation_mode="half_pixel",
            antialias=0,
        )

    # The casts come first because TensorRT neither transposes nor resizes uint8.
    luma = add("Cast", ["luma"], "luma float", to=onnx.TensorProto.FLOAT)
    luma = add("Unsqueeze", [luma, constant("channel", [1], np.int64)], "luma plane")
    chroma = add("Cast", ["chroma"], "chroma float", to=onnx.TensorProto.FLOAT)
    chroma = add("Transpose", [chroma], "chroma planes", perm=[0, 3, 1, 2])
    planes = add("Concat", [resized(luma, "luma"), resized(chroma, "chroma")], "planes", axis=1)
    flat = add("Reshape", [planes, constant("flat", [0, 3, -1], np.int64)], "pixels")
    split = constant("split", [3, 1], np.int64)
    nodes.append(
        helper.make_node(
            "Split",
            ["colour", split],
            [_PREFIX + "matrix", _PREFIX + "offset"],
            name=_PREFIX + "Split",
            axis=2,
        )
    )
    mixed = add("MatMul", [_PREFIX + "matrix", flat], "mixed")
    shifted = add("Add", [mixed, _PREFIX + "offset"], "shifted")
    bounds = [constant("black", 0.0, np.float32), constant("white", 255.0, np.float32)]
    clamped = add("Clip", [shifted, *bounds], "clamped")
    add("Reshape", [clamped, constant("image", [0, 3, *size], np.int64)], image)
    return nodes, constants


def _needed(nodes: list[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """The nodes that the wanted tensors depend on, in order."""
    needed = set(wanted)
    kept = []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]
