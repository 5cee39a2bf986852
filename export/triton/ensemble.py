"""Two stages on a Triton server: find instruments, cut them out, name them.

    write_ensemble(folder, segmentation, classifier, ["finder", "namer"], options)

The cutting is a small ONNX graph of its own, so that the server needs no Python: the box around all
instrument pixels of a frame, or the whole frame where there are none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trocar.contract.errors import BundleError
from trocar.contract.manifest import Manifest

if TYPE_CHECKING:
    from trocar.export.triton.config import TritonOptions

CROP = "trocar-crop"
ENSEMBLE = "trocar-two-stages"
MARGIN = 0.1
"""Of the box's sides, added on each side."""


def write_ensemble(
    folder: Path,
    first: Manifest,
    second: Manifest,
    names: list[str],
    options: TritonOptions,
) -> list[str]:
    """Writes the cutting model and the ensemble; returns their names.

    Raises:
        BundleError: The bundles are not a segmentation model and a classifier.
    """
    from trocar.export.triton.config import Word, _output, pbtxt

    if (first.task, second.task) != ("segmentation", "classification"):
        raise BundleError(
            f"the two stages are {first.task} and {second.task}",
            remedy="name a segmentation bundle first and a classifier's bundle second",
        )
    size = (second.input.height, second.input.width)
    (folder / CROP / "1").mkdir(parents=True)
    (folder / CROP / "1" / "model.onnx").write_bytes(crop_graph(first, size))
    frame = {"name": "frame", "data_type": Word("TYPE_UINT8"), "dims": [-1, -1, 3]}
    labels = [first.input.height, first.input.width]
    crop = {
        "name": CROP,
        "platform": "onnxruntime_onnx",
        "max_batch_size": options.max_batch,
        "input": [frame, {"name": "labels", "data_type": Word("TYPE_UINT8"), "dims": labels}],
        "output": [{"name": "crop", "data_type": Word("TYPE_UINT8"), "dims": [*size, 3]}],
        "instance_group": [{"count": options.instances, "kind": Word("KIND_CPU")}],
    }
    (folder / CROP / "config.pbtxt").write_text(pbtxt(crop), encoding="utf-8")

    def step(name: str, inputs: dict[str, str], outputs: dict[str, str]) -> dict[str, Any]:
        return {
            "model_name": name,
            "model_version": -1,
            "input_map": [{"key": k, "value": v} for k, v in inputs.items()],
            "output_map": [{"key": k, "value": v} for k, v in outputs.items()],
        }

    found = {output.name: output.name for output in first.outputs}
    named = {output.name: output.name for output in second.outputs}
    ensemble = {
        "name": ENSEMBLE,
        "platform": "ensemble",
        "max_batch_size": options.max_batch,
        "input": [frame],
        "output": [
            {k: v for k, v in _output(output).items() if k != "label_filename"}
            for output in (*first.outputs, *second.outputs)
        ],
        "ensemble_scheduling": {
            "step": [
                step(names[0], {first.input.name: "frame"}, found),
                step(CROP, {"frame": "frame", "labels": "labels"}, {"crop": "crop"}),
                step(names[1], {second.input.name: "crop"}, named),
            ]
        },
    }
    (folder / ENSEMBLE / "1").mkdir(parents=True)
    # The server wants a version folder; git and archives keep it only with a file in it.
    (folder / ENSEMBLE / "1" / "no-model-file").write_bytes(b"")
    (folder / ENSEMBLE / "config.pbtxt").write_text(pbtxt(ensemble), encoding="utf-8")
    return [CROP, ENSEMBLE]


