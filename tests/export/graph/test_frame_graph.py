"""The frame-in graph and its ONNX form: same labels, any frame size, any batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from export_helpers import Classifier, manifest_of, run_onnx, scene
from torch import Tensor, nn

from trocar.contract.errors import ArgumentError, BundleError
from trocar.contract.graph.logits import logits_tensor
from trocar.contract.manifest import InputSpec
from trocar.export.graph.frame_graph import FrameGraph, Normalised
from trocar.export.graph.from_torch import onnx_from_network
from trocar.export.graph.model_file import load, read_manifest, with_logits_output


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1080, 1920), (481, 333), (96, 128)])
@pytest.mark.parametrize("batch", [1, 3])
def test_labels_agree_at_every_size_and_batch_from_one_file(
    deeplab: nn.Module, deeplab_file: Path, height: int, width: int, batch: int
) -> None:
    frames = np.stack([scene(10 + i, height, width) for i in range(batch)])
    with torch.no_grad():
        graph = FrameGraph(deeplab, manifest_of((96, 128)))
        labels, confidence = (t.numpy() for t in graph(torch.from_numpy(frames)))
    got = run_onnx(deeplab_file)(frames)
    assert got["labels"].shape == (batch, 96, 128)
    assert got["labels"].dtype == np.uint8
    assert got["confidence"].dtype == np.float16
    assert len(np.unique(labels)) >= 2, "a frame of one class would show nothing"
    assert (got["labels"] == labels).mean() >= 0.999
    np.testing.assert_allclose(got["confidence"], confidence, atol=2e-3)


def test_confidence_is_the_largest_softmax(small: nn.Module) -> None:
    frames = torch.from_numpy(scene(0, 100, 90)[None])
    with torch.no_grad():
        _, confidence, logits = FrameGraph(small, manifest_of(), with_logits=True)(frames)
    expected = logits.softmax(1).amax(1)
    torch.testing.assert_close(confidence.float(), expected, atol=1e-3, rtol=0)


def test_a_frame_of_network_size_is_not_resized(small: nn.Module) -> None:
    frame = scene(3, 64, 96)
    with torch.no_grad():
        whole = FrameGraph(small, manifest_of(), with_logits=True)(torch.from_numpy(frame[None]))[2]
        bare = small(torch.from_numpy(frame).permute(2, 0, 1)[None].float())
    torch.testing.assert_close(whole, bare)


class PaddedPool(nn.Module):
    """Zeros round features that are all negative, then max-pooling, as in HGNetV2's stem."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(3)[:, :, None, None])
            self.first.bias.fill_(-300)  # type: ignore[union-attr]

    def forward(self, image: Tensor) -> Tensor:
        padded = nn.functional.pad(self.first(image), (0, 1, 0, 1))
        return nn.functional.max_pool2d(padded, 2, 1) * torch.tensor([1.0, 2.0, 3.0])[:, None, None]


def test_zeros_before_a_max_pooling_stay_zeros(tmp_path: Path) -> None:
    network, frames = PaddedPool(), scene(4, 64, 96)[None]
    data, _ = onnx_from_network(network, manifest_of())
    (tmp_path / "model.onnx").write_bytes(with_logits_output(data))
    got = run_onnx(tmp_path / "model.onnx")(frames)["logits"]
    with torch.no_grad():
        expected = FrameGraph(network, manifest_of(), with_logits=True)(torch.from_numpy(frames))[2]
    assert (expected[..., -1] == 0).all(), "the padding wins at the right edge"
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-3)


def test_the_file_holds_its_manifest_and_no_trace_of_the_machine(small_onnx: bytes) -> None:
    model = onnx.load_model_from_string(small_onnx)
    manifest = read_manifest(model)
    assert [o.name for o in manifest.outputs] == ["labels", "confidence"]
    assert manifest.outputs[0].shape == ("batch", 64, 96)
    assert model.opset_import[0].version == 20
    assert b".py" not in small_onnx
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert any(name.startswith("network.network.first") for name in names)


