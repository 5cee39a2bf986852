"""`trocar card`, `trocar sign` and `trocar verify` through the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import re_exported

from trocar.contract.bundle import open_bundle, update_bundle
from trocar.report.page import Page
from trocar.report.sections import parity

Run = Callable[..., int]

PARITY = {
    "passed": True,
    "reference": "PyTorch fp32",
    "numbers": {"equal": 0.99987, "largest_logit_difference": 0.0012, "frames": 3},
    "truth": {
        "candidate": {"mean_iou": 0.61, "classes": [{"name": "grasper", "iou": 0.59, "dice": 0.7}]}
    },
    "notes": ["class scissors was never predicted"],
}
SOURCE = {
    "checkpoint_sha256": "ab" * 32,
    "command": "trocar train supervised data | tee log",
    "data": {"data": "sets/ours"},
    "recipe": {"encoder": "tu-resnet18", "encoder_weights": "imagenet"},
    "export": {"torch": "2.14.1"},
}


@pytest.fixture
def model(bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with a source and the report of a gate."""
    from trocar.contract.bundle import write_bundle

    opened = open_bundle(bundle)
    files = {name: opened.read(name) for name in opened.manifest.files}
    files["parity.json"] = json.dumps(PARITY).encode()
    import onnx

    graph = onnx.load_from_string(files["model.onnx"])
    del graph.metadata_props[:]
    files["model.onnx"] = graph.SerializeToString()
    manifest = replace(opened.manifest, source=SOURCE)
    return write_bundle(tmp_path / "m.trocar", manifest, files).path


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    folder = tmp_path / "eval"
    folder.mkdir()
    content = {
        "model": {"path": "runs/first", "source": {"checkpoint_sha256": "ab" * 32}},
        "data": {"path": "sets/theirs", "split": "test", "frames": 40},
        "scores": {"iou_mean": 0.523, "iou_hook": None},
        "intervals": {"frame_iou_mean": [0.48, 0.57]},
    }
    (folder / "evaluation.json").write_text(json.dumps(content))
    return folder


def test_a_card_says_what_was_measured_and_what_nobody_stated(
    model: Path, evaluation: Path, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "card"
    stated = ["--data-licence", "CC-BY-4.0", "--intended-use", "Counting | tools"]
    assert run("card", model, "--evaluation", evaluation, "--out", out, *stated) == 0
    text = (out / "MODEL_CARD.md").read_text()
    for words in (
        "| mean_iou | all classes | 0.61 |",
        "| iou | grasper | 0.59 |",
        "| iou_mean | all classes | 0.523 | 0.4800 to 0.5700 | sets/theirs, split test, 40",
        "| equal | all classes | 0.9999 |",
        "- class scissors was never predicted",
        "| the training data (sets/ours) | CC-BY-4.0 |",
        "| the first weights (imagenet) | not stated |",
        "trocar train supervised data \\| tee log",
        "Counting | tools",
        "It is not a medical device",
        "The bundle is not signed",
        open_bundle(model).sha256,
    ):
        assert words in text, words
    assert "iou_hook" not in text
    assert run("card", model, "--out", out) == 11
    assert run("card", model, "--out", out, "--overwrite") == 0


def bom_of(model: Path, run: Run, *more: object) -> dict[str, Any]:
    assert run("card", model, *more) == 0
    content: dict[str, Any] = json.loads((model.with_suffix(".card") / "bom.cdx.json").read_text())
    return content


def test_licences_that_training_recorded_are_shown_with_a_warning(
    bundle: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    licences = {"weights": "CC-BY-NC-4.0", "data": "CC0-1.0"}
    re_exported(bundle, source={"licences": licences})
    out = tmp_path / "card"
    assert run("card", bundle, "--out", out, "--data-licence", "MIT") == 0
    text = (out / "MODEL_CARD.md").read_text()
    assert "| the training data (not stated) | MIT |" in text
    assert "| CC-BY-NC-4.0 |" in text
    assert text.count("**Warning:**") == 1
    assert "forbids commercial use" in text
    capsys.readouterr()
    assert run("inspect", bundle) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "licence of the first weights CC-BY-NC-4.0" in shown
    assert "licence of the training data CC0-1.0" in shown
    assert "which forbids commercial use" in shown
    assert "source.licences" not in shown
    report = {"numbers": {"equal": 1.0, "frames": 2}, "reference": "PyTorch", "classes": []}
    page = Page("t")
    parity(page, open_bundle(bundle).manifest, report)
    written = page.html()
    assert "CC-BY-NC-4.0" in written
    assert "forbids commercial use" in written


def test_the_bill_of_materials_names_every_file(model: Path, evaluation: Path, run: Run) -> None:
    bom = bom_of(model, run, "--evaluation", evaluation, "--licence", "Apache-2.0")
    files = {c["name"]: c["hashes"][0]["content"] for c in bom["components"] if "hashes" in c}
    assert files == dict(open_bundle(model).manifest.files)
    component = bom["metadata"]["component"]
    assert component["type"] == "machine-learning-model"
    assert component["licenses"] == [{"license": {"name": "Apache-2.0"}}]
    metrics = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    on = "labelled frames of the parity gate, which may be of the training or validation set"
    assert {"type": "mean_iou", "value": "0.61", "slice": f"all classes; {on}"} in metrics
    assert metrics[-1]["confidenceInterval"] == {"lowerBound": "0.48", "upperBound": "0.57"}
    again = bom_of(model, run, "--overwrite")
    assert again["serialNumber"] == bom["serialNumber"]


def test_the_bill_of_materials_follows_its_schema(model: Path, evaluation: Path, run: Run) -> None:
    pytest.importorskip("cyclonedx", reason="pip install 'cyclonedx-python-lib[json-validation]'")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    bom = bom_of(model, run, "--evaluation", evaluation, "--author", "A", "--model-version", "1")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom)) is None


def test_an_evaluation_of_another_model_is_refused(
    model: Path, evaluation: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((evaluation / "evaluation.json").read_text())
    content["model"]["source"] = {"checkpoint_sha256": "cd" * 32}
    (evaluation / "evaluation.json").write_text(json.dumps(content))
    assert run("card", model, "--evaluation", evaluation) == 3
    assert "an evaluation of another model (runs/first)" in capsys.readouterr().err
    assert not model.with_suffix(".card").exists()


def test_sign_and_verify(
    model: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed (extra signing)")
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the keys")
    key, public = tmp_path / "key.pem", tmp_path / "key.pub"
    make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)]
    subprocess.run(make, check=True)
    subprocess.run(["openssl", "pkey", "-in", str(key), "-pubout", "-out", str(public)], check=True)
    assert run("verify", model, "--trust", public) == 5
    assert "is not signed" in capsys.readouterr().err
    assert run("sign", model, "--key", key) == 0
    assert run("sign", model, "--key", key) == 11
    assert run("verify", model, "--trust", public) == 0
    assert "unchanged" in capsys.readouterr().out
    assert "A signature lies in the bundle" in _card(model, run)
    update_bundle(open_bundle(model), add={"engines/note.txt": b"x"})
    assert run("verify", model, "--trust", public) == 5
    assert "changed after it was signed" in capsys.readouterr().err


def _card(model: Path, run: Run) -> str:
    assert run("card", model) == 0
    return (model.with_suffix(".card") / "MODEL_CARD.md").read_text()
