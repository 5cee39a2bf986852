"""The logits in a graph that returns labels.

    name = logits_tensor(onnx.load_model_from_string(data))     # "network/logits", or None

Frame-in graphs return labels and confidence. Their logits are an inner tensor: the one whose
arg-max makes the labels.
"""

from __future__ import annotations

from typing import Any


def logits_tensor(model: Any) -> str | None:
    """Name of the tensor whose arg-max makes ``labels``; ``None`` when there is none.

    Args:
        model: An ``onnx.ModelProto``; this package does not import onnx.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    node = producers.get("labels")
    while node is not None and node.op_type in ("Cast", "Identity", "Squeeze"):
        node = producers.get(node.input[0])
    if node is None or node.op_type != "ArgMax":
        return None
    return str(node.input[0])
