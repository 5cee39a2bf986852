"""Attaches preprocessing and assembly to the body of an instance model.

    data, manifest = attach_assembly(model, external, recognised, source="theirs.onnx")

The body takes ``[N,3,h,w]`` float32 and returns one float32 tensor for each role, in their order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trocar.contract.errors import ArgumentError
from trocar.contract.manifest import Manifest
from trocar.contract.text.words import first_line
from trocar.export.graph.from_onnx import name_nodes, preprocessing_graph
from trocar.export.graph.imported.canonical_nodes import add_prefix
from trocar.export.graph.input_spec import ExternalModel, instance_settings
from trocar.export.graph.instances.assembly import (
    PLACED,
    assembly_graph,
    input_name,
    instance_outputs,
)
from trocar.export.graph.instances.per_frame import scan_frames
from trocar.export.graph.instances.placement import PLACED_OUTPUT
from trocar.export.graph.instances.recognise import Recognised
from trocar.export.graph.model_file import write_manifest

if TYPE_CHECKING:
    from onnx import ModelProto

_PREFIX = "external_"


def attach_assembly(
    body: ModelProto,
    external: ExternalModel,
    recognised: Recognised,
    *,
    source: str,
    per_frame: bool = False,
) -> tuple[bytes, Manifest]:
    """Makes the frame-in graph.

    Args:
        body: The network; its outputs are those of the roles, in their order, as float32.
        external: Input spec and manifest.
        recognised: Form and roles.
        source: The file's name, for errors.
        per_frame: The body takes batches of 1 only; frames run one after another.

    Returns:
        The frame-in graph, and the manifest in its metadata.

    Raises:
        ArgumentError: The network and the form's part of the graph do not fit each other.
    """
    import onnx

    spec, classes = external.spec, len(external.manifest.classes)
    name_nodes(body)
    before = preprocessing_graph(body, external)
    opset = next(entry.version for entry in body.opset_import if entry.domain == "")
    behind = assembly_graph(
        recognised.form.graph(recognised.roles, spec, classes),
        recognised.roles,
        spec,
        opset=opset,
        ir_version=body.ir_version,
    )
    for node in behind.graph.node:
        node.name = f"frame/{node.op_type}_{node.output[0]}"
    own = [output.name for output in body.graph.output]
    ends = [
        (_PREFIX + name, input_name(role)) for name, role in zip(own, recognised.roles, strict=True)
    ]
    if spec.resize != "stretch":
        ends.append((PLACED_OUTPUT, PLACED))
    try:
        add_prefix(body.graph, _PREFIX)
        image = before.graph.output[0].name
        model = onnx.compose.merge_models(before, body, io_map=[(image, body.graph.input[0].name)])
        model = onnx.compose.merge_models(model, behind, io_map=ends)
        outputs = instance_outputs(spec)
        # The quantiser wants the operator set once.
        versions = {entry.domain: entry.version for entry in model.opset_import}
        del model.opset_import[:]
        model.opset_import.extend(onnx.helper.make_opsetid(*item) for item in versions.items())
        del model.graph.input[1:], model.graph.value_info[:]
        named = {value.name: value for value in behind.graph.output}
        del model.graph.output[:]
        model.graph.output.extend(named[output.name] for output in outputs)
        settings = instance_settings(replace(spec, form=recognised.name))
        extra = {**external.manifest.extra, **settings}
        manifest = replace(external.manifest, outputs=outputs, extra=extra)
        if per_frame:
            model = scan_frames(model)
        write_manifest(model, manifest)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise ArgumentError(
            f"{source} does not fit the frame-in graph of the form {recognised.name}: "
            f"{first_line(error)}",
            remedy="name another form with --form, or correct height and width in the input spec",
        ) from error
    return model.SerializeToString(), manifest
