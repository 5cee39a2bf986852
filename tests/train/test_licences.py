"""Licences: recorded in the run and the bundle, shown, and warned of where they forbid selling."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from trocar.contract.errors import DataError
from trocar.contract.text.licences import is_non_commercial, licence_warnings, licences_of
from trocar.train.data.config import DatasetPaths
from trocar.train.licences import run_licences
from trocar.train.run import TrainRequest, run_method
from trocar.train.state.checkpoint import load_deployable
from trocar.train.state.settings import RunConfig


@pytest.mark.parametrize(
    ("text", "forbids"),
    [
        ("CC-BY-NC-4.0", True),
        ("CC BY-NC-SA 4.0", True),
        ("research only", True),
        ("Research use only.", True),
        ("for non-commercial use", True),
        ("academic purposes only", True),
        ("Apache-2.0", False),
        ("CC-BY-4.0", False),
        ("CC0-1.0", False),
        ("a licence of Incorporated Research", False),
    ],
)
def test_licences_that_forbid_commercial_use_are_known(text: str, forbids: bool) -> None:
    assert is_non_commercial(text) is forbids


def test_what_is_not_stated_is_asked_for_once_and_timm_states_its_own(tmp_path: Path) -> None:
    plain, file = SimpleNamespace(encoder_weights="none"), SimpleNamespace(encoder_weights="w.pth")
    assert run_licences(plain, RunConfig(), data=tmp_path) == ({}, [])
    record, (note,) = run_licences(file, RunConfig(), data=tmp_path)
    assert record == {}
    assert "--weights-licence TEXT" in note
    stated = RunConfig(weights_licence="CC-BY-NC-4.0")
    record, (note,) = run_licences(file, stated, data=tmp_path)
    assert record == {"weights": "CC-BY-NC-4.0"}
    assert "forbids commercial use" in note
    timm = SimpleNamespace(encoder="tu-resnet18", encoder_weights="imagenet")
    assert run_licences(timm, RunConfig(), data=tmp_path)[0]["weights"] == "apache-2.0"
    before = {"weights": "MIT", "data": "CC0-1.0"}
    (tmp_path / "dataset.toml").write_text('licence = "CC-BY-4.0"')
    record, _ = run_licences(plain, RunConfig(), data=tmp_path, inherited=before)
    assert record == {"weights": "MIT", "data": "CC-BY-4.0; CC0-1.0"}
    (tmp_path / "dataset.toml").write_text("licence = 4")
    with pytest.raises(DataError, match="licence is 4"):
        run_licences(plain, RunConfig(), data=tmp_path)


def test_a_run_and_what_is_made_of_it_keep_the_licences(
    toy: DatasetPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "size": [64, 80], "encoder": "tu-lcnet_050", "decoder_channels": 16, "steps": 1,
        "batch_size": 2, "workers": 0, "device": "cpu", "logger": ["none"],
        "data_licence": "CC-BY-NC-SA-4.0",
    }  # fmt: skip
    out = tmp_path / "run"
    run_method(TrainRequest(method="supervised", data=toy.data, out=out, settings=settings))
    assert "'CC-BY-NC-SA-4.0', which forbids commercial use" in capsys.readouterr().err
    run_method(TrainRequest(method="supervised", data=toy.data, out=out, resume=True))
    source = load_deployable(out)[1].source
    assert licences_of(source) == {"data": "CC-BY-NC-SA-4.0"}
    assert licences_of({}) == licences_of({"licences": ["x"]}) == {}
    assert len(licence_warnings(licences_of(source))) == 1
