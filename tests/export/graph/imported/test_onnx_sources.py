"""ONNX files of other tools: weights outside, names, functions, batches and old versions."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from export_helpers import run_onnx, scene
from onnx import TensorProto, helper
from onnx_files import (
    HEIGHT,
    KERNEL,
    MAP,
    WIDTH,
    convolution,
    external,
    image_input,
    imported,
    node,
    onnx_file,
    own_logits,
    refusal,
    tensor,
    value,
)

from trocar.contract.errors import DataError
from trocar.export.graph.imported.onnx_source import open_original, read_onnx

WANTED = own_logits(scene(7, 120, 160)).argmax(-1)


def is_right(data: bytes, out: Path) -> bool:
    labels, _, _ = imported(data, out, external())
    return bool((labels == WANTED).mean() > 0.9995)


def test_weights_beside_the_file_are_read(tmp_path: Path) -> None:
    conv, weight = convolution()
    model = onnx.load_model_from_string(onnx_file([conv], [value("y", MAP)], [weight]))
    path = tmp_path / "theirs.onnx"
    onnx.save(
        model, path, save_as_external_data=True, location="theirs.onnx.data", size_threshold=0
    )
    data = read_onnx(path)
    assert is_right(data, tmp_path / "m.trocar")
    (tmp_path / "theirs.onnx.data").unlink()
    with pytest.raises(DataError, match=r"keeps its weights in theirs\.onnx\.data") as caught:
        read_onnx(path)
    assert "beside the ONNX file" in caught.value.remedy


def test_weights_outside_the_folder_are_never_read(tmp_path: Path) -> None:
    conv, weight = convolution()
    model = onnx.load_model_from_string(onnx_file([conv], [value("y", MAP)], [weight]))
    folder = tmp_path / "inner"
    folder.mkdir()
    path = folder / "theirs.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.data", size_threshold=0)
    (folder / "w.data").rename(tmp_path / "w.data")
    model = onnx.load_model(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../w.data"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(Exception, match="cannot read the weights"):
        read_onnx(path)


def test_weights_listed_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    conv, weight = convolution()
    listed = value(weight.name, weight.dims)
    data = onnx_file([conv], [value("y", MAP)], [weight], inputs=[listed, image_input()])
    assert is_right(data, tmp_path / "m.trocar")


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    function = helper.make_function(
        "theirs", "Block", ["a", "w"], ["b"], [node("Conv", "a w", "b")],
        [helper.make_opsetid("", 18)],
    )  # fmt: skip
    _, weight = convolution()
    call = helper.make_node("Block", ["x", weight.name], ["y"], domain="theirs")
    data = onnx_file([call], [value("y", MAP)], [weight], functions=[function])
    assert is_right(data, tmp_path / "m.trocar")


@pytest.mark.parametrize("name", ["labels", "confidence", "logits", "frame", "trocar_Cast_0"])
def test_names_that_trocar_uses_are_free(name: str, tmp_path: Path) -> None:
    conv, weight = convolution(result=name)
    branches = {
        f"{key}_branch": helper.make_graph(
            [node("Identity", name, f"{key}_labels")], key, [],
            [value(f"{key}_labels", MAP)],
        )
        for key in ("then", "else")
    }  # fmt: skip
    choice = helper.make_node("If", ["condition"], ["y"], **branches)
    condition = tensor("condition", True, bool)
    data = onnx_file([conv, choice], [value("y", MAP)], [weight, condition])
    assert is_right(data, tmp_path / "a.trocar")
    weight.name = name
    plain = onnx_file([node("Conv", f"x {name}", "y")], [value("y", MAP)], [weight])
    assert is_right(plain, tmp_path / "b.trocar")


def test_a_batch_of_one_becomes_dynamic(tmp_path: Path) -> None:
    conv, weight = convolution("back", "y")
    nodes = [node("Reshape", "x flat", "rows"), node("Reshape", "rows whole", "back"), conv]
    constants = [
        weight,
        tensor("flat", [1, 3, -1], np.int64),
        tensor("whole", [1, 3, HEIGHT, WIDTH], np.int64),
    ]
    data = onnx_file(nodes, [value("y", [1, *MAP[1:]])], constants, inputs=[image_input(batch=1)])
    assert is_right(data, tmp_path / "m.trocar")
    both = np.stack([scene(7, 120, 160), scene(8, 120, 160)])
    labels = run_onnx(tmp_path / "m.trocar/model.onnx")(both)["labels"]
    for index, seed in enumerate((7, 8)):
        wanted = own_logits(scene(seed, 120, 160)).argmax(-1)
        assert (labels[index] == wanted).mean() > 0.9995


def test_a_batch_that_changes_the_result_is_refused(tmp_path: Path) -> None:
    conv, weight = convolution("centred", "y")
    nodes = [
        node("ReduceMean", "x axes", "mean", keepdims=1),
        node("Sub", "x mean", "centred"),
        conv,
    ]
    axes = tensor("axes", [0, 2, 3], np.int64)
    data = onnx_file(
        nodes, [value("y", [1, *MAP[1:]])], [weight, axes], inputs=[image_input(batch=1)]
    )
    words = refusal(data, tmp_path / "m.trocar", external())
    assert "made for batches of 1 only, and a larger batch changes it" in words
    four = onnx_file([convolution()[0]], [value("y", [4, *MAP[1:]])], [convolution()[1]],
                     inputs=[image_input(batch=4)])  # fmt: skip
    assert "made for batches of 4 only" in refusal(four, tmp_path / "m.trocar", external())


@pytest.mark.parametrize("opset", range(8, 24))
def test_every_operator_set_gives_the_same_labels(opset: int, tmp_path: Path) -> None:
    conv, weight = convolution(kernel=KERNEL)
    nodes, constants = [conv, node("Softmax", "y", "z", axis=1)], [weight]
    if opset < 13:
        # The axis of Softmax meant all dimensions from it on: classes go last, into rows.
        nodes[1:] = [
            node("Transpose", "y", "t", perm=[0, 2, 3, 1]),
            node("Softmax", "t", "p", axis=3),
            node("Transpose", "p", "z", perm=[0, 3, 1, 2]),
        ]
    data = onnx_file(nodes, [value("z", MAP)], constants, opset=opset, ir_version=8)
    assert is_right(data, tmp_path / "m.trocar")


@pytest.mark.parametrize(("opset", "op"), [(8, "Upsample"), (9, "Upsample"), (10, "Resize")])
def test_old_resizes_keep_their_meaning(opset: int, op: str, tmp_path: Path) -> None:
    conv, weight = convolution("s", "l")
    pool = node("AveragePool", "x", "s", kernel_shape=[2, 2], strides=[2, 2])
    constants = [weight]
    if opset == 8:
        grow = node(op, "l", "y", mode="linear", scales=[1.0, 1.0, 2.0, 2.0])
    else:
        grow = node(op, "l scales", "y", mode="linear")
        constants.append(tensor("scales", [1, 1, 2, 2]))
    data = onnx_file([pool, conv, grow], [value("y", MAP)], constants, opset=opset)
    session = open_original(data, source="x")
    frame = scene(7, 120, 160)
    image = cv2.resize(frame.astype(np.float32), (WIDTH, HEIGHT)).transpose(2, 0, 1)[None]
    wanted = session.run(None, {"x": image})[0][0].argmax(0)
    labels, _, _ = imported(data, tmp_path / "m.trocar", external())
    assert (labels == wanted).mean() > 0.999


def test_a_file_newer_than_the_runtime_is_one_line(tmp_path: Path) -> None:
    conv, weight = convolution()
    data = onnx_file([conv], [value("y", MAP)], [weight], ir_version=onnx.IR_VERSION)
    words = refusal(data, tmp_path / "m.trocar", external())
    assert f"IR version {onnx.IR_VERSION}" in words
    assert "\n" not in words
    assert "newer ONNX Runtime" in words


def test_an_operator_that_the_runtime_lacks_is_named(tmp_path: Path) -> None:
    call = helper.make_node("Wavelet", ["x"], ["y"], domain="theirs")
    graph = helper.make_graph([call], "g", [image_input()], [value("y", MAP)])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("theirs", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert "Wavelet" in refusal(model.SerializeToString(), tmp_path / "m", external())


def test_zeros_before_a_max_pooling_stay_zeros() -> None:
    shape = [1, 1, 2, 2]
    pads = helper.make_tensor("pads", TensorProto.INT64, [8], [0, 0, 1, 1, 0, 0, 1, 1])
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[2, 2]),
    ]
    graph = helper.make_graph(
        nodes, "pool", [value("x", shape)], [value("y", [1, 1, 3, 3])], [pads]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = open_original(model.SerializeToString(), source="theirs.onnx")
    found = session.run(None, {"x": np.full(shape, -5, np.float32)})[0]
    assert found[0, 0].tolist() == [[0, 0, 0], [0, -5, 0], [0, 0, 0]]
