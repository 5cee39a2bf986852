"""`trocar export --from`: a network of another library through the command line and the gate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from export_helpers import run_onnx, scene
from source_cases import MEAN, STD, normalised, own_scores, resized, shaken, table
from torch import nn

from trocar.contract.bundle import open_bundle


@pytest.fixture
def network() -> nn.Module:
    """Random weights that predict several classes on every frame."""
    torch.manual_seed(0)
    made = shaken(
        smp.Unet("tu-test_resnet", encoder_weights=None, encoder_depth=3, classes=3,
                 decoder_channels=(16, 8, 8))
    )  # fmt: skip
    with torch.no_grad():
        logits = made(normalised(resized(64, 96)))
        made.segmentation_head[0].bias -= logits.mean((0, 2, 3))
    return made


def test_a_folder_of_smp_becomes_a_bundle(
    network: nn.Module, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network.save_pretrained(tmp_path / "theirs")
    (tmp_path / "frames").mkdir()
    for seed in range(2):
        image = cv2.cvtColor(scene(seed, 90, 120), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(tmp_path / "frames" / f"{seed}.png"), image)
    known = ["--classes", table(tmp_path), "--mean", ",".join(map(str, MEAN))]
    common = [tmp_path / "theirs", "--from", "smp", "--frames", tmp_path / "frames"]
    out = tmp_path / "theirs.trocar"
    assert run("export", *common, *known, "--out", out) == 2
    told = capsys.readouterr().err
    assert "does not state the size of its input, its normalisation" in told
    assert "--size WIDTHxHEIGHT" in told
    known += ["--size", "96x64", "--std", ",".join(map(str, STD))]
    assert run("export", *common, *known, "--out", out) == 0
    manifest = open_bundle(out).manifest
    assert manifest.source["from"] == "smp"
    assert manifest.source["architecture"] == "Unet tu-test_resnet"
    labels = run_onnx(open_bundle(out).model)(scene(3, 90, 120)[None])["labels"][0]
    wanted = own_scores(network, normalised(resized(64, 96))).argmax(0)
    assert len(np.unique(wanted)) > 1
    assert (labels == wanted).mean() > 0.999


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "smp"], "--from smp needs SOURCE"),
        (["x", "--size", "96x64"], "--size is for --from only"),
        (["x", "--from", "smp", "--module", "a:b"], "--module is not for --from"),
        (["x", "--from", "torch"], "'torch' is not one of"),
        (["x", "--from", "smp", "--mean", "0.5,0.5"], "is not three numbers"),
        (["nowhere", "--from", "smp", "--out", "o", "--frames", "f"], "there is no nowhere"),
        (["pyproject.toml", "--from", "smp", "--out", "o"], "--frames is missing"),
    ],
)
def test_flags_that_do_not_fit_are_refused(
    arguments: list[str], words: str, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", *arguments) == 2
    assert words in capsys.readouterr().err.replace("\n", " ")
