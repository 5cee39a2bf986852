"""PyTorch to ONNX: one file that any ONNX tool loads, with the manifest inside it.

    data, manifest = onnx_from_network(network, manifest)
    twin = twin_from_onnx(data)     # the same graph, with the logits as one more output

The graph takes any frame size and batch. Everything later (float16, int8, engines) starts from
these bytes, so that a bundle can be converted without its checkpoint.
"""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trocar.contract.errors import ArgumentError, BundleError
from trocar.contract.manifest import METADATA_KEY, Manifest, OutputSpec

if TYPE_CHECKING:
    from torch import nn

OPSET = 20
LOGITS = "logits"


def onnx_from_network(network: nn.Module, manifest: Manifest) -> tuple[bytes, Manifest]:
    """Exports a network behind the frame-in graph.

    Args:
        network: See `trocar.export.graph.FrameGraph`; it is copied to the CPU in evaluation mode.
        manifest: Its ``outputs`` are replaced.

    Returns:
        The ONNX file and the manifest that stands in it under `METADATA_KEY`.

    Raises:
        ArgumentError: The network does not give what its manifest promises, or an operation in it
            has no ONNX form (the message names it and the layer).
    """
    import copy

    import onnx
    import torch

    from trocar.export.classification import (
        attach_defaults,
        class_tensors,
        dynamic_shapes,
        with_class_dimension,
    )
    from trocar.export.graph import FrameGraph, check_network

    module = copy.deepcopy(network).cpu().float().eval()
    whole = replace(manifest, outputs=check_network(module, manifest), files={})
    graph = FrameGraph(module, manifest).eval()
    tensors = class_tensors(module)
    if tensors:
        whole = with_class_dimension(whole)
    # A sample of neither the network's size nor batch 1 keeps all three dimensions symbolic.
    size = (manifest.input.height, manifest.input.width)
    sample = torch.zeros((2, size[0] // 2 + 7, size[1] // 2 + 13, 3), dtype=torch.uint8)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                (sample, *tensors.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=[manifest.input.name, *tensors],
                output_names=[output.name for output in whole.outputs],
                dynamic_shapes=dynamic_shapes({0: "batch", 1: "height", 2: "width"}, tensors),
                verbose=False,
            )
    except Exception as error:
        raise _unsupported(error, graph, sample) from error
    assert program is not None
    model = program.model_proto
    _name_nodes(model.graph)
    _strip(model)
    attach_defaults(model, tensors)
    write_manifest(model, whole)
    onnx.checker.check_model(model, full_check=True)
    check_input(model, source="the exported graph")
    return model.SerializeToString(), whole


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


def _unsupported(error: Exception, graph: Any, sample: Any) -> ArgumentError:
    """Names the operation and the layer out of the exporter's long report."""
    cause = error.__cause__ or error
    text = f"{error}\n{cause}"
    found = re.search(r"%(\w+)\s*:[^\n]*target=([\w.]+)", text)
    # The deepest line of the user's own code that the report quotes.
    lines = re.findall(r'File "[^"]*?([^/"]+)", line (\d+), in (\w+)', text)
    first = next((s.strip() for s in str(cause).splitlines() if s.strip()), type(cause).__name__)
    if found:
        layer = _layer_of(found.group(1), graph, sample)
        what = f"operation {found.group(2)} at node {found.group(1)}, layer {layer}"
    else:
        where = "{}:{} in {}".format(*lines[-1]) if lines else "an unnamed place"
        what = f"{where}: {first[:300]}"
    return ArgumentError(
        f"the network has no ONNX form: {what}",
        remedy="replace that operation in the network by ones that ONNX has",
    )


def _layer_of(node_name: str, graph: Any, sample: Any) -> str:
    """The module that a traced node belongs to, e.g. ``decoder.block2 (SeparableConv2d)``."""
    import torch

    try:
        with _quiet():
            program = torch.export.export(graph, (sample,), strict=False)
    except Exception:
        return "unknown"
    for node in program.graph.nodes:
        # Decomposition renames nodes but keeps the operation's name in them.
        if node_name in node.name:
            stack = list(node.meta.get("nn_module_stack", {}).values())
            path, kind = stack[-1] if stack else ("", "")
            name = str(path).removeprefix("network.")
            return f"{name or 'frame graph'} ({str(kind).rpartition('.')[2].rstrip(chr(39) + '>')})"
    return "unknown"


def _name_nodes(graph: Any) -> None:
    """Calls every node after the layer it comes from, e.g. ``network.encoder.conv1/Conv``."""
    seen: dict[str, int] = {}
    for node in graph.node:
        scopes = next(
            (p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]"
        )
        # Nodes that passes of the exporter made have a made-up scope.
        names = [n for n in ast.literal_eval(scopes)[:-1] if n and not n.startswith("_empty_nn")]
        layer = names[-1] if names else "frame"
        if len(node.input) > 1 and node.input[1].endswith(".weight"):
            # A normalisation folded into a convolution would otherwise give it its name.
            layer = node.input[1].removesuffix(".weight")
        base = f"{layer}/{node.op_type}"
        count = seen[base] = seen.get(base, 0) + 1
        node.name = base if count == 1 else f"{base}_{count}"


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
