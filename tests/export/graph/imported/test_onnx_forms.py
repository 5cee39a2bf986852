"""ONNX files of many forms: their labels and confidence equal a computation with NumPy alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from export_helpers import scene
from onnx import TensorProto
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
    softmax,
    tensor,
    value,
    with_tail,
)

from trocar.contract.errors import ArgumentError
from trocar.export.cpu_session import open_cpu_session
from trocar.export.graph.imported.canonical import canonical_network

HALF, INT32, INT64 = TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64


def to_last(source: str, result: str) -> onnx.NodeProto:
    return node("Transpose", source, result, perm=[0, 2, 3, 1])


LAST = ["n", HEIGHT, WIDTH, 3]
SEGMENTATION = {
    "logits": ([node("Identity", "y", "z")], value("z", MAP)),
    "logits, channels last": ([to_last("y", "z")], value("z", LAST)),
    "softmax": ([node("Softmax", "y", "z", axis=1)], value("z", MAP)),
    "softmax, channels last": (
        [to_last("y", "t"), node("Softmax", "t", "z", axis=-1)],
        value("z", LAST),
    ),
    "labels int64": (
        [node("ArgMax", "y", "z", axis=1)],
        value("z", ["n", 1, HEIGHT, WIDTH], INT64),
    ),
    "labels int32": (
        [node("ArgMax", "y", "a", axis=1, keepdims=0), node("Cast", "a", "z", to=INT32)],
        value("z", ["n", HEIGHT, WIDTH], INT32),
    ),
    "labels float": (
        [node("ArgMax", "y", "a", axis=1), node("Cast", "a", "z", to=TensorProto.FLOAT)],
        value("z", ["n", 1, HEIGHT, WIDTH]),
    ),
    "labels of softmax": (
        [node("Softmax", "y", "s", axis=1), node("ArgMax", "s", "z", axis=1, keepdims=0)],
        value("z", ["n", HEIGHT, WIDTH], INT64),
    ),
    "labels, channels last": (
        [to_last("y", "t"), node("ArgMax", "t", "z", axis=3)],
        value("z", ["n", HEIGHT, WIDTH, 1], INT64),
    ),
}


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize("form", SEGMENTATION)
def test_labels_and_confidence_are_those_of_the_file(form: str, opset: int, tmp_path: Path) -> None:
    nodes, output = SEGMENTATION[form]
    data = with_tail(nodes, output, opset=opset)
    labels, confidence, manifest = imported(data, tmp_path / "m.trocar", external())
    wanted = own_logits(scene(7, 120, 160))
    assert (labels == wanted.argmax(-1)).mean() > 0.9995
    np.testing.assert_allclose(confidence, softmax(wanted).max(-1), atol=2e-3)
    assert manifest.precision == "fp32"


def test_sigmoids_of_every_class_give_the_largest(tmp_path: Path) -> None:
    data = with_tail(
        [node("Sub", "y c", "d"), node("Sigmoid", "d", "z")], value("z", MAP), tensor("c", 7)
    )
    labels, _, manifest = imported(data, tmp_path / "m.trocar", external())
    assert (labels == own_logits(scene(7, 120, 160)).argmax(-1)).mean() > 0.9995
    assert manifest.source["output"] == "probabilities"


@pytest.mark.parametrize("sigmoid", [False, True])
def test_one_channel_is_two_classes(sigmoid: bool, tmp_path: Path) -> None:
    conv, weight = convolution(kernel=np.array([[-0.05, 0, 0.05]], np.float32))
    tail = node("Sigmoid" if sigmoid else "Identity", "y", "z")
    data = onnx_file([conv, tail], [value("z", ["n", 1, HEIGHT, WIDTH])], [weight])
    labels, confidence, _ = imported(data, tmp_path / "m.trocar", external(2))
    logits = own_logits(scene(7, 120, 160))
    logit = logits[..., 1] - logits[..., 0]
    share = 1 / (1 + np.exp(-logit.astype(float)))
    assert 0.05 < (share > 0.5).mean() < 0.95
    assert (labels == (share > 0.5)).mean() > 0.9995
    np.testing.assert_allclose(confidence, np.maximum(share, 1 - share), atol=2e-3)
    assert "one channel stands for two classes only" in refusal(
        data, tmp_path / "three.trocar", external(3)
    )


def test_a_label_map_without_logits_is_taken_with_confidence_one(tmp_path: Path) -> None:
    nodes = [
        node("Split", "y", "r", axis=1, num_outputs=3),
        node("Greater", "b r", "more"),
        node("Cast", "more", "z", to=TensorProto.UINT8),
    ]
    nodes[0].output[:] = ["r", "b", "g"]
    data = with_tail(nodes, value("z", ["n", 1, HEIGHT, WIDTH], TensorProto.UINT8))
    labels, confidence, manifest = imported(data, tmp_path / "m.trocar", external(2))
    logits = own_logits(scene(7, 120, 160))
    assert (labels == (logits[..., 1] > logits[..., 0])).mean() > 0.9995
    assert (confidence == 1).all()
    assert manifest.source["output"] == "labels"


def test_labels_beyond_the_table_are_refused(tmp_path: Path) -> None:
    tail = [
        node("ArgMax", "y", "a", axis=1, keepdims=0),
        node("Mul", "a two", "z"),
    ]
    data = with_tail(tail, value("z", ["n", HEIGHT, WIDTH], INT64), tensor("two", 2, np.int64))
    words = refusal(data, tmp_path / "m.trocar", external(3))
    assert "labels 0..4; the class table has 3 classes, 0..2" in words


@pytest.mark.parametrize("channels", [2, 5, 300])
def test_channels_are_compared_with_the_class_table(channels: int, tmp_path: Path) -> None:
    kernel = np.resize(KERNEL, (channels, 3))
    conv, weight = convolution(kernel=kernel)
    data = onnx_file([conv], [value("y", ["n", channels, HEIGHT, WIDTH])], [weight])
    words = refusal(data, tmp_path / "m.trocar", external(3))
    assert f"output y has {channels} channels" in words
    assert "the class table has 3 classes" in words


def test_of_several_outputs_one_must_be_named(tmp_path: Path) -> None:
    main, weight = convolution()
    aux, other = convolution(result="aux", kernel=KERNEL[::-1].copy())
    data = onnx_file([aux, main], [value("aux", MAP), value("y", MAP)], [weight, other])
    words = refusal(data, tmp_path / "m.trocar", external())
    assert "0: aux float32 [3, 3, 64, 96]; 1: y float32 [3, 3, 64, 96]" in words
    assert 'output = "y"' in words
    assert "no output z; it has 0: aux" in refusal(data, tmp_path / "m", external(output="z"))
    labels, _, _ = imported(data, tmp_path / "y.trocar", external(output="y"))
    wanted = own_logits(scene(7, 120, 160))
    assert (labels == wanted.argmax(-1)).mean() > 0.9995
    labels, _, _ = imported(data, tmp_path / "aux.trocar", external(output="aux"))
    assert (labels == wanted[..., ::-1].argmax(-1)).mean() > 0.9995


def test_a_float16_file_states_its_precision(tmp_path: Path) -> None:
    conv, weight = convolution(kernel=KERNEL.astype(np.float16))
    whole = onnx_file([conv], [value("y", MAP, HALF)], [weight], inputs=[image_input(kind=HALF)])
    inner, weight = convolution("h", "l", KERNEL.astype(np.float16))
    nodes = [node("Cast", "x", "h", to=HALF), inner, node("Cast", "l", "y", to=TensorProto.FLOAT)]
    for index, data in enumerate((whole, onnx_file(nodes, [value("y", MAP)], [weight]))):
        out = tmp_path / f"{index}.trocar"
        labels, _, manifest = imported(data, out, external())
        assert manifest.precision == "fp16"
        assert (labels == own_logits(scene(7, 120, 160)).argmax(-1)).mean() > 0.995
        with pytest.raises(ArgumentError, match="is fp16 already and cannot be converted to int8"):
            imported(data, tmp_path / "c.trocar", external(), precision="int8")


@pytest.mark.parametrize("zero_point", [TensorProto.INT8, TensorProto.UINT8])
def test_a_quantised_file_is_int8(zero_point: int, tmp_path: Path) -> None:
    kind = np.int8 if zero_point == TensorProto.INT8 else np.uint8
    conv, weight = convolution("q", "y")
    nodes = [
        node("QuantizeLinear", "x step zero", "i"),
        node("DequantizeLinear", "i step zero", "q"),
        conv,
    ]
    zero = tensor("zero", -128 if kind is np.int8 else 0, kind)
    data = onnx_file(nodes, [value("y", MAP)], [weight, tensor("step", 1), zero])
    labels, _, manifest = imported(data, tmp_path / "m.trocar", external())
    assert manifest.precision == "int8"
    assert (labels == own_logits(scene(7, 120, 160)).argmax(-1)).mean() > 0.98


def test_inputs_are_fed_as_they_want(tmp_path: Path) -> None:
    conv, weight = convolution("t", "y")
    turn = node("Transpose", "x", "t", perm=[0, 3, 1, 2])
    last = onnx_file([turn, conv], [value("y", MAP)], [weight], inputs=[value("x", LAST)])
    cast = node("Cast", "x", "t", to=TensorProto.FLOAT)
    bytes_in = image_input(kind=TensorProto.UINT8)
    whole = onnx_file([cast, conv], [value("y", MAP)], [weight], inputs=[bytes_in])
    for index, data in enumerate((last, whole)):
        labels, _, _ = imported(data, tmp_path / f"{index}.trocar", external())
        assert (labels == own_logits(scene(7, 120, 160)).argmax(-1)).mean() > (0.999, 0.98)[index]
    words = refusal(whole, tmp_path / "m.trocar", external(normalise=True))
    assert "uint8" in words
    assert "normalise = false" in words
    conv, weight = convolution()
    inputs = [image_input(), value("im_shape", ["n", 2])]
    two = onnx_file([conv], [value("y", MAP)], [weight], inputs=inputs)
    assert "takes 2 inputs (x float" in refusal(two, tmp_path / "m.trocar", external())


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        (["n", 1, HEIGHT, WIDTH], "a network of RGB images"),
        (["n", HEIGHT, WIDTH, 4], "a network of RGB images"),
        ([3, HEIGHT, WIDTH], "4 dimensions"),
        (["n", 3, HEIGHT + 8, WIDTH], "correct height and width"),
    ],
)
def test_the_remedy_of_an_input_is_for_what_is_wrong_with_it(
    shape: list[int | str], remedy: str, tmp_path: Path
) -> None:
    conv, weight = convolution()
    data = onnx_file([conv], [value("y", MAP)], [weight], inputs=[value("x", shape)])
    assert remedy in refusal(data, tmp_path / "m.trocar", external())


def test_scores_of_a_classifier_may_be_probabilities(tmp_path: Path) -> None:
    conv, weight = convolution("p", "s", KERNEL * 2)
    nodes = [node("GlobalAveragePool", "x", "p"), conv, node("Softmax", "s", "z", axis=1)]
    data = onnx_file(nodes, [value("z", ["n", 3, 1, 1])], [weight])

    network = canonical_network(
        data, external(task="classification"), source="x", images=[scene(1, 120, 160)]
    )
    assert network.form.kind == "probabilities"
    image = np.full((1, 3, HEIGHT, WIDTH), 90, np.float32)
    image[:, 1] = 120

    session = open_cpu_session(network.data)
    (scores,) = session.run(None, {session.get_inputs()[0].name: image})
    wanted = softmax(np.einsum("kc,c->k", KERNEL * 2, [90, 120, 90])[None])
    np.testing.assert_allclose(softmax(scores), wanted, rtol=1e-4, atol=1e-6)
