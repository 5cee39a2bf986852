"""A Triton ensemble of two models: the first finds instruments, the second classifies a crop.

    write_ensemble(folder, (segmentation, classifier), ("finder", "classifier"), options)

The crop is made by a small ONNX graph, so the server needs no Python. It is the box around all
instrument pixels of a frame, or the full frame if there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trocar.contract.errors import BundleError
from trocar.contract.manifest import Manifest
from trocar.export.triton.config import (
    EnumValue,
    Message,
    TritonOptions,
    output_config,
    pbtxt,
)

CROP = "trocar-crop"
ENSEMBLE = "trocar-two-stages"
MARGIN = 0.1
"""Margin on each side of the box, as a fraction of the box's side."""


def write_ensemble(
    folder: Path,
    manifests: tuple[Manifest, Manifest],
    names: tuple[str, str],
    options: TritonOptions,
) -> list[str]:
    """Writes the model that crops, and the ensemble.

    Args:
        folder: The model repository.
        manifests: The segmentation model's and the classifier's.
        names: Names of the two models in the repository.
        options: How the server runs them.

    Returns:
        Names of the two models that were written.

    Raises:
        BundleError: The bundles are not a segmentation model and a classifier.
    """
    first, second = manifests
    if (first.task, second.task) != ("segmentation", "classification"):
        raise BundleError(
            f"the two stages are {first.task} and {second.task}, expected segmentation and "
            "classification",
            remedy="name a segmentation bundle first and a classifier's bundle second",
        )
    _write_crop(folder / CROP, first, second, options)
    ensemble: Message = {
        "name": ENSEMBLE,
        "platform": "ensemble",
        "max_batch_size": options.max_batch,
        "input": [_port("frame", [-1, -1, 3])],
        "output": [
            {k: v for k, v in output_config(output).items() if k != "label_filename"}
            for output in (*first.outputs, *second.outputs)
        ],
        "ensemble_scheduling": {
            "step": [
                _step(names[0], {first.input.name: "frame"}, _own_names(first)),
                _step(CROP, {"frame": "frame", "labels": "labels"}, {"crop": "crop"}),
                _step(names[1], {second.input.name: "crop"}, _own_names(second)),
            ]
        },
    }
    (folder / ENSEMBLE / "1").mkdir(parents=True)
    # The server needs a version folder; git and archives keep only folders with a file.
    (folder / ENSEMBLE / "1" / "no-model-file").write_bytes(b"")
    (folder / ENSEMBLE / "config.pbtxt").write_text(pbtxt(ensemble), encoding="utf-8")
    return [CROP, ENSEMBLE]


def _write_crop(folder: Path, first: Manifest, second: Manifest, options: TritonOptions) -> None:
    size = (second.input.height, second.input.width)
    config: Message = {
        "name": CROP,
        "platform": "onnxruntime_onnx",
        "max_batch_size": options.max_batch,
        "input": [
            _port("frame", [-1, -1, 3]),
            _port("labels", [first.input.height, first.input.width]),
        ],
        "output": [_port("crop", [*size, 3])],
        "instance_group": [{"count": options.instances, "kind": EnumValue("KIND_CPU")}],
    }
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(crop_graph(first, size))
    (folder / "config.pbtxt").write_text(pbtxt(config), encoding="utf-8")


def _port(name: str, dims: list[int]) -> Message:
    return {"name": name, "data_type": EnumValue("TYPE_UINT8"), "dims": dims}


def _own_names(manifest: Manifest) -> dict[str, str]:
    return {output.name: output.name for output in manifest.outputs}