def crop_graph(manifest: Manifest, size: tuple[int, int]) -> bytes:
    """ONNX: ``frame`` uint8 ``[N,H,W,3]`` and ``labels`` uint8 ``[N,h,w]`` to ``crop`` uint8.

    Args:
        manifest: Of the segmentation model: which classes are instruments.
        size: Height and width of the crop.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    height, width = manifest.input.height, manifest.input.width
    table = np.zeros(256, np.float32)
    table[list(manifest.classes.instrument_ids)] = 1
    nodes: list[Any] = []
    constants: dict[str, Any] = {
        "table": table,
        "rows": np.arange(height, dtype=np.float32).reshape(1, height),
        "columns": np.arange(width, dtype=np.float32).reshape(1, width),
        "far": np.float32(1e6),
        "zero": np.float32(0),
        "one": np.float32(1),
        "half": np.float32(0.5),
        "margin": np.float32(MARGIN),
        "height": np.float32(height),
        "width": np.float32(width),
        "axis1": np.array([1], np.int64),
        "axis2": np.array([2], np.int64),
        "highest": np.float32(255),
        "from0": np.array(0, np.int64),
        "by1": np.array(1, np.int64),
        "whole_h": np.array([height], np.float32),
        "whole_w": np.array([width], np.float32),
    }

    def do(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(
            helper.make_node(kind, inputs, [output], name=f"{output}/{kind}", **attributes)
        )
        return output

    do("Cast", ["labels"], "indices", to=TensorProto.INT64)
    do("Gather", ["table", "indices"], "mask", axis=0)  # [N,h,w] 0 or 1
    do("Shape", ["frame"], "sides")
    for side, index in (("batch", 0), ("frame_h", 1), ("frame_w", 2)):
        constants[f"at_{side}"] = np.array(index, np.int64)
        do("Gather", ["sides", f"at_{side}"], side, axis=0)
    boxes = {}
    for name, axis, numbers, extent, frame_side in (
        ("y", "axis2", "rows", "height", "frame_h"),
        ("x", "axis1", "columns", "width", "frame_w"),
    ):
        do("ReduceMax", ["mask", axis], f"{name}_any", keepdims=0)  # [N,h] or [N,w]
        do("Greater", [f"{name}_any", "half"], f"{name}_in")
        do("Where", [f"{name}_in", numbers, "far"], f"{name}_low")
        do("ReduceMin", [f"{name}_low", "axis1"], f"{name}_first", keepdims=1)
        do("Add", [numbers, "one"], f"{name}_ends")
        do("Where", [f"{name}_in", f"{name}_ends", "zero"], f"{name}_high")
        do("ReduceMax", [f"{name}_high", "axis1"], f"{name}_last", keepdims=1)
        do("Less", [f"{name}_first", f"{name}_last"], f"{name}_some")
        do("Where", [f"{name}_some", f"{name}_first", "zero"], f"{name}_from")
        do("Where", [f"{name}_some", f"{name}_last", extent], f"{name}_to")
        do("Sub", [f"{name}_to", f"{name}_from"], f"{name}_span")
        do("Mul", [f"{name}_span", "margin"], f"{name}_more")
        do("Sub", [f"{name}_from", f"{name}_more"], f"{name}_wide0")
        do("Add", [f"{name}_to", f"{name}_more"], f"{name}_wide1")
        do("Cast", [frame_side], f"{name}_frame", to=TensorProto.FLOAT)
        do("Div", [f"{name}_frame", extent], f"{name}_scale")
        for end in ("0", "1"):
            do("Clip", [f"{name}_wide{end}", "zero", extent], f"{name}_clip{end}")
            do("Mul", [f"{name}_clip{end}", f"{name}_scale"], f"{name}{end}")
            boxes[f"{name}{end}"] = f"{name}{end}"
    do("Concat", ["x0", "y0", "x1", "y1"], "rois", axis=1)  # [N,4] in frame pixels
    do("Range", ["from0", "batch", "by1"], "numbers")
    do("Cast", ["frame"], "float_frame", to=TensorProto.FLOAT)
    do("Transpose", ["float_frame"], "planes", perm=[0, 3, 1, 2])
    do(
        "RoiAlign",
        ["planes", "rois", "numbers"],
        "cut",
        output_height=size[0],
        output_width=size[1],
        coordinate_transformation_mode="half_pixel",
        sampling_ratio=2,
    )
    do("Round", ["cut"], "rounded")
    do("Clip", ["rounded", "zero", "highest"], "clipped")
    do("Cast", ["clipped"], "bytes", to=TensorProto.UINT8)
    do("Transpose", ["bytes"], "crop", perm=[0, 2, 3, 1])
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "trocar-crop",
        [
            helper.make_tensor_value_info("frame", TensorProto.UINT8, ["batch", "H", "W", 3]),
            helper.make_tensor_value_info("labels", TensorProto.UINT8, ["batch", height, width]),
        ],
        [helper.make_tensor_value_info("crop", TensorProto.UINT8, ["batch", *size, 3])],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
            if name in used
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
