"""A finished ONNX file behind the frame-in graph, compared with the file as it was given.

    data, manifest = wrap_onnx(Path("theirs.onnx").read_bytes(), foreign, source="theirs.onnx")
    reference = original_reference(Path("theirs.onnx").read_bytes(), foreign)

The reference prepares frames with OpenCV and NumPy and runs the untouched file: preprocessing that
went into the graph wrongly shows as a difference.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from trocar.contract.errors import ArgumentError
from trocar.contract.manifest import Manifest, OutputSpec
from trocar.export.graph.input_spec import Foreign
from trocar.export.graph.model_file import (
    LOGITS,
    OPSET,
    check_input,
    load,
    logits_tensor,
    write_manifest,
)
from trocar.export.parity.types import Frame, Infer

_PREFIX = "trocar_"


def wrap_onnx(data: bytes, foreign: Foreign, *, source: str) -> tuple[bytes, Manifest]:
    """Puts cast, transpose, resize and normalisation before a graph and arg-max behind it.

    Args:
        data: A file with one float ``[N,3,h,w]`` input, or a frame-in graph already.
        foreign: Its spec.
        source: Its name, for messages.

    Raises:
        BundleError: It is no valid ONNX file.
        ArgumentError: Its input, output or operator set does not fit.
    """
    import onnx

    model = _modern(load(data, source=source), source)
    if model.graph.input and _kind(model.graph.input[0]) == onnx.TensorProto.UINT8:
        return _already_framed(model, foreign, source)
    spec, manifest = foreign.spec, foreign.manifest
    name = _check_tensor_input(model, foreign, source)
    names = _output_names(model, foreign, source)
    _name_unnamed(model)
    nodes = _head(model, name, foreign)
    nodes.extend(model.graph.node)
    size = (spec.height, spec.width)
    batch = "batch"
    outputs: tuple[OutputSpec, ...]
    if spec.task == "segmentation":
        nodes.extend(_tail(model, names[0], size, enlarge=_sides(model, names[0]) != size))
        outputs = (
            OutputSpec(name="labels", dtype="uint8", shape=(batch, *size)),
            OutputSpec(name="confidence", dtype="float16", shape=(batch, *size)),
        )
    else:
        wide = {"scores": len(manifest.classes), "embedding": _width(model, names[-1])}
        made = list(zip(("scores", "embedding"), names, strict=False))
        nodes.extend(_node("Cast", [old], new, to=onnx.TensorProto.FLOAT) for new, old in made)
        outputs = tuple(
            OutputSpec(name=new, dtype="float32", shape=(batch, wide[new])) for new, _ in made
        )
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:], model.graph.input[:], model.graph.output[:], model.graph.value_info[:]
    model.graph.node.extend(copies)
    model.graph.input.append(
        onnx.helper.make_tensor_value_info(
            manifest.input.name, onnx.TensorProto.UINT8, [batch, "height", "width", 3]
        )
    )
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(
            o.name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(o.dtype)), o.shape
        )
        for o in outputs
    )
    whole = replace(manifest, outputs=outputs)
    write_manifest(model, whole)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise ArgumentError(
            f"{source} does not fit behind frames: {str(error).strip().splitlines()[0][:300]}",
            remedy="export it with a dynamic batch, float32 input and the size of the input spec",
        ) from error
    return model.SerializeToString(), whole


def takes_frames(data: bytes) -> bool:
    """Whether a file takes uint8 frames already."""
    import onnx

    inputs = onnx.load_model_from_string(data).graph.input
    return bool(inputs) and _kind(inputs[0]) == onnx.TensorProto.UINT8


def original_reference(data: bytes, foreign: Foreign) -> Infer:
    """Runs the file as it was given, one frame at a time, on frames prepared outside of it."""
    import onnxruntime

    spec = foreign.spec
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    outputs = [o.name for o in session.get_outputs()]
    wanted = [spec.output or outputs[0], *([spec.embedding] if spec.embedding else [])]

    def infer(frames: Frame) -> dict[str, Any]:
        answers = []
        for frame in frames:
            image = cv2.resize(frame.astype(np.float32), (spec.width, spec.height))
            if spec.normalise:
                image = (image / 255 - np.array(spec.mean, np.float32)) / np.array(
                    spec.std, np.float32
                )
            if spec.channels == "bgr":
                image = image[..., ::-1]
            tensor = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
            answers.append(session.run(wanted, {name: tensor}))
        first = np.concatenate([answer[0] for answer in answers]).astype(np.float32)
        if spec.task == "classification":
            made = {"scores": first}
            if spec.embedding:
                made["embedding"] = np.concatenate([answer[1] for answer in answers])
            return made
        if first.shape[2:] != (spec.height, spec.width):
            first = np.stack([_enlarged(item, spec.height, spec.width) for item in first])
        return {"labels": first.argmax(1).astype(np.uint8), LOGITS: first}

    return infer


def _enlarged(logits: Any, height: int, width: int) -> Any:
    return np.stack([cv2.resize(plane, (width, height)) for plane in logits])


def _modern(model: Any, source: str) -> Any:
    import onnx

    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions.get("", 0) >= 18:
        return model
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:
        raise ArgumentError(
            f"{source} is of operator set {versions.get('', 0)} and cannot be brought to {OPSET}: "
            f"{str(error).strip().splitlines()[0][:200]}",
            remedy=f"export it again with operator set 18 or later, best {OPSET}",
        ) from error


def _already_framed(model: Any, foreign: Foreign, source: str) -> tuple[bytes, Manifest]:
    check_input(model, source=source)
    outputs = {output.name for output in model.graph.output}
    if logits_tensor(model) is None or not {"labels", "confidence"} <= outputs:
        raise ArgumentError(
            f"{source} takes frames but gives {sorted(outputs)}, expected labels (an arg-max of "
            "logits) and confidence",
            remedy="give a file with a float [N, 3, h, w] input that returns logits",
        )
    size = (foreign.spec.height, foreign.spec.width)
    whole = replace(
        foreign.manifest,
        outputs=(
            OutputSpec(name="labels", dtype="uint8", shape=("batch", *size)),
            OutputSpec(name="confidence", dtype="float16", shape=("batch", *size)),
        ),
    )
    _name_unnamed(model)
    write_manifest(model, whole)
    return model.SerializeToString(), whole


def _check_tensor_input(model: Any, foreign: Foreign, source: str) -> str:
    import onnx

    initial = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initial]
    shapes = [(v.name, [d.dim_param or d.dim_value for d in _dims(v)]) for v in inputs]
    spec = foreign.spec
    wanted = (3, spec.height, spec.width)
    good = (
        len(inputs) == 1
        and _kind(inputs[0]) == onnx.TensorProto.FLOAT
        and len(_dims(inputs[0])) == 4
        and all(d.dim_value in (0, w) for d, w in zip(_dims(inputs[0])[1:], wanted, strict=True))
    )
    if not good:
        raise ArgumentError(
            f"{source} takes {shapes}, expected one float32 input [N, 3, {spec.height}, "
            f"{spec.width}]",
            remedy="mend height and width in the input spec, or export the network in that form",
        )
    if _dims(inputs[0])[0].dim_value:
        raise ArgumentError(
            f"{source} is made for batches of {_dims(inputs[0])[0].dim_value} only",
            remedy='export it with a dynamic batch, e.g. dynamic_shapes=({0: "batch"},)',
        )
    return str(inputs[0].name)


def _output_names(model: Any, foreign: Foreign, source: str) -> list[str]:
    spec = foreign.spec
    have = [output.name for output in model.graph.output]
    wanted = [spec.output or have[0], *([spec.embedding] if spec.embedding else [])]
    missing = [name for name in wanted if name not in have]
    if missing:
        raise ArgumentError(
            f"{source} has no output {', '.join(missing)}; it has {', '.join(have)}",
            remedy="mend output and embedding in the input spec",
        )
    taken = {"labels", "confidence", "scores", "embedding", LOGITS, foreign.manifest.input.name}
    inner = {name for node in model.graph.node for name in node.output}
    inner |= {value.name for value in model.graph.input}
    for name in sorted(inner & taken):
        _rename(model, name, f"{_PREFIX}inner_{name}")
    return [f"{_PREFIX}inner_{name}" if name in taken & inner else name for name in wanted]


def _rename(model: Any, old: str, new: str) -> None:
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    for value in (*model.graph.input, *model.graph.output):
        if value.name == old:
            value.name = new


def _head(model: Any, name: str, foreign: Foreign) -> list[Any]:
    """Nodes from the frame to the network's own input."""
    import onnx

    spec = foreign.spec
    # A file whose input was renamed has it under the new name.
    target = next(v.name for v in model.graph.input if v.name in (name, f"{_PREFIX}inner_{name}"))
    add = model.graph.initializer.append

    def constant(label: str, values: Any) -> str:
        add(onnx.numpy_helper.from_array(np.asarray(values), f"{_PREFIX}{label}"))
        return f"{_PREFIX}{label}"

    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Cast", [], {"to": onnx.TensorProto.FLOAT}),
        ("Transpose", [], {"perm": [0, 3, 1, 2]}),
        (
            "Resize",
            ["", "", constant("size", np.array([spec.height, spec.width], np.int64))],
            {
                "mode": "linear",
                "coordinate_transformation_mode": "half_pixel",
                "axes": [2, 3],
            },
        ),
    ]
    if spec.normalise:
        mean = np.array(spec.mean, np.float32).reshape(1, 3, 1, 1) * np.float32(255)
        scale = 1 / (np.array(spec.std, np.float32).reshape(1, 3, 1, 1) * np.float32(255))
        steps += [("Sub", [constant("mean", mean)], {}), ("Mul", [constant("scale", scale)], {})]
    if spec.channels == "bgr":
        steps.append(("Gather", [constant("bgr", np.array([2, 1, 0], np.int64))], {"axis": 1}))
    nodes, before = [], foreign.manifest.input.name
    for index, (kind, more, attributes) in enumerate(steps):
        after = target if index == len(steps) - 1 else f"{_PREFIX}step_{index}"
        nodes.append(_node(kind, [before, *more], after, **attributes))
        before = after
    return nodes


