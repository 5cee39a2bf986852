"""From PyTorch to ONNX: one file that any ONNX tool loads, with the manifest in its metadata.

    data, manifest = onnx_from_network(network, manifest)

The graph takes any frame size and batch. Float16, int8 and engines are made from these bytes, so a
bundle can be converted without its checkpoint.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from trocar.contract.errors import ArgumentError
from trocar.contract.manifest import Manifest
from trocar.contract.text.words import first_line
from trocar.export.cpu_session import open_cpu_session
from trocar.export.graph.model_file import (
    OPSET,
    check_input,
    quiet_exporter,
    strip_metadata,
    write_manifest,
)
from trocar.export.graph.portable import fold_constant_resizes, keep_pads_before_pools

if TYPE_CHECKING:
    from onnx import GraphProto
    from torch import Tensor, nn


def onnx_from_network(network: nn.Module, manifest: Manifest) -> tuple[bytes, Manifest]:
    """Exports a network behind the frame-in graph.

    Args:
        network: See `trocar.export.graph.frame_graph.FrameGraph`; a copy of it is moved to the CPU
            and set to evaluation mode.
        manifest: Its ``outputs`` are replaced.

    Returns:
        The ONNX file, and the manifest that is in it under `METADATA_KEY`.

    Raises:
        ArgumentError: The network does not return what its manifest states, or an operation in it
            has no ONNX form (the message names the operation and the layer).
    """
    import onnx
    import torch

    from trocar.export.graph.classifier import (
        attach_defaults,
        class_tensors,
        dynamic_shapes,
        with_class_dimension,
    )
    from trocar.export.graph.frame_graph import FrameGraph, check_network

    module = copy.deepcopy(network).cpu().float().eval()
    exported = replace(manifest, outputs=check_network(module, manifest), files={})
    graph = FrameGraph(module, manifest).eval()
    tensors = class_tensors(module)
    if tensors:
        exported = with_class_dimension(exported)
    # A sample of neither the network's size nor batch 1 keeps all three dimensions symbolic.
    size = (manifest.input.height, manifest.input.width)
    sample = torch.zeros((2, size[0] // 2 + 7, size[1] // 2 + 13, 3), dtype=torch.uint8)
    try:
        with quiet_exporter(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                (sample, *tensors.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=[manifest.input.name, *tensors],
                output_names=[output.name for output in exported.outputs],
                dynamic_shapes=dynamic_shapes({0: "batch", 1: "height", 2: "width"}, tensors),
                verbose=False,
            )
    except Exception as error:
        raise _unsupported(error, graph, sample) from error
    assert program is not None
    model = program.model_proto
    _name_nodes(model.graph)
    strip_metadata(model)
    fold_constant_resizes(model)
    keep_pads_before_pools(model)
    attach_defaults(model, tensors)
    write_manifest(model, exported)
    onnx.checker.check_model(model, full_check=True)
    check_input(model, source="the exported graph")
    data = model.SerializeToString()
    _check_batches(data, sample.shape)
    return data, exported


def _check_batches(data: bytes, sample: Sequence[int]) -> None:
    """Runs the graph on one frame and on three: it was traced with two.

    Raises:
        ArgumentError: A layer holds the batch of the trace as a constant.
    """
    import numpy as np
    import onnxruntime

    session = open_cpu_session(data)
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    for batch in (1, 3):
        frames = np.zeros((batch, *sample[1:]), np.uint8)
        try:
            session.run(None, {session.get_inputs()[0].name: frames}, options)
        except Exception as error:
            found = re.search(r"Name:'([^']+)'", str(error))
            layer = found[1].removeprefix("network.") if found else "a layer without a name"
            raise ArgumentError(
                f"the network was traced with {sample[0]} frames and its graph fails on {batch}: "
                f"the batch became a constant at {layer}",
                remedy="take sizes from x.shape without int() or float(), and let -1 stand for the "
                "batch in reshapes",
            ) from error


def _unsupported(error: Exception, graph: nn.Module, sample: Tensor) -> ArgumentError:
    """Finds the operation and the layer in the exporter's long report."""
    cause = error.__cause__ or error
    text = f"{error}\n{cause}"
    found = re.search(r"%(\w+)\s*:[^\n]*target=([\w.]+)", text)
    # The deepest line of the user's own code that the report quotes.
    lines = re.findall(r'File "[^"]*?([^/"]+)", line (\d+), in (\w+)', text)
    if found:
        layer = _layer_of(found.group(1), graph, sample)
        what = f"operation {found.group(2)} at node {found.group(1)}, layer {layer}"
    else:
        where = (
            "{}:{} in {}".format(*lines[-1]) if lines else "a place that the exporter does not name"
        )
        what = f"{where}: {first_line(cause)}"
    return ArgumentError(
        f"the network has no ONNX form: {what}",
        remedy="replace that operation in the network by ones that ONNX has",
    )


def _layer_of(node_name: str, graph: nn.Module, sample: Tensor) -> str:
    """The module that a traced node belongs to, e.g. ``decoder.block2 (SeparableConv2d)``."""
    import torch

    try:
        with quiet_exporter():
            program = torch.export.export(graph, (sample,), strict=False)
    except Exception:
        return "unknown"
    for node in program.graph.nodes:
        # Decomposition renames nodes, but the operation's name stays a part of the new name.
        if node_name in node.name:
            stack = list(node.meta.get("nn_module_stack", {}).values())
            path, kind = stack[-1] if stack else ("", "")
            name = str(path).removeprefix("network.") or "frame graph"
            # PyTorch gives the class itself or its full name, by version.
            kind_name = kind.__name__ if isinstance(kind, type) else str(kind)
            return f"{name} ({kind_name.rpartition('.')[2]})"
    return "unknown"


def _name_nodes(graph: GraphProto) -> None:
    """Names every node after the layer it comes from, e.g. ``network.encoder.conv1/Conv``."""
    seen: dict[str, int] = {}
    for node in graph.node:
        scopes = next(
            (p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "[]"
        )
        # The exporter writes scopes as a Python list. Nodes that its own passes add have scopes
        # that begin with _empty_nn.
        names = [n for n in ast.literal_eval(scopes)[:-1] if n and not n.startswith("_empty_nn")]
        layer = names[-1] if names else "frame"
        if len(node.input) > 1 and node.input[1].endswith(".weight"):
            # Else a convolution would have the name of the normalisation that was folded into it.
            layer = node.input[1].removesuffix(".weight")
        base = f"{layer}/{node.op_type}"
        count = seen[base] = seen.get(base, 0) + 1
        node.name = base if count == 1 else f"{base}_{count}"
