"""Writes a graph so that no runtime changes what it computes.

fold_constant_resizes(model)
keep_pads_before_pools(model)

Each function answers one fault that was seen in a runtime, and leaves the graph's meaning as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trocar.export.cpu_session import open_cpu_session

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def fold_constant_resizes(model: ModelProto) -> bool:
    """Replaces a resizing of constants by its result, as for the positions of a vision transformer.

    OpenVINO 2026.4 leaves the filter of `antialias` out where the mode is cubic, and nothing has to
    be resized anew for every frame. The results are those of ONNX Runtime, to the last bits.

    Returns:
        Whether there was one.
    """
    import onnx

    made = {output: node for node in model.graph.node for output in node.output}
    given = {value.name for value in model.graph.input}
    folded = {}
    for node in model.graph.node:
        if node.op_type != "Resize":
            continue
        needed = _needed(node.output[0], made)
        if needed & given:
            continue
        part = onnx.helper.make_graph(
            [one for one in model.graph.node if needed.intersection(one.output)],
            "constant",
            [],
            [onnx.helper.make_empty_tensor_value_info(node.output[0])],
            [tensor for tensor in model.graph.initializer if tensor.name in needed],
        )
        alone = onnx.helper.make_model(
            part, opset_imports=model.opset_import, ir_version=model.ir_version
        )
        session = open_cpu_session(alone.SerializeToString(), optimise=False)
        folded[node.output[0]] = session.run(None, {})[0]
    if not folded:
        return False
    kept = [node for node in model.graph.node if node.output[0] not in folded]
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in folded.items()
    )
    kept = _used(kept, model)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    _drop_unused_constants(model)
    return True


def _needed(name: str, made: dict[str, NodeProto]) -> set[str]:
    """The value and all that it depends on, inside of subgraphs too."""
    found, waiting = {name}, [name]
    while waiting:
        node = made.get(waiting.pop())
        if node is not None:
            before = {*node.input, *_names_inside(node)} - found
            found |= before
            waiting += before
    return found


def _used(nodes: list[NodeProto], model: ModelProto) -> list[NodeProto]:
    """The nodes without those whose results nobody reads."""
    wanted = {value.name for value in model.graph.output}
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input, _names_inside(node))
            kept.append(node)
    return kept[::-1]


def _names_inside(node: NodeProto) -> set[str]:
    """Names that the subgraphs of a node read."""
    names: set[str] = set()
    for attribute in node.attribute:
        for inner in [attribute.g, *attribute.graphs]:
            for one in inner.node:
                names.update(one.input, _names_inside(one))
            names.update(value.name for value in inner.output)
    return names


def _drop_unused_constants(model: ModelProto) -> None:
    read = {name for node in model.graph.node for name in (*node.input, *_names_inside(node))}
    read |= {value.name for value in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def keep_pads_before_pools(model: ModelProto) -> bool:
    """Keeps a runtime from merging a padding with zeros into the max-pooling that reads it.

    `MaxPool` pads with minus infinity, so the merged layer differs where a window is negative;
    ONNX Runtime's optimiser merges them all the same, at any of its levels.
    A `Max` of one value between the two changes nothing and stands in the way. HGNetV2 has such a
    stem. Seen with ONNX Runtime 1.31.

    Returns:
        Whether there was one.
    """
    import onnx

    pads = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Pad"
        and all(a.s == b"constant" for a in node.attribute if a.name == "mode")
    }
    nodes = list(model.graph.node)
    found = [n for n in nodes if n.op_type == "MaxPool" and n.input[0] in pads]
    for pool in found:
        kept = f"{pool.input[0]}_kept_for_{pool.output[0]}"
        guard = onnx.helper.make_node("Max", [pool.input[0]], [kept], f"{pool.name}_pad")
        nodes.insert(next(i for i, n in enumerate(nodes) if n is pool), guard)
        pool.input[0] = kept
    if found:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    return bool(found)