def _step(name: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Message:
    return {
        "model_name": name,
        "model_version": -1,
        "input_map": [{"key": k, "value": v} for k, v in inputs.items()],
        "output_map": [{"key": k, "value": v} for k, v in outputs.items()],
    }


def crop_graph(manifest: Manifest, size: tuple[int, int]) -> bytes:
    """ONNX: ``frame`` uint8 ``[N,H,W,3]`` and ``labels`` uint8 ``[N,h,w]`` to ``crop`` uint8.

    Args:
        manifest: The segmentation model's; states which classes are instruments.
        size: Height and width of the crop in pixels.
    """
    import onnx

    height, width = manifest.input.height, manifest.input.width
    instruments = np.zeros(256, np.float32)
    instruments[list(manifest.classes.instrument_ids)] = 1
    constants = {
        "table": instruments,
        "y_numbers": np.arange(height, dtype=np.float32).reshape(1, height),
        "x_numbers": np.arange(width, dtype=np.float32).reshape(1, width),
        "y_extent": np.float32(height),
        "x_extent": np.float32(width),
        "margin": np.float32(MARGIN),
        "infinite": np.float32(1e6),
        "zero": np.float32(0),
        "half": np.float32(0.5),
        "one": np.float32(1),
        "highest": np.float32(255),
    }
    model = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["": 20]>
        trocar_crop (uint8[batch, H, W, 3] frame, uint8[batch, {height}, {width}] labels)
            => (uint8[batch, {size[0]}, {size[1]}, 3] crop)
        <int64[1] axis1 = {{1}}, int64[1] axis2 = {{2}}, int64 index0 = {{0}}, int64 index1 = {{1}},
         int64 index2 = {{2}}> {{
            indices = Cast <to = 7> (labels)
            mask = Gather <axis = 0> (table, indices)
            sides = Shape (frame)
            batch_size = Gather <axis = 0> (sides, index0)
            {_box_side("y", across="axis2", frame_side="index1")}
            {_box_side("x", across="axis1", frame_side="index2")}
            boxes = Concat <axis = 1> (x_start, y_start, x_end, y_end)
            numbers = Range (index0, batch_size, index1)
            float_frame = Cast <to = 1> (frame)
            planes = Transpose <perm = [0, 3, 1, 2]> (float_frame)
            region = RoiAlign <output_height = {size[0]}, output_width = {size[1]},
                coordinate_transformation_mode = "half_pixel", sampling_ratio = 2>
                (planes, boxes, numbers)
            rounded = Round (region)
            clipped = Clip (rounded, zero, highest)
            bytes = Cast <to = 2> (clipped)
            crop = Transpose <perm = [0, 2, 3, 1]> (bytes)
        }}""")
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    for node in model.graph.node:
        node.name = f"{node.output[0]}/{node.op_type}"
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _box_side(name: str, *, across: str, frame_side: str) -> str:
    """Nodes for one axis: first and last instrument pixel, with margin, in frame pixels [N,1]."""
    text = """
            #_any = ReduceMax <keepdims = 0> (mask, ACROSS)
            #_inside = Greater (#_any, half)
            #_low = Where (#_inside, #_numbers, infinite)
            #_first = ReduceMin <keepdims = 1> (#_low, axis1)
            #_ends = Add (#_numbers, one)
            #_high = Where (#_inside, #_ends, zero)
            #_last = ReduceMax <keepdims = 1> (#_high, axis1)
            #_found = Less (#_first, #_last)
            #_from = Where (#_found, #_first, zero)
            #_to = Where (#_found, #_last, #_extent)
            #_span = Sub (#_to, #_from)
            #_margin = Mul (#_span, margin)
            #_wider_from = Sub (#_from, #_margin)
            #_wider_to = Add (#_to, #_margin)
            #_clipped_from = Clip (#_wider_from, zero, #_extent)
            #_clipped_to = Clip (#_wider_to, zero, #_extent)
            #_frame_side = Gather <axis = 0> (sides, FRAME_SIDE)
            #_frame_float = Cast <to = 1> (#_frame_side)
            #_scale = Div (#_frame_float, #_extent)
            #_start = Mul (#_clipped_from, #_scale)
            #_end = Mul (#_clipped_to, #_scale)"""
    return text.replace("#", name).replace("ACROSS", across).replace("FRAME_SIDE", frame_side)
