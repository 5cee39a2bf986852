"""`trocar run --out-of-body --privacy`: no output shows a picture from outside the body."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from body_film import FILM, FINE, fineness, leaks, make_body_bundle, write_film
from command_line import run

from trocar.runtime.archive.job import make_job
from trocar.runtime.pipeline.options import ModelOptions, RunOptions
from trocar.runtime.privacy.options import PrivacyOptions


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("privacy")
    return {
        "body": str(make_body_bundle(root / "body.trocar")),
        "film": str(write_film(root / "film.mp4")),
    }


@pytest.mark.parametrize(
    ("mode", "live"), [("blur", False), ("black", False), ("blur", True), ("off", False)]
)
def test_no_file_shows_what_was_outside(
    mode: str,
    live: bool,
    tiny_bundle: Path,
    places: dict[str, str],
    kit: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = run(
        "run",
        *(tiny_bundle, places["film"], "--out-of-body", places["body"], "--privacy", mode),
        *("--overlay", tmp_path / "out.mp4", "--json", tmp_path / "out.jsonl"),
        *("--save-frames", tmp_path / "frames", "--save-masks", tmp_path / "masks"),
        *("--csv", tmp_path / "out.csv", *(["--live"] if live else [])),
    )
    assert code == 0
    told = capsys.readouterr().err
    frames = {
        int(path.stem): np.asarray(cv2.imread(str(path)))[..., ::-1]
        for path in (tmp_path / "frames").glob("*.png")
    }
    pictures = [*kit.read_video(tmp_path / "out.mp4"), *frames.values()]
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines
    assert all(line["outside"] == (FILM[line["frame"]] != "inside") for line in lines)
    if mode == "off":
        assert any(leaks(picture) for picture in pictures)
        return
    assert not any(leaks(picture) for picture in pictures)
    assert any(fineness(picture) > FINE for picture in pictures)
    for number, picture in frames.items():
        assert (fineness(picture) > FINE) == (FILM[number] == "inside"), number
    for path in (tmp_path / "masks").glob("*.png"):
        if FILM[int(path.stem)] != "inside":
            assert not cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).any()
    assert "count as outside the body, and are" in " ".join(told.split())
    if not live:
        assert len(frames) == len(lines) == len(FILM)


def test_an_archive_made_without_privacy_is_not_up_to_date(
    tiny_bundle: Path, places: dict[str, str], tmp_path: Path
) -> None:
    words = (tiny_bundle, places["film"], "--out", tmp_path / "out", "--save-frames", "frames")
    covers = ("--out-of-body", places["body"], "--privacy", "black")
    assert run("run", *words) == 0
    assert run("run", *words, *covers) == 0
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    pictures = {p: np.asarray(cv2.imread(str(p))) for p in (folder / "frames").glob("*.png")}
    for path, picture in pictures.items():
        assert (fineness(picture) > FINE) == (FILM[int(path.stem)] == "inside")
    options = RunOptions(
        model=ModelOptions(path=tiny_bundle),
        privacy=PrivacyOptions(model=Path(places["body"]), mode="black"),
    )
    job = make_job(options, tmp_path / "out")
    assert job.settings == json.loads((folder / "done.json").read_text())["settings"] | {
        "outputs": job.settings["outputs"]
    }


@pytest.mark.parametrize("words", [["--privacy", "blur"], ["--out-of-body", "MODEL"]])
def test_a_run_that_cannot_judge_does_not_start(
    words: list[str], tiny_bundle: Path, places: dict[str, str], tmp_path: Path
) -> None:
    given = [str(tiny_bundle) if word == "MODEL" else word for word in words]
    out = tmp_path / "out.jsonl"
    assert run("run", tiny_bundle, places["film"], "--json", out, *given) not in (0, 1)
    assert list(tmp_path.iterdir()) == []
