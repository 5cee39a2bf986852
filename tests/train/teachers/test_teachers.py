"""Teachers of every kind give the logits of the model, in the classes and size of the student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from teacher_files import KERNEL, write_foreign
from tiny_bundle import make_tiny_bundle, tiny_frame, tiny_table

from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError, DataError, IntegrityError
from trocar.contract.manifest import InputSpec
from trocar.runtime.session import Session
from trocar.train.methods import find_method
from trocar.train.methods.protocol import ModelSpec
from trocar.train.state.checkpoint import Checkpoint, save_checkpoint
from trocar.train.teachers.open import open_teacher
from trocar.train.teachers.teacher import MatchedTeacher

SIZE = (64, 80)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("teacher") / "tiny.trocar")


@pytest.fixture
def images() -> torch.Tensor:
    frames = np.stack([tiny_frame(*SIZE, shift=shift) for shift in (0, 9)])
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float()


def matched(path: Path, table: ClassTable, **given: Any) -> MatchedTeacher:
    values = {"size": SIZE, "resize": False, **given}
    return MatchedTeacher(open_teacher(path), table, **values)


def save_run(path: Path, method: str, config: dict[str, Any]) -> Any:
    """A run folder with the checkpoint of a network that was not trained; gives the network."""
    kind = find_method(method)
    made = kind(kind.Config(**config))
    torch.manual_seed(0)
    height, width = config["size"]
    spec = ModelSpec(name="t", classes=tiny_table(), input=InputSpec(height=height, width=width))
    network = made.build(spec)
    path.mkdir()
    save_checkpoint(
        path / "best.ckpt",
        Checkpoint(
            method=method, config=config, run={}, spec=spec, step=1,
            weights=network.state_dict(), optimizer={}, state={}, source={},
        ),
    )  # fmt: skip
    return network.eval()


def test_a_bundle_gives_its_logits(bundle: Path, images: torch.Tensor) -> None:
    logits = matched(bundle, tiny_table())(images)
    assert logits.shape == (2, 3, *SIZE)
    assert not logits.requires_grad
    with Session.open(bundle) as session:
        found = session.infer(images.permute(0, 2, 3, 1).byte().numpy())
    assert (logits.argmax(1).numpy() == found["labels"]).all()
    np.testing.assert_allclose(
        logits.softmax(1).amax(1).numpy(), found["confidence"].astype(np.float32), atol=2e-3
    )
    bare = matched(bundle / "model.onnx", tiny_table())
    assert torch.equal(bare(images), logits)
    assert bare.teacher.origin["kind"] == "onnx"


def test_classes_are_matched_by_name(bundle: Path, images: torch.Tensor) -> None:
    plain = matched(bundle, tiny_table())(images)
    other = ClassTable.from_names(["background", "scissors", "grasper"])
    assert torch.equal(matched(bundle, other)(images), plain[:, [0, 2, 1]])


def test_other_classes_are_refused(bundle: Path, tmp_path: Path) -> None:
    for names in (["background", "grasper"], ["background", "grasper", "hook"]):
        with pytest.raises(DataError, match="has the classes background, grasper, scissors; the d"):
            matched(bundle, ClassTable.from_names(names))
    foreign = write_foreign(tmp_path / "four.onnx", SIZE, classes=4)
    with pytest.raises(DataError, match="has 4 classes, the data have 3"):
        matched(foreign, tiny_table())


def test_another_size_is_refused_unless_images_are_resized(
    bundle: Path, images: torch.Tensor
) -> None:
    with pytest.raises(ConfigError, match=r"takes 80x64 .*the student 96x96") as caught:
        matched(bundle, tiny_table(), size=(96, 96))
    assert "--size 80x64" in caught.value.remedy
    assert "--teacher-resize" in caught.value.remedy
    large = torch.nn.functional.interpolate(images, size=(96, 96), mode="nearest")
    resized = matched(bundle, tiny_table(), size=(96, 96), resize=True)(large)
    assert resized.shape == (2, 3, 96, 96)
    plain = matched(bundle, tiny_table())(images).argmax(1)
    small = torch.nn.functional.interpolate(resized, size=SIZE, mode="bilinear").argmax(1)
    assert (small == plain).float().mean() > 0.95


def test_a_run_gives_the_logits_of_its_network(tmp_path: Path, images: torch.Tensor) -> None:
    config = {"size": SIZE, "encoder": "tu-lcnet_050", "decoder_channels": 16}
    network = save_run(tmp_path / "run", "supervised", config)
    teacher = matched(tmp_path / "run", tiny_table())
    with torch.no_grad():
        assert torch.allclose(teacher(images), network(images), atol=1e-5)


def test_another_task_is_refused(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "classifier", {"size": (32, 32), "backbone": "test_resnet"})
    with pytest.raises(ConfigError, match="a model for classification, expected one for seg"):
        open_teacher(tmp_path / "run")


def test_a_foreign_file_is_normalised_as_told(tmp_path: Path, images: torch.Tensor) -> None:
    file = write_foreign(tmp_path / "t.onnx", ("h", "w"))
    teacher = open_teacher(file, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    assert teacher.size is None
    answer = MatchedTeacher(teacher, tiny_table(), size=SIZE, resize=False)(images)
    values = images.numpy().astype(np.float64) / 255
    mean, std = ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    values = (values - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    expected = np.einsum("kc,bchw->bkhw", KERNEL.astype(np.float64), values)
    np.testing.assert_allclose(answer.numpy(), expected, atol=1e-4)


def test_probabilities_become_logits(tmp_path: Path, images: torch.Tensor) -> None:
    plain = matched(write_foreign(tmp_path / "a.onnx", SIZE), tiny_table())(images)
    shares = matched(write_foreign(tmp_path / "b.onnx", SIZE, softmax=True), tiny_table())(images)
    assert torch.allclose(shares.softmax(1), plain.softmax(1), atol=1e-5)
    assert torch.allclose((shares / 4).softmax(1), (plain / 4).softmax(1), atol=1e-4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"channels": 1}, r"it takes x tensor\(float\).*expected one float image"),
        ({"batch": 1}, "cannot be used"),
    ],
)
def test_what_a_foreign_file_must_be(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    file = write_foreign(tmp_path / "t.onnx", SIZE, **given)
    with pytest.raises(DataError, match=words) as caught:
        open_teacher(file)
    assert "trocar import-onnx" in caught.value.remedy


def test_damaged_and_missing_teachers(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no teacher"):
        open_teacher(tmp_path / "none")
    (tmp_path / "empty.onnx").write_bytes(b"no graph")
    with pytest.raises(DataError, match="cannot be used"):
        open_teacher(tmp_path / "empty.onnx")
    changed = make_tiny_bundle(tmp_path / "changed.trocar")
    with (changed / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IntegrityError):
        open_teacher(changed)
