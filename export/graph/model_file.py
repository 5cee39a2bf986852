"""Model files: loading, the manifest in them, their logits, what they take."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trocar.contract.errors import ArgumentError, BundleError
from trocar.contract.manifest import METADATA_KEY, Manifest, OutputSpec

if TYPE_CHECKING:
    pass


OPSET = 20


LOGITS = "logits"


def load(data: bytes, *, source: str = "model.onnx") -> Any:
    """Parses an ONNX file.

    Raises:
        BundleError: It is truncated or no ONNX file.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model)
    except Exception as error:
        raise BundleError(
            f"{source} is no valid ONNX file: {str(error).strip().splitlines()[0]}",
            remedy="export or copy it again",
        ) from error
    return model


def read_manifest(model: Any, *, source: str = "model.onnx") -> Manifest:
    """The manifest in an ONNX model's metadata.

    Raises:
        BundleError: There is none, or it is malformed.
    """
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            return Manifest.from_json(entry.value, source=source)
    raise BundleError(
        f"{source} carries no {METADATA_KEY!r} metadata",
        remedy="make a bundle of it with `trocar bundle`",
    )


def write_manifest(model: Any, manifest: Manifest) -> None:
    """Puts the manifest, without file hashes, into an ONNX model's metadata."""
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    entry = model.metadata_props.add()
    entry.key = METADATA_KEY
    entry.value = manifest.without_files().to_json()


def twin_from_onnx(data: bytes) -> bytes:
    """The same graph with its logits as one more output, float32 ``[N,K,h,w]``.

    A classification graph, or one that gives no labels by arg-max, comes back as it is.
    """
    import onnx

    model = onnx.load_model_from_string(data)
    manifest = read_manifest(model)
    source = logits_tensor(model)
    if source is None or any(output.name == LOGITS for output in model.graph.output):
        return data
    if source == LOGITS:
        raise ArgumentError(
            f"an inner tensor is called {LOGITS!r}, a name that the twin needs",
            remedy="rename it in the ONNX file",
        )
    node = model.graph.node.add()
    node.CopyFrom(
        onnx.helper.make_node(
            "Cast", [source], [LOGITS], name="twin/Cast", to=onnx.TensorProto.FLOAT
        )
    )
    spec = manifest.input
    shape = ("batch", len(manifest.classes), spec.height, spec.width)
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(LOGITS, onnx.TensorProto.FLOAT, shape)
    )
    outputs = (*manifest.outputs, OutputSpec(name=LOGITS, dtype="float32", shape=shape))
    write_manifest(model, replace(manifest, outputs=outputs))
    return bytes(model.SerializeToString())


def logits_tensor(model: Any) -> str | None:
    """Name of the tensor whose arg-max makes ``labels``; ``None`` when there is none."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    node = made_by.get("labels")
    while node is not None and node.op_type in ("Cast", "Identity", "Squeeze"):
        node = made_by.get(node.input[0])
    if node is None or node.op_type != "ArgMax":
        return None
    source = str(node.input[0])
    # A converted graph may hand float32 logits to arg-max through a cast; the sum is the same.
    return source


def check_input(model: Any, *, source: str) -> None:
    """Refuses a graph that does not take frames of any size.

    Raises:
        ArgumentError: Not exactly one uint8 input ``[N,H,W,3]`` with N, H and W dynamic.
    """
    import onnx

    # An input with a default (a classifier's classes) is none that a caller must give.
    defaults = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in defaults]
    tensor = inputs[0].type.tensor_type
    dims = [d.dim_param or d.dim_value for d in tensor.shape.dim]
    dynamic = len(dims) == 4 and all(isinstance(d, str) for d in dims[:3]) and dims[3] == 3
    if len(inputs) != 1 or tensor.elem_type != onnx.TensorProto.UINT8 or not dynamic:
        kinds = [(i.name, onnx.TensorProto.DataType.Name(tensor.elem_type), dims) for i in inputs]
        raise ArgumentError(
            f"{source} takes {kinds}, expected one uint8 input [batch, height, width, 3] with the "
            "first three dynamic",
            remedy="let no dimension of the input become a constant of the network",
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's progress lines and deprecation warnings off the terminal."""
    names = ("torch", "torch.onnx", "torch.fx", "torch.export", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _strip(model: Any) -> None:
    """Takes out the exporter's notes: they hold source lines and paths of the exporting machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
        tensor.ClearField("doc_string")
    graph.name = "trocar"
