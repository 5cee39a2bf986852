"""From an ONNX file of other origin to the frame-in graph: pre- and postprocessing are attached.

    external = read_spec(Path("spec.toml"), classes=None)
    data, manifest = attach_processing(Path("a.onnx").read_bytes(), external, source="a.onnx")

Both parts are written as ONNX text and joined with the file by `onnx.compose`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from trocar.contract.errors import ArgumentError
from trocar.contract.graph.logits import logits_tensor
from trocar.contract.manifest import Manifest, OutputSpec
from trocar.contract.text.words import first_line
from trocar.export.graph.imported.canonical_nodes import add_prefix
from trocar.export.graph.input_spec import ExternalModel, ModelSpec
from trocar.export.graph.instances.placement import (
    PLACED_OUTPUT,
    placement_constants,
    placement_lines,
    resize_lines,
)
from trocar.export.graph.model_file import (
    OPSET,
    check_input,
    label_outputs,
    load,
    write_manifest,
)

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

_PREFIX = "external_"
"""Stands before every tensor name of the external model, so that no name occurs twice."""


def attach_processing(
    data: bytes, external: ExternalModel, *, source: str
) -> tuple[bytes, Manifest]:
    """Attaches cast, resize and normalisation before a graph, and arg-max behind it.

    Args:
        data: A file with one float32 ``[N,3,h,w]`` input, or a frame-in graph.
        external: Its input spec and class table.
        source: The file's name, for errors.

    Returns:
        The frame-in graph, and the manifest in its metadata.

    Raises:
        BundleError: It is no valid ONNX file.
        ArgumentError: Its input, output or operator set does not fit.
    """
    import onnx

    model = with_current_opset(load(data, source=source), source)
    name_nodes(model)
    if _has_frame_input(model):
        return _with_manifest(model, external, source)
    input_name = _check_input(model, external.spec, source)
    output_names = _output_names(model, external.spec, source)
    outputs = _outputs(model, external, output_names)
    before = preprocessing_graph(model, external)
    behind = postprocessing_graph(model, external.spec, output_names[0], outputs)
    try:
        add_prefix(model.graph, _PREFIX)
        model = onnx.compose.merge_models(
            before, model, io_map=[(before.graph.output[0].name, _PREFIX + input_name)]
        )
        ends = zip(output_names, behind.graph.input, strict=True)
        model = onnx.compose.merge_models(
            model, behind, io_map=[(_PREFIX + name, value.name) for name, value in ends]
        )
        # Weights that were listed as inputs and outputs that the spec does not name are left over.
        del model.graph.input[1:], model.graph.value_info[:]
        named = {value.name: value for value in behind.graph.output}
        del model.graph.output[:]
        model.graph.output.extend(named[output.name] for output in outputs)
        manifest = replace(external.manifest, outputs=outputs)
        write_manifest(model, manifest)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise ArgumentError(
            f"{source} does not fit the frame-in graph: {first_line(error)}",
            remedy="export it with a dynamic batch, float32 input and the size of the input spec",
        ) from error
    return model.SerializeToString(), manifest


def preprocessing_graph(model: ModelProto, external: ExternalModel) -> ModelProto:
    """From ``[N,H,W,3]`` uint8 RGB frames to the network's own input ``[N,3,h,w]`` float32."""
    import onnx

    spec, name = external.spec, external.manifest.input.name
    height, width = spec.height, spec.width
    lines = [
        f"converted = Cast <to = 1> ({name})",
        "planes = Transpose <perm = [0, 3, 1, 2]> (converted)",
        *(
            resize_lines("planes", "resized", "size")
            if spec.resize == "stretch"
            else placement_lines(name, "planes", "resized", spec=spec)
        ),
    ]
    image, placed = "resized", ""
    if spec.resize != "stretch":
        placed = f", int64[4] {PLACED_OUTPUT}"
    if spec.normalise:
        lines += ["centred = Sub (resized, mean)", "normalised = Mul (centred, scale)"]
        image = "normalised"
    if spec.channels == "bgr":
        lines.append(f"reversed = Gather <axis = 1> ({image}, channels)")
        image = "reversed"
    graph = onnx.parser.parse_model(f"""
        <ir_version: {model.ir_version}, opset_import: ["": {_opset(model)}]>
        trocar (uint8[batch, height, width, 3] {name})
            => (float[batch, 3, {height}, {width}] {image}{placed})
        <int64[2] size = {{{height}, {width}}}, int64[3] channels = {{2, 1, 0}}>
        {{ {" ".join(lines)} }}""")
    # Not as text: the decimal form of a float32 may round to another number.
    mean = np.array(spec.mean, np.float32).reshape(1, 3, 1, 1) * np.float32(255)
    scale = 1 / (np.array(spec.std, np.float32).reshape(1, 3, 1, 1) * np.float32(255))
    graph.graph.initializer.append(onnx.numpy_helper.from_array(mean, "mean"))
    graph.graph.initializer.append(onnx.numpy_helper.from_array(scale, "scale"))
    if placed:
        graph.graph.initializer.extend(
            onnx.numpy_helper.from_array(value, name)
            for name, value in placement_constants(spec).items()
        )
    return _finished(graph)


