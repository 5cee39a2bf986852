"""Reads the precision of a TensorRT network or engine.

network_layers(trt, network)     # {"fp16": 35, "fp32": 1}
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from types import ModuleType
from typing import Any

_HEAVY = re.compile(r"conv|gemm|matmul|matrix", re.IGNORECASE)


def network_layers(trt: ModuleType, network: Any) -> dict[str, int]:
    """Convolutions and matrix products of a strongly typed network, counted by precision.

    A layer is int8 when a dequantising layer makes its input: TensorRT fuses the two.
    """
    kinds = trt.LayerType
    heavy = (kinds.CONVOLUTION, kinds.DECONVOLUTION, kinds.MATRIX_MULTIPLY)
    precisions = {
        trt.DataType.FLOAT: "fp32",
        trt.DataType.HALF: "fp16",
        trt.DataType.BF16: "bf16",
        trt.DataType.INT8: "int8",
    }
    dequantised: set[str] = set()
    counts: Counter[str] = Counter()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == kinds.DEQUANTIZE:
            dequantised.add(layer.get_output(0).name)
        elif layer.type in heavy:
            tensor = layer.get_input(0)
            if tensor.name in dequantised:
                counts["int8"] += 1
            else:
                counts[precisions.get(layer.get_output(0).dtype, "other")] += 1
    return dict(sorted(counts.items()))


def precision_of(layers: Mapping[str, int]) -> str:
    """The lowest precision that occurs in counts of layers."""
    for name in ("int8", "fp16", "bf16"):
        if layers.get(name):
            return name
    return "fp32"


def engine_precision(trt: ModuleType, log: Any, data: bytes) -> str | None:
    """The precision that an engine's own inspector gives, if the engine can be loaded.

    Returns:
        ``None`` when the inspector gives no tensor formats.
    """
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        return None
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return precision_in_inspection(text)


def precision_in_inspection(text: str) -> str | None:
    """The lowest precision of convolutions and matrix products in an inspector's JSON."""
    try:
        layers = json.loads(text).get("Layers", [])
    except (ValueError, AttributeError):
        return None
    formats = " ".join(
        str(tensor.get("Format/Datatype", tensor.get("Format", "")))
        for layer in layers
        # The confidence is float16 in every graph, so only layers with weights count.
        if isinstance(layer, dict) and _is_heavy(layer)
        for side in ("Inputs", "Outputs")
        for tensor in layer.get(side, [])
    ).lower()
    if not formats:
        return None
    for word, name in (("int8", "int8"), ("half", "fp16"), ("fp16", "fp16"), ("bf16", "bf16")):
        if word in formats.replace("uint8", ""):
            return name
    return "fp32"


def _is_heavy(layer: Mapping[str, Any]) -> bool:
    return bool(_HEAVY.search(f"{layer.get('Name')} {layer.get('LayerType')}"))
