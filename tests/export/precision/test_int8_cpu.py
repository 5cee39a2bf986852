"""Faster forms of int8 graphs compute what the plain forms compute; little stays float32."""

from __future__ import annotations

import json
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from export_helpers import frames_of
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

from trocar.contract.errors import ParityError
from trocar.export.graph.body import layer_macs, trailing_nodes
from trocar.export.parity.types import Failure
from trocar.export.precision.convert import _Search
from trocar.export.precision.int8 import activation_ranges, convert_to_int8
from trocar.export.precision.int8_cpu import (
    first_layer_space_to_depth,
    fuse_normalisation,
    share_concat_ranges,
)

CHANNELS = 3


def model_of(
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[Any]],
    *,
    size: tuple[int, int],
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A graph from ``x`` to ``y``."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, ["batch", CHANNELS, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("nchw"))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def run(model: onnx.ModelProto, x: NDArray[Any]) -> NDArray[np.float32]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(["y"], {"x": x})[0]


def normalised(*steps: tuple[str, tuple[float, ...]], reads_again: bool = False) -> Any:
    constants: dict[str, NDArray[Any]] = {
        f"c{i}": np.float32(value).reshape(1, -1, 1, 1) for i, (_, value) in enumerate(steps)
    }
    constants["w"] = np.random.default_rng(0).normal(size=(4, CHANNELS, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node(kind, ["x" if i == 0 else f"t{i}", f"c{i}"], [f"t{i + 1}"], name=f"n{i}")
        for i, (kind, _) in enumerate(steps)
    ]
    last = f"t{len(steps)}"
    nodes.append(helper.make_node("Conv", [last, "w"], ["z" if reads_again else "y"], name="conv"))
    if reads_again:
        nodes.append(helper.make_node("ReduceMean", [last], ["m"], name="mean"))
        nodes.append(helper.make_node("Add", ["z", "m"], ["y"], name="add"))
    return model_of(nodes, constants, size=(8, 10))


MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)


