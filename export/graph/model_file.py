"""ONNX files: loading, the manifest in them, their logits, the input they take.

model = load(Path("model.onnx").read_bytes())
read_manifest(model).classes.names
extended = with_logits_output(Path("model.onnx").read_bytes())    # labels, confidence and logits
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from trocar.contract.errors import ArgumentError, BundleError
from trocar.contract.graph.logits import logits_tensor
from trocar.contract.integrity.guard import guard_entries
from trocar.contract.manifest import METADATA_KEY, Manifest, OutputSpec
from trocar.contract.text.words import first_line

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

OPSET = 20
"""Operator set of every exported graph."""

LOGITS = "logits"
"""Name of the output that `with_logits_output` adds."""


def load(data: bytes, *, source: str = "model.onnx") -> ModelProto:
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
            f"{source} is no valid ONNX file: {first_line(error)}",
            remedy="copy the file again; if it stays so, export it again",
        ) from error
    return model


def read_manifest(model: ModelProto, *, source: str = "model.onnx") -> Manifest:
    """The manifest in an ONNX model's metadata.

    Raises:
        BundleError: There is none, or it is malformed.
    """
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            return Manifest.from_json(entry.value, source=source)
    raise BundleError(
        f"{source} has no {METADATA_KEY!r} metadata",
        remedy="make a bundle of it with `trocar import-onnx`",
    )


def write_manifest(model: ModelProto, manifest: Manifest) -> None:
    """Puts the manifest, without file hashes, and its hash into an ONNX model's metadata."""
    guard = guard_entries(manifest)
    others = [entry for entry in model.metadata_props if entry.key not in guard]
    del model.metadata_props[:]
    model.metadata_props.extend(others)
    for key, text in guard.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, text


def with_logits_output(data: bytes) -> bytes:
    """The same graph with its logits as one more output, float32 ``[N,K,h,w]``.

    A classification graph, or one that makes no labels by arg-max, is returned as it is.
    """
    import onnx

    model = onnx.load_model_from_string(data)
    manifest = read_manifest(model)
    source = logits_tensor(model)
    if source is None or any(output.name == LOGITS for output in model.graph.output):
        return data
    if source == LOGITS:
        raise ArgumentError(
            f"an inner tensor is called {LOGITS!r}, the name of the output to add",
            remedy="rename it in the ONNX file",
        )
    node = model.graph.node.add()
    node.CopyFrom(
        onnx.helper.make_node(
            "Cast", [source], [LOGITS], name="logits/Cast", to=onnx.TensorProto.FLOAT
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


def label_outputs(size: tuple[int, int]) -> tuple[OutputSpec, ...]:
    """Outputs of a segmentation graph whose network takes ``(height, width)``."""
    return (
        OutputSpec(name="labels", dtype="uint8", shape=("batch", *size)),
        OutputSpec(name="confidence", dtype="float16", shape=("batch", *size)),
    )


def check_input(model: ModelProto, *, source: str) -> None:
    """Refuses a graph that does not take frames of any size.

    Raises:
        ArgumentError: Not exactly one uint8 input ``[N,H,W,3]`` with N, H and W dynamic.
    """
    import onnx

    # A caller may leave out an input with a default, such as a classifier's classes.
    defaults = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in defaults]
    if len(inputs) == 1:
        tensor = inputs[0].type.tensor_type
        dims = [d.dim_param or d.dim_value for d in tensor.shape.dim]
        dynamic = len(dims) == 4 and all(isinstance(d, str) for d in dims[:3]) and dims[3] == 3
        if tensor.elem_type == onnx.TensorProto.UINT8 and dynamic:
            return
    raise ArgumentError(
        f"{source} takes {[_described(value) for value in inputs]}, expected one uint8 input "
        "[batch, height, width, 3] with the first three dynamic",
        remedy="let no dimension of the input become a constant of the network",
    )


def _described(value: ValueInfoProto) -> str:
    import onnx

    tensor = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    return f"{value.name} {kind} {[d.dim_param or d.dim_value for d in tensor.shape.dim]}"


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Hides the progress lines and deprecation warnings of PyTorch's exporter."""
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


def strip_metadata(model: ModelProto) -> None:
    """Removes the exporter's notes: source lines and paths of the machine that exported."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
        tensor.ClearField("doc_string")
    graph.name = "trocar"
