"""PyTorch networks of other origin: their outputs, their checkpoints and their faults."""

from __future__ import annotations

import argparse
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from export_helpers import run_onnx, scene
from onnx_files import HEIGHT, KERNEL, WIDTH, external, own_logits, softmax
from torch import Tensor, nn

from trocar.contract.bundle import open_bundle
from trocar.contract.errors import ArgumentError, CheckpointError, ConfigError, TrocarError
from trocar.export.bundle import export_bundle
from trocar.export.graph.from_torch import onnx_from_network
from trocar.export.graph.imported.checkpoint import load_weights
from trocar.export.graph.imported.external_model import load_external_network
from trocar.export.graph.imported.torch_output import find_output, named_tensors
from trocar.export.graph.input_spec import ExternalModel
from trocar.export.parity.types import GateFrame


def convolution(kernel: np.ndarray = KERNEL) -> nn.Conv2d:
    conv = nn.Conv2d(3, len(kernel), 1, bias=False)
    conv.weight.data = torch.from_numpy(kernel.copy()).reshape(len(kernel), 3, 1, 1)
    return conv


class Tiny(nn.Module):
    """The network of the ONNX files, with any tail."""

    def __init__(self, tail: object = None, kernel: np.ndarray = KERNEL) -> None:
        super().__init__()
        self.head = convolution(kernel)
        self.tail = tail

    def forward(self, image: Tensor) -> object:
        logits = self.head(image)
        return logits if self.tail is None else self.tail(logits)


@dataclass
class Fields:
    aux: Tensor
    main: Tensor


Pair = namedtuple("Pair", "aux main")


