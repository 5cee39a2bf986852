"""The short reader of ONNX files sees what the ``onnx`` package sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trocar.contract.integrity.onnx_file import read_onnx, with_metadata


def model_with(*tensors: onnx.TensorProto, op: str = "Identity") -> onnx.ModelProto:
    node = helper.make_node(op, ["x"], ["y"], name="n")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "g",
        [value("x", TensorProto.UINT8, ["n", 3]), value("c", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT16, ["n", 3])],
        [*tensors, numpy_helper.from_array(np.zeros(1, np.float32), "c")],
    )
    model = helper.make_model(graph)
    helper.set_model_props(model, {"a": "1", "b": "zwei é"})
    return model


def weight(dtype: type, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(shape, dtype), "w")


def test_names_types_and_metadata() -> None:
    facts = read_onnx(model_with().SerializeToString())
    assert facts is not None
    assert facts.inputs == ("x",)
    assert facts.outputs == {"y": "float16"}
    assert facts.metadata == {"a": "1", "b": "zwei é"}
    assert (facts.precision, facts.has_external_data) == ("fp32", False)


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        (model_with(weight(np.float16, 2, 2)), "fp16"),
        (model_with(weight(np.float16, 4)), "fp32"),
        (model_with(helper.make_tensor("w", TensorProto.BFLOAT16, [2, 2], [0.0] * 4)), "bf16"),
        (model_with(weight(np.float16, 2, 2), op="QuantizeLinear"), "int8"),
    ],
)
def test_precision_is_what_the_exporter_states(model: onnx.ModelProto, precision: str) -> None:
    from trocar.export.graph.imported.onnx_source import stated_precision

    facts = read_onnx(model.SerializeToString())
    assert facts is not None
    assert (facts.precision, stated_precision(model)) == (precision, precision)


def test_constants_of_nodes_and_of_inner_graphs_count() -> None:
    inner = helper.make_graph([], "inner", [], [], [weight(np.float16, 2, 2)])
    model = model_with()
    model.graph.node[0].attribute.append(helper.make_attribute("body", inner))
    facts = read_onnx(model.SerializeToString())
    assert facts is not None
    assert facts.precision == "fp16"


def test_external_data_is_seen(tmp_path: Path) -> None:
    tensor = weight(np.float32, 2, 2)
    onnx.external_data_helper.set_external_data(tensor, "w.bin", 0, 16)
    facts = read_onnx(model_with(tensor).SerializeToString())
    assert facts is not None
    assert facts.has_external_data


def test_metadata_is_replaced_and_the_rest_stays() -> None:
    model = model_with(weight(np.float32, 2, 2))
    data = with_metadata(model.SerializeToString(), {"b": "x" * 300, "c": "3"})
    changed = onnx.load_model_from_string(data)
    assert {p.key: p.value for p in changed.metadata_props} == {"a": "1", "b": "x" * 300, "c": "3"}
    assert changed.graph == model.graph
    facts = read_onnx(data)
    assert facts is not None
    assert facts.metadata["b"] == "x" * 300


def test_what_is_no_onnx_file_is_none() -> None:
    data = model_with().SerializeToString()
    for broken in (b"", b"model", b"nothing of the kind", b"\xff" * 40):
        assert read_onnx(broken) is None
    for length in range(1, len(data), 3):
        read_onnx(data[:length])


def test_graphs_nested_without_end_are_refused() -> None:
    def nested(levels: int) -> bytes:
        data = b""
        for number in levels * [6, 5, 1] + [7]:
            data = _message(number, data)
        return data

    assert read_onnx(nested(20)) is not None
    assert read_onnx(nested(40)) is None


def _message(number: int, data: bytes) -> bytes:
    length = len(data)
    return bytes([number << 3 | 2, length & 127 | 128, length >> 7]) + data
