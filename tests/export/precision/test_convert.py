"""float16 and int8 in the ONNX file: typed as asked, within limits, sensitive layers left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from export_helpers import SmallNet, frames_of, manifest_of, run_onnx, scene, trained, truth
from shared_files import made_once
from torch import Tensor, nn

from trocar.contract.bundle import open_bundle
from trocar.contract.errors import ArgumentError, BundleError, DataError, ParityError
from trocar.export.bundle import convert_bundle, export_bundle
from trocar.export.gate import ExportOptions
from trocar.export.graph.body import layer_groups, network_body
from trocar.export.graph.from_torch import onnx_from_network
from trocar.export.parity.limits import Limits
from trocar.export.parity.types import GateFrame
from trocar.export.precision.convert import ConversionOptions, convert
from trocar.export.precision.float16 import activation_peaks, convert_to_float16, emulate_float16

SIZE = (96, 128)


def gate(count: int = 3) -> list[GateFrame]:
    return [
        GateFrame(name=f"f{s}", image=scene(s, 120, 160), ground_truth=truth(s, 120, 160))
        for s in range(20, 20 + count)
    ]


@pytest.fixture(scope="module")
def float_bundle(deeplab: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(out: Path) -> None:
        export_bundle(deeplab, manifest_of(SIZE), out, frames=gate(), open_model=run_onnx)

    return made_once(tmp_path_factory, "f32.trocar", make)


def kinds(path: Path) -> dict[str, set[int]]:
    """Element types of the weights of convolutions, by what feeds them."""
    model = onnx.load(path)
    initial = {t.name: t.data_type for t in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}
    found: dict[str, set[int]] = {"direct": set(), "dequantised": set()}
    for node in model.graph.node:
        if node.op_type == "Conv":
            weight = node.input[1]
            if weight in initial:
                found["direct"].add(initial[weight])
            elif made[weight].op_type == "DequantizeLinear":
                found["dequantised"].add(initial[made[weight].input[0]])
    return found


@pytest.mark.parametrize(
    ("precision", "target"), [("fp16", "cpu"), ("int8", "cpu"), ("int8", "tensorrt")]
)
def test_a_bundle_is_converted_and_verified(
    float_bundle: Path, tmp_path: Path, precision: str, target: str
) -> None:
    out = tmp_path / "small.trocar"
    report = convert_bundle(
        float_bundle,
        out,
        frames=gate(),
        open_model=run_onnx,
        options=ExportOptions(precision=precision, int8_target=target, calibration=frames_of(8)),
    )
    bundle = open_bundle(out)
    assert bundle.manifest.precision == precision
    assert report.metrics["equal"] >= (0.999 if precision == "fp16" else 0.99)
    assert report.ground_truth["candidate"]["mean_iou"] > 0.5
    sizes = report.extra["onnx_bytes"]
    ratio = sizes[precision] / sizes["fp32"]
    assert ratio < (0.55 if precision == "fp16" else 0.4)
    types = kinds(bundle.model)
    if precision == "fp16":
        assert types == {"direct": {onnx.TensorProto.FLOAT16}, "dequantised": set()}
        # Rounding shows: weights alone would move the logits less.
        assert report.extra["float16_arithmetic"]["mean_logit_difference"] > 0
    else:
        assert types == {"direct": set(), "dequantised": {onnx.TensorProto.INT8}}
    stored = json.loads(bundle.read("parity.json"))
    assert stored["precision"] == precision
    assert stored["extra"]["conversion"]["layers"] == 67
    assert stored["extra"]["milliseconds"]["exported"] > 0


def test_preprocessing_and_outputs_stay_as_they_are(small_onnx: bytes) -> None:
    data, kept = convert_to_float16(small_onnx)
    assert kept == []
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(data), strict_mode=True)
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    half = onnx.TensorProto.FLOAT16
    for node in model.graph.node:
        if node.name in ("network/Sub", "network/Mul", "frame/Exp", "frame/ReduceMax"):
            assert types[node.output[0]] == onnx.TensorProto.FLOAT, node.name
        if node.op_type in ("Conv", "Relu", "Add"):
            assert types[node.output[0]] == half, node.name
    outputs = {o.name: o.type.tensor_type.elem_type for o in model.graph.output}
    assert outputs == {"labels": onnx.TensorProto.UINT8, "confidence": half}


def test_int8_graphs_differ_where_their_targets_do(
    small_onnx: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {
        target: onnx.load_model_from_string(
            convert(
                small_onnx,
                options=ConversionOptions(
                    precision="int8", int8_target=target, calibration=frames_of(2)
                ),
                evaluate_candidate=lambda _: Passed(),
            ).data
        )
        for target in ("cpu", "tensorrt")
    }
    points = {
        target: {
            t.data_type
            for t in model.graph.initializer
            for n in model.graph.node
            if n.op_type == "QuantizeLinear" and t.name == n.input[2]
        }
        for target, model in made.items()
    }
    assert points == {"cpu": {onnx.TensorProto.UINT8}, "tensorrt": {onnx.TensorProto.INT8}}
    biases = {
        target: {
            t.data_type
            for t in model.graph.initializer
            for n in model.graph.node
            if n.op_type == "DequantizeLinear" and t.name == n.input[0]
        }
        for target, model in made.items()
    }
    assert onnx.TensorProto.INT32 in biases["cpu"]
    assert biases["tensorrt"] == {onnx.TensorProto.INT8}
    for model in made.values():
        assert {entry.domain for entry in model.opset_import} == {""}


class Passed:
    passed = True
    failures = ()


class Loud(nn.Module):
    """A network whose middle is beyond float16's range."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = SmallNet()

    def forward(self, image: Tensor) -> Tensor:
        x = self.inner.norm(self.inner.first(image)).relu()
        loud = nn.functional.conv2d(x * 1e6, self.inner.second.weight, padding=1) * 1e-6
        x = self.inner.head(loud.relu() + x)
        return nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def test_activations_beyond_half_stay_float32(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = trained(Loud(), manifest_of(), steps=60, rate=1e-2)
    data, _ = onnx_from_network(network, manifest_of())
    peaks = activation_peaks(data, frames_of(2))
    assert max(peaks.values()) > 65504
    naive = emulate_float16(convert_to_float16(data)[0])(np.stack(frames_of(1)))
    assert not np.isfinite(naive["confidence"]).all()
    report = export_bundle(
        network,
        manifest_of(),
        tmp_path / "m.trocar",
        frames=gate(),
        open_model=run_onnx,
        options=ExportOptions(precision="fp16"),
    )
    kept = report.extra["conversion"]
    assert kept["large_activations"]
    assert "network.network.inner.head/Conv" not in kept["float32_layers"]
    assert report.metrics["equal"] >= 0.999


class Touchy(SmallNet):
    """One outlier channel in the middle makes a per-tensor int8 scale useless there."""

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(image)))
        x = torch.relu(self.second(x)) + x
        spike = torch.cat([x, x[:, :1] * 3000], 1)
        weight = torch.cat([self.head.weight, self.head.weight[:, :1] * 0], 1)
        x = nn.functional.conv2d(spike, weight, self.head.bias)
        return nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def test_layers_that_cost_accuracy_are_left_out_of_int8(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = trained(Touchy(), manifest_of(), steps=60, rate=1e-2)
    report = export_bundle(
        network,
        manifest_of(),
        tmp_path / "m.trocar",
        frames=gate(),
        open_model=run_onnx,
        options=ExportOptions(precision="int8", calibration=frames_of(6)),
    )
    about = report.extra["conversion"]
    assert about["why"]
    assert 1 <= len(about["float32_layers"]) < about["layers"]
    worst = max(about["sensitivity"], key=lambda row: row["mean_logit_difference"])
    assert set(worst["layers"]) <= set(about["left_out_by_measuring"])
    assert kinds(tmp_path / "m.trocar" / "model.onnx")["dequantised"] == {onnx.TensorProto.INT8}


def test_int8_without_an_int8_layer_is_refused(small: nn.Module, tmp_path: Path) -> None:
    strict = Limits.of("int8").with_flags({"mean_logit_share": 1e-5})
    with pytest.raises(ParityError, match="no part of the network can be int8"):
        export_bundle(
            small,
            manifest_of(),
            tmp_path / "m.trocar",
            frames=gate(),
            open_model=run_onnx,
            options=ExportOptions(precision="int8", limits=strict, calibration=frames_of(2)),
        )
    assert list(tmp_path.iterdir()) == []


def test_layers_can_be_kept_by_name(small_onnx: bytes) -> None:
    options = ConversionOptions(precision="fp16", keep_float32=["network.network.head/"])
    done = convert(small_onnx, options=options, evaluate_candidate=lambda _: Passed())
    assert done.about["float32_layers"] == ["network.network.head/Conv"]
    model = onnx.load_model_from_string(done.data)
    types = {t.name: t.data_type for t in model.graph.initializer}
    conv = next(n for n in model.graph.node if n.name == "network.network.head/Conv")
    assert types[conv.input[1]] == onnx.TensorProto.FLOAT
    with pytest.raises(ArgumentError, match="no layer 'nowhere'"):
        convert(
            small_onnx,
            options=replace(options, keep_float32=["nowhere"]),
            evaluate_candidate=lambda _: Passed(),
        )


def test_int8_without_frames_is_refused(float_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--calibrate"):
        convert_bundle(
            float_bundle,
            tmp_path / "m.trocar",
            frames=gate(),
            open_model=run_onnx,
            options=ExportOptions(precision="int8"),
        )
    assert list(tmp_path.iterdir()) == []


def test_only_float32_bundles_are_converted(float_bundle: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.trocar"
    options = ExportOptions(precision="fp16")
    convert_bundle(float_bundle, half, frames=gate(2), open_model=run_onnx, options=options)
    with pytest.raises(BundleError, match="is fp16"):
        convert_bundle(
            half, tmp_path / "again.trocar", frames=gate(2), open_model=run_onnx, options=options
        )


def test_groups_cover_the_body_once(deeplab_onnx: bytes) -> None:
    model = onnx.load_model_from_string(deeplab_onnx)
    groups = layer_groups(model)
    assert len(groups) == 16
    flat = [name for group in groups for name in group]
    assert flat == [node.name for node in network_body(model)]