def postprocessing_graph(
    model: ModelProto, spec: ModelSpec, logits: str, outputs: tuple[OutputSpec, ...]
) -> ModelProto:
    """From the network's own outputs to those of the task; smaller logits are resized."""
    import onnx

    header = f'<ir_version: {model.ir_version}, opset_import: ["": {_opset(model)}]>'
    if spec.task == "classification":
        names = [output.name for output in outputs]
        inputs = ", ".join(f"float[batch, {name}_size] own_{name}" for name in names)
        results = ", ".join(f"float[batch, {output.shape[1]}] {output.name}" for output in outputs)
        nodes = " ".join(f"{name} = Cast <to = 1> (own_{name})" for name in names)
        return _finished(
            onnx.parser.parse_model(f"{header} trocar ({inputs}) => ({results}) {{ {nodes} }}")
        )
    size = (spec.height, spec.width)
    shape = f"batch, {size[0]}, {size[1]}"
    resize = _sides(model, logits) != size
    first = " ".join(resize_lines("small", "full", "out_size")) if resize else ""
    text = f"""{header}
        trocar (float[batch, classes, h, w] {"small" if resize else "full"})
            => (uint8[{shape}] labels, float16[{shape}] confidence)
        <int64[2] out_size = {{{size[0]}, {size[1]}}}, int64[1] axis = {{1}}> {{
            {first}
            best = ArgMax <axis = 1, keepdims = 0> (full)
            labels = Cast <to = 2> (best)
            top = ReduceMax <keepdims = 1> (full, axis)
            below = Sub (full, top)
            powers = Exp (below)
            total = ReduceSum <keepdims = 0> (powers, axis)
            share = Reciprocal (total)
            confidence = Cast <to = 10> (share)
        }}"""
    return _finished(onnx.parser.parse_model(text))


def _finished(model: ModelProto) -> ModelProto:
    """Names the nodes, and removes constants that no node reads."""
    used = {name for node in model.graph.node for name in node.input}
    for node in model.graph.node:
        node.name = f"frame/{node.op_type}_{node.output[0]}"
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
    return model


def has_frame_input(data: bytes) -> bool:
    """Whether a file takes uint8 frames."""
    import onnx

    return _has_frame_input(onnx.load_model_from_string(data))


def with_current_opset(model: ModelProto, source: str) -> ModelProto:
    """The model in operator set 18 or later.

    Raises:
        ArgumentError: It cannot be converted.
    """
    import onnx

    version = _opset(model)
    if version >= 18:
        return model
    try:
        converted = onnx.version_converter.convert_version(model, OPSET)
        if version < 11:
            _keep_old_resizes(converted)
        return converted
    except Exception as error:
        raise ArgumentError(
            f"{source} has operator set {version} and cannot be converted to {OPSET}: "
            f"{first_line(error, limit=200)}",
            remedy=f"export it again with operator set 18 or later, best {OPSET}",
        ) from error


def _keep_old_resizes(model: ModelProto) -> None:
    """Before operator set 11 a resize was asymmetric; the converter leaves that out."""
    import onnx

    modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    for node in model.graph.node:
        if node.op_type == "Resize":
            kept = [attribute for attribute in node.attribute if attribute.name not in modes]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in modes.items())