@pytest.mark.parametrize(
    "steps",
    [
        (("Sub", MEAN), ("Div", STD)),
        (("Sub", MEAN), ("Mul", (0.017, 0.018, 0.019))),
        (("Mul", (0.5, 2, 3)), ("Add", (1, -2, 0.5)), ("Div", STD)),
    ],
)
def test_a_normalisation_becomes_one_node_that_computes_the_same(
    steps: tuple[tuple[str, tuple[float, ...]], ...], rng: np.random.Generator
) -> None:
    model = normalised(*steps)
    x = rng.uniform(0, 255, (2, CHANNELS, 8, 10)).astype(np.float32)
    before = run(model, x)
    assert fuse_normalisation(model)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["BatchNormalization", "Conv"]
    np.testing.assert_allclose(run(model, x), before, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "model",
    [
        normalised(("Sub", MEAN)),
        normalised(("Sub", (120.0,)), ("Div", (58.0,))),
        normalised(("Sub", MEAN), ("Div", STD), reads_again=True),
    ],
    ids=["one node", "not by channel", "read elsewhere"],
)
def test_other_arithmetic_stays(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    assert not fuse_normalisation(model)
    assert model.SerializeToString() == before


def quantised_layer(size: tuple[int, int], kernel: int, **attributes: Any) -> onnx.ModelProto:
    rng = np.random.default_rng(kernel)
    shape = (5, CHANNELS // attributes.get("group", 1), kernel, kernel)
    if "group" in attributes:
        shape = (6, *shape[1:])
    constants: dict[str, NDArray[Any]] = {
        "x_scale": np.float32(0.02),
        "x_zero": np.uint8(113),
        "w": rng.integers(-127, 128, shape).astype(np.int8),
        "w_scale": rng.uniform(0.01, 0.02, shape[0]).astype(np.float32),
        "w_zero": np.zeros(shape[0], np.int8),
        "bias": rng.normal(size=shape[0]).astype(np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "x_scale", "x_zero"], ["image"], name="dq"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["weight"], axis=0),
        helper.make_node("Conv", ["image", "weight", "bias"], ["y"], name="conv", **attributes),
    ]
    return model_of(nodes, constants, size=size, kind=TensorProto.UINT8)


@pytest.mark.parametrize("size", [(16, 20), (32, 18)])
@pytest.mark.parametrize(
    ("kernel", "pads"),
    [(3, [1, 1, 1, 1]), (3, [0, 0, 1, 1]), (3, [0, 0, 0, 0]), (5, [2, 2, 2, 2]),
     (7, [3, 3, 3, 3]), (7, [2, 3, 3, 2]), (2, [0, 0, 0, 0]), (4, [1, 1, 1, 1])],
)  # fmt: skip
def test_a_strided_first_layer_on_blocks_computes_the_same(
    size: tuple[int, int], kernel: int, pads: list[int], rng: np.random.Generator
) -> None:
    model = quantised_layer(size, kernel, strides=[2, 2], pads=pads)
    x = rng.integers(0, 256, (2, CHANNELS, *size)).astype(np.uint8)
    before = run(model, x)
    assert first_layer_space_to_depth(model)
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("SpaceToDepth") == 1
    after = run(model, x)
    assert after.shape == before.shape
    np.testing.assert_allclose(after, before, atol=1e-3)


@pytest.mark.parametrize(
    ("size", "attributes"),
    [
        ((16, 20), {"strides": [1, 1], "pads": [1, 1, 1, 1]}),
        ((15, 20), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ((16, 20), {"strides": [2, 2], "dilations": [2, 2], "pads": [1, 1, 1, 1]}),
        ((16, 20), {"strides": [2, 2], "group": 3}),
        ((16, 20), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ],
)
def test_other_first_layers_stay(size: tuple[int, int], attributes: dict[str, Any]) -> None:
    model = quantised_layer(size, 3, **attributes)
    before = model.SerializeToString()
    assert not first_layer_space_to_depth(model)
    assert model.SerializeToString() == before


def test_alike_inputs_of_a_concatenation_share_a_range() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Resize", ["a", "", "", "size"], ["big"], mode="linear"),
        helper.make_node("Relu", ["x"], ["b"]),
        helper.make_node("Relu", ["x"], ["c"]),
        helper.make_node("Concat", ["big", "b", "c"], ["y"], axis=1),
    ]
    model = model_of(nodes, {"size": np.int64([1, 3, 8, 8])}, size=(8, 8))
    given = {"a": 3.0, "big": 2.5, "b": 4.0, "c": 1.0, "y": 4.0}
    ranges = TensorsData(
        CalibrationMethod.MinMax,
        {name: (np.float32([0]), np.float32([high])) for name, high in given.items()},
    )
    shared = share_concat_ranges(model, ranges)
    # The enlarged tensor has the scale of its source; one much smaller than the rest keeps its own.
    found = {name: float(data.range_value[1][0]) for name, data in shared.items()}
    assert found == {**given, "a": 4.0}
    assert float(ranges["a"].range_value[1][0]) == 3.0


def test_what_follows_the_last_layer_is_not_quantised(small_onnx: bytes) -> None:
    model = onnx.load_model_from_string(small_onnx)
    (enlarging,) = trailing_nodes(model)
    assert enlarging.endswith("Resize")
    small = onnx.load_model_from_string(
        convert_to_int8(small_onnx, activation_ranges(small_onnx, frames_of(2)), target="cpu")
    )
    made_by = {name: node for node in small.graph.node for name in node.output}
    resize = next(node for node in small.graph.node if node.name == enlarging)
    assert made_by[resize.input[0]].op_type == "DequantizeLinear"
    readers = [node.op_type for node in small.graph.node if resize.output[0] in node.input]
    assert "QuantizeLinear" not in readers
    kinds = [node.op_type for node in small.graph.node]
    assert kinds.count("BatchNormalization") == kinds.count("SpaceToDepth") == 1


def test_macs_are_counted_for_one_frame(small_onnx: bytes) -> None:
    work = layer_macs(onnx.load_model_from_string(small_onnx))
    # Network size 64x96; the first layer halves it.
    assert list(work.values()) == [n * 32 * 48 for n in (12 * 3 * 9, 12 * 12 * 9, 3 * 12)]


GROUPS = [["stem"], ["wide"], ["deep"], ["head"]]
WORK = [10, 100, 1000, 1]


def searched(wanted: Collection[str], costs: dict[str, float]) -> set[str]:
    """What is left out where the gate wants some groups in float32."""

    def build(stay: Collection[str]) -> bytes:
        return json.dumps(sorted(stay)).encode()

    def evaluate(candidate: bytes) -> Any:
        stay = set(json.loads(candidate))
        converted = [name for (name,) in GROUPS if name not in stay]
        return SimpleNamespace(
            passed=set(wanted) <= stay,
            failures=(Failure("mean_logit_difference", "a limit"),),
            precision="int8",
            metrics={"mean_logit_difference": sum(costs[name] for name in converted)},
        )

    made, out, about = _Search(build, evaluate, GROUPS, WORK, set()).run(None)
    assert set(json.loads(made)) == out
    assert about["why"] == ["a limit"]
    assert [row["work"] for row in about["sensitivity"]] == WORK
    return out


@pytest.mark.parametrize("wanted", [{"head"}, {"stem"}, {"wide"}, {"head", "wide"}])
def test_no_more_is_left_out_than_the_gate_wants(wanted: set[str]) -> None:
    assert searched(wanted, {"stem": 3.0, "wide": 2.0, "deep": 1.0, "head": 4.0}) == wanted


def test_cheap_layers_are_left_out_before_large_ones() -> None:
    # The deep group costs most, but ten times as much for a thousand times the work.
    costs = {"stem": 1.0, "wide": 1.0, "deep": 10.0, "head": 1.0}
    assert searched({"stem"}, costs) == {"stem"}
    with pytest.raises(ParityError, match="no part of the network can be int8"):
        searched({"stem", "wide", "deep", "head"}, costs)
