"""Distillation against its formula, and a whole run of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import method_formulas as formulas
import numpy as np
import pytest
import torch
from method_cases import LATE
from method_subjects import SPEC, labelled_images
from teacher_files import write_foreign
from train_fixtures import TINY, TINY_RUN

from trocar.contract.errors import CheckpointError, ConfigError
from trocar.train.data.config import DatasetPaths
from trocar.train.data.leakage import fingerprint, merged
from trocar.train.methods.distillation import soft_label_loss
from trocar.train.run import TrainRequest, run_method
from trocar.train.state.checkpoint import load_deployable, read_checkpoint
from trocar.train.teachers.open import open_teacher

SETTINGS = {**TINY, **TINY_RUN, "size": [64, 80], "steps": 2, "augmentation": "none"}


def test_the_losses_are_those_of_the_formulas(make_method: Callable[..., Any]) -> None:
    method = make_method(
        "distillation", w_ce=0.7, w_dice=1.3, w_soft=0.6, temperature=3.0, dropout=0.0
    )
    torch.manual_seed(0)
    network = method.build(SPEC).train()
    answers = [3 * torch.randn(2, 3, 64, 80) for _ in range(2)]
    labelled, unlabelled = labelled_images(), {"image": torch.rand(2, 3, 64, 80) * 255}
    asked: list[torch.Tensor] = []

    def teacher(image: torch.Tensor) -> torch.Tensor:
        asked.append(image)
        return torch.cat(answers)

    method.teacher = teacher
    made: list[torch.Tensor] = []
    network.register_forward_hook(lambda *arguments: made.append(arguments[2]))
    terms = method.losses({"labelled": labelled, "unlabelled": unlabelled}, LATE)
    assert len(asked) == 1
    assert torch.equal(asked[0], torch.cat([labelled["image"], unlabelled["image"]]))
    students = [m.detach().numpy() for m in made]
    mask = labelled["mask"].numpy()
    assert float(terms["ce"].detach()) == pytest.approx(
        0.7 * formulas.cross_entropy(students[0], mask).mean(), rel=1e-4
    )
    assert float(terms["dice"].detach()) == pytest.approx(
        1.3 * formulas.dice(students[0], mask).mean(), rel=1e-4
    )
    each = np.concatenate(
        [formulas.soft_labels(s, t.numpy(), 3.0) for s, t in zip(students, answers, strict=True)]
    )
    assert float(terms["soft"].detach()) == pytest.approx(0.6 * each.mean(), rel=1e-4)
    agreeing = np.mean(
        [
            (s.argmax(1) == t.numpy().argmax(1)).mean()
            for s, t in zip(students, answers, strict=True)
        ]
    )
    assert float(method.logged["teacher_agreement"]) == pytest.approx(agreeing, abs=1e-6)


def test_a_student_that_agrees_with_its_teacher_has_no_loss() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5)
    shifted = logits + torch.randn(2, 1, 4, 5)  # softmax does not see it
    loss = soft_label_loss(logits, shifted, temperature=2.0)
    assert loss.shape == (2,)
    assert loss.abs().max() < 1e-5
    other = soft_label_loss(logits, logits.flip(1), temperature=2.0)
    assert (other > 0.01).all()


def test_a_run_learns_from_a_run_and_remembers_its_frames(
    toy: DatasetPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = tmp_path / "teacher"
    run_method(TrainRequest(method="supervised", data=toy.data, out=teacher, settings=SETTINGS))
    known = read_checkpoint(teacher / "best.ckpt")
    out = tmp_path / "student"
    request = TrainRequest(
        method="distillation",
        data=toy.data,
        out=out,
        unlabelled=toy.unlabelled,
        settings={**SETTINGS, "decoder_channels": 8, "label_share": 0.5, "teacher": str(teacher)},
    )
    run_method(request)
    made = read_checkpoint(out / "last.ckpt")
    kept = made.source["teacher"]
    assert (kept["kind"], kept["method"]) == ("run", "supervised")
    # Half of the labels were used; the teacher knew the other half, and so does the student.
    assert (
        merged([made.source["trained_on"], known.source["trained_on"]])
        == (made.source["trained_on"])
    )
    assert not any(name.startswith("teacher") for name in made.weights)
    resume = replace(request, resume=True, settings={"steps": 3})
    assert run_method(resume)["steps"] == 3
    (teacher / "best.ckpt").write_bytes((teacher / "last.ckpt").read_bytes())
    with pytest.raises(CheckpointError, match="the teacher's SHA-256 was"):
        run_method(replace(resume, settings={"steps": 4}))
    # The student is exported and loaded without its teacher.
    shutil.rmtree(teacher)
    assert load_deployable(out)[1].method == "distillation"


def test_a_teacher_is_asked_for_before_the_data_are_read(tmp_path: Path) -> None:
    request = TrainRequest(method="distillation", data=tmp_path / "none", out=tmp_path / "run")
    with pytest.raises(ConfigError, match="needs a teacher") as caught:
        run_method(request)
    assert "--teacher" in caught.value.remedy
    assert not (tmp_path / "run").exists()


def test_a_file_without_class_names_says_how_it_is_read(
    toy: DatasetPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_foreign(tmp_path / "t.onnx", (64, 80))
    settings = {**SETTINGS, "steps": 1, "teacher": str(file)}
    run_method(
        TrainRequest(method="distillation", data=toy.data, out=tmp_path / "r", settings=settings)
    )
    said = " ".join(capsys.readouterr().err.split())
    assert "its channels are taken as background, grasper, scissors" in said


def test_a_teacher_that_knows_the_validation_frames_is_told(
    make_method: Callable[..., Any], make_run: Callable[..., Any], open_toy: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    file = write_foreign(tmp_path / "t.onnx", (64, 80))
    method = make_method("distillation", teacher=file)
    data = open_toy(method, make_run())
    teacher = open_teacher(file)
    for known, count in ((data.validation, 4), (data.labelled, 0)):
        method = make_method("distillation", teacher=file)
        origin = {**teacher.origin, "trained_on": fingerprint([known])}
        method._opened = replace(teacher, origin=origin)
        method.streams(data)
        told = [note for note in method.notes if "too high" in note]
        assert len(told) == bool(count)
        assert all(f"on {count} of the 4 validation frames" in note for note in told)
