"""Graphs are written so that no runtime changes what they compute."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from trocar.export.cpu_session import open_cpu_session
from trocar.export.graph.portable import fold_constant_resizes, keep_pads_before_pools

POSITIONS = np.random.default_rng(0).normal(size=(1, 2, 7, 7)).astype(np.float32)


def model_of(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2, 4, 4]) for name in "xy"
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "positions", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def resized(source: str) -> onnx.ModelProto:
    """x plus positions, or x, resized to 4x4."""
    nodes = [
        helper.make_node("Identity", ["positions"], ["moved"]),
        helper.make_node(
            "Resize",
            [source, "", "", "sizes"],
            ["small"],
            mode="cubic",
            antialias=1,
            cubic_coeff_a=-0.5,
            exclude_outside=1,
        ),
        helper.make_node("Add", ["x", "small"], ["y"]),
    ]
    sizes = np.array([1, 2, 4, 4], np.int64)
    return model_of(nodes, {"positions": POSITIONS, "sizes": sizes})


def test_a_resizing_of_constants_becomes_its_result() -> None:
    model = resized("moved")
    assert fold_constant_resizes(model)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Add"]
    assert [tensor.name for tensor in model.graph.initializer] == ["small"]
    expected = functional.interpolate(
        torch.from_numpy(POSITIONS), size=(4, 4), mode="bicubic", antialias=True
    )
    found = numpy_helper.to_array(model.graph.initializer[0])
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_a_resizing_of_the_picture_stays() -> None:
    model = resized("x")
    before = model.SerializeToString()
    assert not fold_constant_resizes(model)
    assert model.SerializeToString() == before


def test_a_resizing_that_depends_on_the_picture_inside_of_a_branch_stays() -> None:
    branches = [
        helper.make_graph(
            [helper.make_node(kind, ["x"], ["chosen"])],
            kind,
            [],
            [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)],
        )
        for kind in ("Relu", "Neg")
    ]
    nodes = [
        helper.make_node("If", ["yes"], ["some"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Resize", ["some", "", "", "sizes"], ["y"], mode="linear"),
    ]
    sizes = np.array([1, 2, 4, 4], np.int64)
    model = model_of(nodes, {"yes": np.array(True), "sizes": sizes})
    before = model.SerializeToString()
    assert not fold_constant_resizes(model)
    assert model.SerializeToString() == before


def test_paddings_with_zeros_are_kept_where_a_maximum_is_taken() -> None:
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    pads = np.array([0, 0, 2, 2, 0, 0, 2, 2], np.int64)
    model = model_of(nodes, {"pads": pads})
    assert keep_pads_before_pools(model)
    assert not keep_pads_before_pools(model), "the second time there is nothing to do"
    x = np.full((1, 2, 4, 4), -5, np.float32)
    found = open_cpu_session(model.SerializeToString()).run(None, {"x": x})[0]
    assert found[0, 0].tolist() == [[0, 0, 0, 0], [0, -5, -5, 0], [0, -5, -5, 0], [0, 0, 0, 0]]