def made(network: nn.Module, model: ExternalModel, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    import onnx_files

    monkeypatch.setattr(onnx_files, "make_network", lambda: network, raising=False)
    return load_external_network("onnx_files:make_network", None, model)


def logits_of(network: nn.Module, model: ExternalModel, patch: pytest.MonkeyPatch) -> np.ndarray:
    """Logits ``[h,w,K]`` of the adapted network for one frame."""
    import cv2

    image = cv2.resize(scene(7, 120, 160).astype(np.float32), (WIDTH, HEIGHT))
    with torch.no_grad():
        value = made(network, model, patch)(torch.from_numpy(image).permute(2, 0, 1)[None])
    assert value.shape[2:] == (HEIGHT, WIDTH)
    return value[0].permute(1, 2, 0).numpy()


WANTED = own_logits(scene(7, 120, 160))
CONTAINERS = {
    "list": (lambda y: [-y, y], ("1", "-1"), ("2", "-3", "main", "")),
    "tuple of three": (lambda y: (-y, y, -y), ("1", "-2"), ("3", "")),
    "namedtuple": (lambda y: Pair(-y, y), ("main", "1", "-1"), ("mian", "")),
    "dataclass": (lambda y: Fields(-y, y), ("main",), ("mian", "")),
    "mapping": (lambda y: {"out": -y, "main": y}, ("main",), ("mian", "1")),
    "mapping of one usual name": (lambda y: {"aux": -y, "out": y}, ("", "out"), ("logits",)),
    "mapping of no usual name": (lambda y: {"aux": -y, "main": y}, ("main",), ("",)),
    "nested": (
        lambda y: {"decode": {"logits": y, "aux": -y}, "aux": -y},
        ("decode", "decode.logits"),
        ("decode.main", "logits", ""),
    ),
    "list of one": (lambda y: [y], ("", "0"), ("1",)),
    "tensor": (lambda y: y, ("", "0"), ("1", "main")),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_named_output_is_taken_and_no_other(
    container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail, good, bad = CONTAINERS[container]
    for name in good:
        got = logits_of(Tiny(tail), external(output=name), monkeypatch)
        np.testing.assert_allclose(got, WANTED, rtol=1e-4, atol=1e-3)
    for name in bad:
        with pytest.raises(ArgumentError, match=r"it returns .*float32") as caught:
            made(Tiny(tail), external(output=name), monkeypatch)
        assert "output = " in caught.value.remedy


def test_names_in_the_message_are_names_that_work() -> None:
    output = {"a": [torch.zeros(1), torch.ones(1)], "b": Pair(torch.zeros(2), torch.ones(2))}
    for name, tensor in named_tensors(output):
        assert find_output(output, name) is tensor


def test_probabilities_keep_their_confidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tails = {
        "softmax": lambda y: y.softmax(1),
        "channels last": lambda y: y.movedim(1, -1),
        "softmax, channels last": lambda y: y.softmax(1).movedim(1, -1),
    }
    for tail in tails.values():
        got = logits_of(Tiny(tail), external(), monkeypatch)
        np.testing.assert_allclose(softmax(got), softmax(WANTED), atol=1e-5)
    model = external()
    network = made(Tiny(tails["softmax"]), model, monkeypatch)
    frames = [GateFrame(name=str(s), image=scene(s, 120, 160)) for s in range(3)]
    out = tmp_path / "m.trocar"
    export_bundle(network, model.manifest, out, frames=frames, open_model=run_onnx)
    result = run_onnx(open_bundle(out).model)(scene(7, 120, 160)[None])
    assert (result["labels"][0] == WANTED.argmax(-1)).mean() > 0.9995
    np.testing.assert_allclose(result["confidence"][0], softmax(WANTED).max(-1), atol=2e-3)


@pytest.mark.parametrize("tail", [None, torch.sigmoid])
def test_one_channel_is_two_classes(tail: object, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = np.array([[-0.05, 0, 0.05]], np.float32)
    got = softmax(logits_of(Tiny(tail, kernel), external(2), monkeypatch))
    share = 1 / (1 + np.exp(WANTED[..., 0].astype(float) - WANTED[..., 1]))
    np.testing.assert_allclose(got[..., 1], share, atol=1e-4)
    with pytest.raises(ArgumentError, match=r"has 1 channels .* has 3 classes"):
        made(Tiny(tail, kernel), external(3), monkeypatch)


def test_labels_become_certain_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    got = logits_of(Tiny(lambda y: y.argmax(1)), external(), monkeypatch)
    assert (got.argmax(-1) == WANTED.argmax(-1)).mean() > 0.9995
    assert softmax(got).max(-1).min() > 0.999


@pytest.mark.parametrize("channels", [2, 4, 300])
def test_channels_are_compared_with_the_class_table(
    channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArgumentError, match=f"has {channels} channels .* has 3 classes"):
        made(Tiny(kernel=np.resize(KERNEL, (channels, 3))), external(), monkeypatch)


class Divided(Tiny):
    def forward(self, image: Tensor) -> object:
        if image.shape[-2] % 32:
            raise RuntimeError("height and width must be divisible by 32")
        return super().forward(image)


class NeedsSize(Tiny):
    def forward(self, image: Tensor, size: int) -> object:
        return super().forward(image)


class Random(Tiny):
    def forward(self, image: Tensor) -> object:
        return super().forward(nn.functional.dropout(image, 0.2))


@pytest.mark.parametrize(
    ("network", "height", "words"),
    [
        (Divided(), 70, r"failed on an image \[1, 3, 70, 96\]: height and width must be divisible"),
        (NeedsSize(), 64, "missing 1 required positional argument: 'size'"),
        (Random(), 64, "answers differently each time"),
    ],
)
def test_faults_of_the_network_are_errors_in_words(
    network: nn.Module, height: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArgumentError, match=words) as caught:
        made(network, external(height=height), monkeypatch)
    assert caught.value.remedy


class Windows(Tiny):
    """Divides into windows, and counts the images with a division of Python."""

    def forward(self, image: Tensor) -> object:
        y = super().forward(image)
        _, classes, height, width = y.shape
        rows = y.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1)
        rows = rows.reshape(-1, 8, 8, classes)
        count = int(rows.shape[0] / (height * width / 64))
        y = rows.view(count, height // 8, width // 8, 8, 8, -1).permute(0, 5, 1, 3, 2, 4)
        return y.reshape(count, -1, height, width)


def test_a_batch_that_becomes_a_constant_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = external()
    network = made(Windows(), model, monkeypatch)
    with pytest.raises(ArgumentError, match=r"the batch became a constant at \S*Reshape") as caught:
        onnx_from_network(network, model.manifest)
    assert "-1 stand for the batch" in caught.value.remedy


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_named_for_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = torch.jit.trace(convolution(), torch.zeros(1, 3, HEIGHT, WIDTH))
    with pytest.raises(TrocarError, match="TorchScript module"):
        made(scripted, external(), monkeypatch)
    scripted.save(str(tmp_path / "theirs.pt"))
    with pytest.raises(CheckpointError, match="TorchScript"):
        load_weights(convolution(), tmp_path / "theirs.pt")


def test_a_factory_that_fails_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx_files

    def fail() -> nn.Module:
        raise ValueError("no such encoder")

    monkeypatch.setattr(onnx_files, "make_network", fail, raising=False)
    with pytest.raises(ConfigError, match="ValueError: no such encoder"):
        load_external_network("onnx_files:make_network", None, external())


STATE = {"head.weight": torch.full((3, 3, 1, 1), 0.25)}


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in STATE.items()}


OTHER = {"head.weight": torch.zeros(3, 3, 1, 1)}
CHECKPOINTS = {
    "plain": STATE,
    "DataParallel": {"model": prefixed("module.")},
    "compiled": prefixed("_orig_mod.module."),
    "Lightning": {"state_dict": {**prefixed("model."), "loss.weight": torch.ones(3)}, "epoch": 3},
    "Lightning, net": {"state_dict": prefixed("net.")},
    "EMA beside the weights": {"state_dict": OTHER, "state_dict_ema": STATE},
    "torch AveragedModel": {**prefixed("module."), "n_averaged": torch.tensor(7)},
    "mmengine": {"state_dict": STATE, "meta": {"best": np.float64(0.7)}, "message_hub": {}},
    "mmengine EMA": {"ema_state_dict": {**prefixed("module."), "steps": torch.tensor(7)}},
    "DETR": {"model": STATE, "args": argparse.Namespace(lr=1e-4), "optimizer": {}},
    "nested": {"model": {"state_dict": STATE}},
}


@pytest.mark.parametrize("trainer", CHECKPOINTS)
def test_checkpoints_of_trainers_are_read(trainer: str, tmp_path: Path) -> None:
    torch.save(CHECKPOINTS[trainer], tmp_path / "w.pt")
    network = Tiny()
    load_weights(network, tmp_path / "w.pt")
    torch.testing.assert_close(network.head.weight.data, STATE["head.weight"])


class Settings:
    """A class of the trainer's own."""


def test_the_refused_type_is_named(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "cfg": Settings()}, tmp_path / "w.pt")
    with pytest.raises(
        CheckpointError, match=r"of type [\w.]*test_torch_networks\.Settings"
    ) as caught:
        load_weights(Tiny(), tmp_path / "w.pt")
    assert "\x1b" not in caught.value.message
    with pytest.raises(CheckpointError, match="there is no file"):
        load_weights(Tiny(), tmp_path / "nowhere.pt")


def test_two_networks_in_one_checkpoint_are_refused(tmp_path: Path) -> None:
    torch.save({**prefixed("student."), **prefixed("teacher.")}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"2 such networks: student\., teacher\."):
        load_weights(Tiny(), tmp_path / "w.pt")
