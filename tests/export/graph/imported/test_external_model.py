"""Networks and ONNX files that were not trained here: the same graph, gate and bundle."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from export_helpers import SIZE, SmallNet, manifest_of, run_onnx, scene, small_network
from torch import Tensor, nn

from trocar.contract.bundle import open_bundle
from trocar.contract.errors import (
    ArgumentError,
    BundleError,
    CheckpointError,
    ConfigError,
    DataError,
    ParityError,
)
from trocar.export.bundle import bundle_from_onnx, export_bundle
from trocar.export.gate import ExportOptions
from trocar.export.graph.from_onnx import attach_processing
from trocar.export.graph.imported.canonical import canonical_network
from trocar.export.graph.imported.external_model import load_external_network
from trocar.export.graph.input_spec import ExternalModel, read_spec
from trocar.export.parity.types import GateFrame
from trocar.export.reference import original_reference

SPEC = """
height = 64
width = 96
classes = "classes.toml"
"""
NETWORK = """
from export_helpers import SmallNet
from torch import nn

class Dictionary(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = SmallNet()
    def forward(self, x):
        x = self.inner(x)
        return {"aux": x * 0, "out": nn.functional.avg_pool2d(x, 2)}

def make():
    return Dictionary()

def broken(size):
    return Dictionary()

answer = 42
"""


def frames() -> list[GateFrame]:
    return [GateFrame(name=str(s), image=scene(s, 120, 160)) for s in range(3)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    manifest_of().classes.write(tmp_path / "classes.toml")
    (tmp_path / "spec.toml").write_text(SPEC)
    (tmp_path / "theirs_networks.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def external(folder: Path) -> ExternalModel:
    return read_spec(folder / "spec.toml", classes=None)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    inner = small_network().network.state_dict()
    return {f"module.inner.{name}": value for name, value in inner.items()}


def test_a_foreign_network_goes_through_the_same_gate(
    folder: Path, external: ExternalModel, weights: dict[str, Tensor]
) -> None:
    torch.save({"state_dict": weights, "epoch": 3}, folder / "w.pt")
    network = load_external_network("theirs_networks:make", folder / "w.pt", external)
    out = folder / "theirs.trocar"
    report = export_bundle(network, external.manifest, out, frames=frames(), open_model=run_onnx)
    assert report.metrics["multiclass_frames"] == 3
    manifest = open_bundle(out).manifest
    assert manifest.method == "foreign"
    assert manifest.classes.names == ("background", "grasper", "scissors")
    assert manifest.input.mean == (0.485, 0.456, 0.406)


def test_weights_as_safetensors(
    folder: Path, external: ExternalModel, weights: dict[str, Tensor]
) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(weights, folder / "w.safetensors")
    network = load_external_network("theirs_networks:make", folder / "w.safetensors", external)
    first = dict(network.named_parameters())["network.network.inner.first.weight"]
    torch.testing.assert_close(first, weights["module.inner.first.weight"])


class Malicious:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("was-executed"),))


def test_a_malicious_pickle_is_not_executed(folder: Path, external: ExternalModel) -> None:
    (folder / "evil.pt").write_bytes(pickle.dumps({"a": Malicious()}))
    with pytest.raises(CheckpointError, match="as tensors alone"):
        load_external_network("theirs_networks:make", folder / "evil.pt", external)
    torch.save({"a": Malicious()}, folder / "evil2.pt")
    with pytest.raises(CheckpointError):
        load_external_network("theirs_networks:make", folder / "evil2.pt", external)
    assert not (folder / "was-executed").exists()


def test_weights_that_do_not_fit_are_named(
    folder: Path, external: ExternalModel, weights: dict[str, Tensor]
) -> None:
    def attempt(state: object) -> str:
        torch.save(state, folder / "w.pt")
        with pytest.raises(CheckpointError) as caught:
            load_external_network("theirs_networks:make", folder / "w.pt", external)
        return caught.value.message

    part = {k: v for k, v in weights.items() if "head" not in k}
    assert "missing 2 (inner.head" in attempt(part)
    assert "unexpected 1 (more)" in attempt({**weights, "more": torch.zeros(1)})
    wrong = {**weights, "module.inner.head.bias": torch.zeros(9)}
    assert "head.bias" in attempt(wrong)
    assert "expected a state dictionary" in attempt([1, 2])
    with pytest.raises(CheckpointError):
        load_external_network("theirs_networks:make", folder / "nowhere.pt", external)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("theirs_networks", "expected package.module:factory"),
        ("no_such_package:make", "cannot import"),
        ("theirs_networks:maek", "did you mean make"),
        ("theirs_networks:broken", "without arguments"),
        ("theirs_networks:answer", "no function or class"),
    ],
)
def test_modules_that_cannot_be_had(
    folder: Path, external: ExternalModel, module: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_external_network(module, None, external)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("height = 64", "width is missing"),
        ("height = 0\nwidth = 9999", "height is 0.*width is 9999"),
        (SPEC + "mean = [123.7, 116.3, 103.5]", "divide them by 255"),
        (SPEC + "hieght = 3", "did you mean height"),
        ("height = 64\nwidth = 64", "no class table"),
        (SPEC + "std = [0.2, 0.0, 0.2]", "above 0"),
    ],
)
def test_specs_are_checked(folder: Path, text: str, words: str) -> None:
    (folder / "spec.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_spec(folder / "spec.toml", classes=None)


def test_a_missing_spec_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.toml"):
        read_spec(folder / "nowhere.toml", classes=None)


def onnx_of(network: nn.Module, *, size: tuple[int, int] = SIZE, batch: str | None = "n") -> bytes:
    """A file as other people write them: a float tensor in, logits out."""
    program = torch.onnx.export(
        network.eval(),
        (torch.zeros(2 if batch else 1, 3, *size),),
        dynamo=True,
        opset_version=18,
        input_names=["frame"],
        output_names=["labels"],
        dynamic_shapes=({0: batch},) if batch else None,
        verbose=False,
    )
    return program.model_proto.SerializeToString()


@pytest.fixture(scope="module")
def theirs() -> bytes:
    return onnx_of(small_network().network)


def test_a_finished_onnx_file_becomes_a_bundle(
    folder: Path, external: ExternalModel, theirs: bytes
) -> None:
    out = folder / "theirs.trocar"
    report = bundle_from_onnx(
        theirs, external, out, source="theirs.onnx", frames=frames(), open_model=run_onnx
    )
    assert report.reference == "the ONNX file as it was given"
    bundle = open_bundle(out)
    answer = run_onnx(bundle.model)(np.stack([scene(1, 77, 133), scene(2, 77, 133)]))
    assert answer["labels"].shape == (2, 64, 96)
    assert answer["labels"].dtype == np.uint8
    # From here on it is a bundle as any other: half and int8 work too.
    options = ExportOptions(precision="fp16")
    report = bundle_from_onnx(
        theirs, external, folder / "half.trocar", source="x", frames=frames(), open_model=run_onnx,
        options=options,
    )  # fmt: skip
    assert report.extra["conversion"]["layers"] == 3


@pytest.mark.parametrize("change", ['channels = "bgr"', "normalise = false", "std = [1, 1, 1]"])
def test_preprocessing_of_the_wrapped_file_is_the_specs(
    folder: Path, theirs: bytes, change: str
) -> None:
    (folder / "spec.toml").write_text(SPEC + change)
    external = read_spec(folder / "spec.toml", classes=None)
    data, _ = attach_processing(theirs, external, source="theirs.onnx")
    (folder / "w.onnx").write_bytes(data)
    images = np.stack([scene(s, 120, 160) for s in range(2)])
    ours = run_onnx(folder / "w.onnx")(images)["labels"]
    outside = original_reference(canonical_network(theirs, external, source="x"))(images)["labels"]
    assert (ours == outside).mean() > 0.999
    (folder / "spec.toml").write_text(SPEC)
    plain = read_spec(folder / "spec.toml", classes=None)
    other = original_reference(canonical_network(theirs, plain, source="x"))(images)["labels"]
    assert (ours == other).mean() < 0.999


def test_a_wrong_wrapping_is_refused(
    folder: Path, external: ExternalModel, theirs: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trocar.export import bundle as module

    def shifted(data: bytes, spec: ExternalModel, *, source: str) -> tuple:
        made, manifest = attach_processing(data, spec, source=source)
        model = onnx.load_model_from_string(made)
        for node in model.graph.node:
            if node.op_type == "Transpose":
                node.attribute[0].ints[:] = [0, 3, 1, 2]
            if node.op_type == "Sub" and node.output[0] == "centred":
                node.op_type = "Add"
        return model.SerializeToString(), manifest

    monkeypatch.setattr(module, "attach_processing", shifted)
    with pytest.raises(ParityError):
        bundle_from_onnx(
            theirs, external, folder / "m.trocar", source="x", frames=frames(), open_model=run_onnx
        )
    assert not (folder / "m.trocar").exists()


def test_files_that_cannot_be_wrapped_say_why(folder: Path, external: ExternalModel) -> None:
    with pytest.raises(BundleError, match="no valid ONNX"):
        attach_processing(b"nothing", external, source="x.onnx")
    fixed = onnx_of(SmallNet(), batch=None)
    with pytest.raises(ArgumentError, match="batches of 1 only"):
        attach_processing(fixed, external, source="x.onnx")
    other = onnx_of(SmallNet(), size=(32, 48))
    with pytest.raises(ArgumentError, match=r"expected one float32 input \[N, 3, 64, 96\]"):
        attach_processing(other, external, source="x.onnx")
    (folder / "spec.toml").write_text(SPEC + 'output = "masks"')
    named = read_spec(folder / "spec.toml", classes=None)
    with pytest.raises(ArgumentError, match="no output masks"):
        attach_processing(onnx_of(SmallNet()), named, source="x.onnx")


def test_a_frame_in_file_is_taken_as_it_is(
    folder: Path, external: ExternalModel, small_onnx: bytes
) -> None:
    model = onnx.load_model_from_string(small_onnx)
    del model.metadata_props[:]
    data, manifest = attach_processing(model.SerializeToString(), external, source="x.onnx")
    assert [o.name for o in manifest.outputs] == ["labels", "confidence"]
    kept = onnx.load_model_from_string(data)
    assert len(kept.graph.node) == len(model.graph.node)
