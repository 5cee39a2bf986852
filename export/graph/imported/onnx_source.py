"""Reads an ONNX file of other origin into one self-contained model.

data = read_onnx(Path("theirs.onnx"))         # with the weights that lie beside it
session = open_original(data, source="theirs.onnx")
stated_precision(onnx.load_model_from_string(data))      # "fp32", "fp16" or "int8"
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from trocar.contract.errors import ArgumentError, BundleError, DataError
from trocar.contract.integrity.onnx_file import QUANTISED
from trocar.contract.media.pictures import read_bytes
from trocar.contract.text.words import first_line
from trocar.export.cpu_session import open_cpu_session
from trocar.export.graph.portable import fold_constant_resizes, keep_pads_before_pools

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto
    from onnxruntime import InferenceSession

MAX_BYTES = 2**31 - 1
"""Largest ONNX file that holds its own weights."""


def read_onnx(path: Path) -> bytes:
    """Reads an ONNX file, with weights in files beside it, as one self-contained file.

    Raises:
        DataError: The file cannot be read.
        BundleError: It is no ONNX file, or a file of its weights is missing or broken.
    """
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model

    data = read_bytes(path)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise BundleError(
            f"{path} is no valid ONNX file: {first_line(error)}",
            remedy="copy the file again; if it stays so, export it again",
        ) from error
    outside = [t for t in _tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    if not outside:
        return data
    names = sorted({str(ExternalDataInfo(tensor).location) for tensor in outside})
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise DataError(
            f"{path} keeps its weights in {', '.join(names)}; {path.parent} has no "
            f"{', '.join(missing)}",
            remedy="copy the files of the weights beside the ONNX file, under the same names",
        )
    try:
        load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise BundleError(
            f"cannot read the weights of {path} from {', '.join(names)}: {first_line(error)}",
            remedy="copy the ONNX file and the files of its weights again",
        ) from error
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    if model.ByteSize() > MAX_BYTES:
        raise BundleError(
            f"{path} has {model.ByteSize()} bytes with its weights, at most {MAX_BYTES} fit into "
            "one ONNX file",
            remedy="export a smaller network, or one with float16 weights",
        )
    return bytes(model.SerializeToString())


def simplified(model: ModelProto) -> ModelProto:
    """The model with local functions inlined, no weights among its inputs, paddings kept."""
    import onnx.inliner

    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    fold_constant_resizes(model)
    keep_pads_before_pools(model)
    return model


def open_original(data: bytes, *, source: str) -> InferenceSession:
    """Opens the file as it was given.

    Raises:
        ArgumentError: ONNX Runtime cannot run it, in its own words.
    """
    import onnx
    import onnxruntime

    try:
        model = onnx.load_model_from_string(data)
        return open_cpu_session(
            model.SerializeToString() if keep_pads_before_pools(model) else data
        )
    except Exception as error:
        model = onnx.load_model_from_string(data)
        versions = ", ".join(f"{e.domain or 'ai.onnx'} {e.version}" for e in model.opset_import)
        raise ArgumentError(
            f"ONNX Runtime {onnxruntime.__version__} cannot open {source} (IR version "
            f"{model.ir_version}, operator sets {versions}): {_words(error)}",
            remedy="export the file with an older IR version and operator set, or install a newer "
            "ONNX Runtime",
        ) from error


def stated_precision(model: ModelProto) -> str:
    """Precision of the arithmetic in a file: ``int8``, ``fp16``, ``bf16`` or ``fp32``."""
    import onnx

    if any(node.op_type in QUANTISED for node in model.graph.node):
        return "int8"
    types = {tensor.data_type for tensor in _tensors(model) if len(tensor.dims) > 1}
    if onnx.TensorProto.FLOAT16 in types:
        return "fp16"
    return "bf16" if onnx.TensorProto.BFLOAT16 in types else "fp32"


def _tensors(model: ModelProto) -> list[TensorProto]:
    """Every constant tensor: of the graph, of its constants and of subgraphs."""
    found: list[TensorProto] = []
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        found += graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    found.append(attribute.t)
                if attribute.HasField("g"):
                    graphs.append(attribute.g)
                graphs += attribute.graphs
    return found


def _words(error: Exception) -> str:
    """ONNX Runtime's own words without its numbering and its source lines."""
    words = first_line(error, limit=3000).rpartition(" : ")[2]
    return re.sub(r"^.*?\.cc:\d+ .*?\) ", "", words)[:300]