def test_the_twin_is_the_same_graph_with_logits(
    small: nn.Module, small_onnx: bytes, tmp_path: Path
) -> None:
    with_logits = with_logits_output(small_onnx)
    onnx.checker.check_model(onnx.load_model_from_string(with_logits), full_check=True)
    (tmp_path / "with_logits.onnx").write_bytes(with_logits)
    frames = np.stack([scene(i, 130, 170) for i in range(2)])
    got = run_onnx(tmp_path / "with_logits.onnx")(frames)
    with torch.no_grad():
        logits = FrameGraph(small, manifest_of(), with_logits=True)(torch.from_numpy(frames))[2]
    np.testing.assert_allclose(got["logits"], logits.numpy(), atol=1e-3)
    assert (got["logits"].argmax(1) == got["labels"]).all()
    assert [o.name for o in read_manifest(load(with_logits)).outputs][-1] == "logits"


def test_a_classifier_gives_scores_and_embedding(tmp_path: Path) -> None:
    torch.manual_seed(0)
    manifest = manifest_of((40, 48), task="classification")
    network = Normalised(Classifier(), manifest.input).eval()
    data, whole = onnx_from_network(network, manifest)
    assert [(o.name, o.shape) for o in whole.outputs] == [
        ("scores", ("batch", 3)),
        ("embedding", ("batch", 8)),
    ]
    assert logits_tensor(load(data)) is None
    assert with_logits_output(data) == data
    (tmp_path / "m.onnx").write_bytes(data)
    frames = np.stack([scene(i, 77, 91) for i in range(3)])
    got = run_onnx(tmp_path / "m.onnx")(frames)
    with torch.no_grad():
        scores, embedding = FrameGraph(network, manifest)(torch.from_numpy(frames))
    np.testing.assert_allclose(got["scores"], scores.numpy(), atol=1e-5)
    np.testing.assert_allclose(got["embedding"], embedding.numpy(), atol=1e-5)


def test_normalised_knows_bgr_networks() -> None:
    spec = InputSpec(height=4, width=4, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    image = torch.rand(1, 3, 4, 4) * 255
    rgb = Normalised(nn.Identity(), spec)(image)
    bgr = Normalised(nn.Identity(), spec, channels="bgr")(image)
    assert isinstance(rgb, Tensor)
    torch.testing.assert_close(rgb.flip(1), bgr)
    mean = torch.tensor(spec.mean).view(1, 3, 1, 1)
    std = torch.tensor(spec.std).view(1, 3, 1, 1)
    torch.testing.assert_close(rgb, (image / 255 - mean) / std)


class Bessel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


def test_an_operation_without_onnx_form_is_named_with_its_layer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1))
    network.add_module("odd", Bessel())
    with pytest.raises(ArgumentError) as caught:
        onnx_from_network(network.eval(), manifest_of((16, 16)))
    assert "bessel_j0" in caught.value.message
    assert "layer odd (Bessel)" in caught.value.message
    assert caught.value.remedy


def test_a_branch_on_data_is_named_with_its_line() -> None:
    class Branch(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return y * 2 if y.sum() > 0 else y

    with pytest.raises(ArgumentError, match=r"test_frame_graph\.py:\d+ in forward"):
        onnx_from_network(Branch(3, 3, 1).eval(), manifest_of((16, 16)))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Conv2d(3, 4, 1), "classes or size differ"),
        (nn.Conv2d(3, 3, 1, stride=2), "classes or size differ"),
    ],
)
def test_a_network_that_breaks_its_manifest_is_refused(network: nn.Module, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        onnx_from_network(network, manifest_of((16, 16)))


def test_a_truncated_file_is_refused(small_onnx: bytes) -> None:
    with pytest.raises(BundleError, match="no valid ONNX"):
        load(small_onnx[: len(small_onnx) // 2])


def test_a_foreign_file_has_no_manifest(small_onnx: bytes) -> None:
    model = onnx.load_model_from_string(small_onnx)
    del model.metadata_props[:]
    with pytest.raises(BundleError, match="trocar import-onnx"):
        read_manifest(model)