def _tail(model: Any, logits: str, size: tuple[int, int], *, enlarge: bool) -> list[Any]:
    """Nodes from the logits to labels and confidence; smaller logits are enlarged first."""
    import onnx

    add = model.graph.initializer.append
    add(onnx.numpy_helper.from_array(np.array(size, np.int64), f"{_PREFIX}out_size"))
    add(onnx.numpy_helper.from_array(np.array([1], np.int64), f"{_PREFIX}axis"))
    p = _PREFIX
    resize = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", "axes": [2, 3]}
    first = _node("Resize", [logits, "", "", f"{p}out_size"], f"{p}logits", **resize)
    if not enlarge:
        first = _node("Identity", [logits], f"{p}logits")
    return [
        first,
        _node("ArgMax", [f"{p}logits"], f"{p}argmax", axis=1, keepdims=0),
        _node("Cast", [f"{p}argmax"], "labels", to=onnx.TensorProto.UINT8),
        _node("ReduceMax", [f"{p}logits", f"{p}axis"], f"{p}top", keepdims=1),
        _node("Sub", [f"{p}logits", f"{p}top"], f"{p}below"),
        _node("Exp", [f"{p}below"], f"{p}exp"),
        _node("ReduceSum", [f"{p}exp", f"{p}axis"], f"{p}sum", keepdims=0),
        _node("Reciprocal", [f"{p}sum"], f"{p}share"),
        _node("Cast", [f"{p}share"], "confidence", to=onnx.TensorProto.FLOAT16),
    ]


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    import onnx

    return onnx.helper.make_node(
        kind, inputs, [output], name=f"frame/{kind}_{output}", **attributes
    )


def _name_unnamed(model: Any) -> None:
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"layer_{index}/{node.op_type}"
        seen.add(node.name)


def _kind(value: Any) -> int:
    return int(value.type.tensor_type.elem_type)


def _dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


def _sides(model: Any, name: str) -> tuple[int, ...]:
    value = next(output for output in model.graph.output if output.name == name)
    return tuple(int(d.dim_value) for d in _dims(value)[2:])


def _width(model: Any, name: str) -> int:
    value = next(output for output in model.graph.output if output.name == name)
    return int(_dims(value)[-1].dim_value) or 1