def _with_manifest(
    model: ModelProto, external: ExternalModel, source: str
) -> tuple[bytes, Manifest]:
    """A frame-in graph stays as it is; only the manifest is added."""
    check_input(model, source=source)
    outputs = {output.name for output in model.graph.output}
    if logits_tensor(model) is None or not {"labels", "confidence"} <= outputs:
        raise ArgumentError(
            f"{source} takes frames but returns {sorted(outputs)}, expected labels (an arg-max of "
            "logits) and confidence",
            remedy="give a file with a float [N, 3, h, w] input that returns logits",
        )
    size = (external.spec.height, external.spec.width)
    manifest = replace(external.manifest, outputs=label_outputs(size))
    write_manifest(model, manifest)
    return model.SerializeToString(), manifest


def _check_input(model: ModelProto, spec: ModelSpec, source: str) -> str:
    """Name of the network's input, if it fits the input spec."""
    import onnx

    initial = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initial]
    shapes = [(value.name, _shape(value)) for value in inputs]
    wanted = (3, spec.height, spec.width)
    fits = (
        len(inputs) == 1
        and inputs[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        and len(shapes[0][1]) == 4
        and all(
            isinstance(side, str) or side in (0, expected)
            for side, expected in zip(shapes[0][1][1:], wanted, strict=True)
        )
    )
    if not fits:
        raise ArgumentError(
            f"{source} takes {shapes}, expected one float32 input [N, 3, {spec.height}, "
            f"{spec.width}]",
            remedy="correct height and width in the input spec, or export the network in that form",
        )
    batch = shapes[0][1][0]
    if isinstance(batch, int) and batch:
        raise ArgumentError(
            f"{source} is made for batches of {batch} only",
            remedy='export it with a dynamic batch, e.g. dynamic_shapes=({0: "batch"},)',
        )
    return str(inputs[0].name)


def _output_names(model: ModelProto, spec: ModelSpec, source: str) -> list[str]:
    """Names of the outputs with the logits or scores and, for classifiers, the embedding."""
    have = [output.name for output in model.graph.output]
    wanted = [spec.output or have[0], *([spec.embedding] if spec.embedding else [])]
    missing = [name for name in wanted if name not in have]
    if missing:
        raise ArgumentError(
            f"{source} has no output {', '.join(missing)}; it has {', '.join(have)}",
            remedy="correct output and embedding in the input spec",
        )
    return wanted


def _outputs(
    model: ModelProto, external: ExternalModel, names: list[str]
) -> tuple[OutputSpec, ...]:
    if external.spec.task == "segmentation":
        return label_outputs((external.spec.height, external.spec.width))
    sizes = {"scores": len(external.manifest.classes), "embedding": _last_side(model, names[-1])}
    return tuple(
        OutputSpec(name=name, dtype="float32", shape=("batch", sizes[name]))
        for name in ("scores", "embedding")[: len(names)]
    )


def name_nodes(model: ModelProto) -> None:
    """Gives a name to every node that has none, or one that occurs twice."""
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"layer_{index}/{node.op_type}"
        seen.add(node.name)


def _has_frame_input(model: ModelProto) -> bool:
    import onnx

    inputs = model.graph.input
    if not inputs or inputs[0].type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        return False
    # A network that takes uint8 images of its own size is no frame-in graph.
    names = {output.name for output in model.graph.output}
    sides = _shape(inputs[0])[1:3]
    return "labels" in names or all(isinstance(side, str) or side == 0 for side in sides)


def _opset(model: ModelProto) -> int:
    versions: dict[str, int] = {entry.domain: entry.version for entry in model.opset_import}
    return versions.get("", 0)


def _shape(value: ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _sides(model: ModelProto, name: str) -> tuple[int | str, ...]:
    """Height and width of an output."""
    return tuple(_shape(next(v for v in model.graph.output if v.name == name))[2:])


def _last_side(model: ModelProto, name: str) -> int:
    last = _shape(next(v for v in model.graph.output if v.name == name))[-1]
    return last if isinstance(last, int) and last else 1
