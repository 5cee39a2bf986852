"""`trocar run` with flags that say what counts as an instrument."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from trocar.commands.run import run
from trocar.contract.errors import ConfigError, TrocarError
from trocar.contract.location import LocationOptions
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.session import Session
from trocar.runtime.sources.base import Frame


@pytest.fixture
def picture(tmp_path: Path, tiny: ModuleType) -> Path:
    import cv2

    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), tiny.tiny_frame(120, 160)[..., ::-1])
    return folder


def found(bundle: Path, source: Path, *flags: object) -> list[str]:
    """Names of the instruments of the one picture."""
    out = source.parent / "out.jsonl"
    words = [str(a) for a in (bundle, source, "--json", out, "--overwrite", *flags)]
    done = CliRunner().invoke(run, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (line,) = out.read_text().splitlines()
    return [one["class"] for one in json.loads(line)["instruments"]]


def test_flags_choose_among_the_instruments(tiny_bundle: Path, picture: Path) -> None:
    assert found(tiny_bundle, picture) == ["grasper", "scissors"]
    assert found(tiny_bundle, picture, "--classes", " scissors") == ["scissors"]
    assert len(found(tiny_bundle, picture, "--max-instruments", 1)) == 1
    assert found(tiny_bundle, picture, "--min-score", 1.0) == []
    assert found(tiny_bundle, picture, "--min-area", 0.5) == []


def test_a_file_sets_any_option_and_a_flag_overrides_it(tiny_bundle: Path, picture: Path) -> None:
    file = picture.parent / "location.toml"
    file.write_text('max_instruments = 0\nclasses = ["grasper"]\nstrip_depth = 0.01\n')
    assert found(tiny_bundle, picture, "--location", file) == ["grasper"]
    chosen = ("--location", file, "--classes", "scissors,grasper")
    assert found(tiny_bundle, picture, *chosen) == ["grasper", "scissors"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--classes", "graspr"), r"'graspr' is not known \(did you mean grasper\?\)"),
        (("--classes", " , "), "expected some"),
        (("--min-score", "nan"), "min_score is nan, expected a finite number"),
    ],
)
def test_wrong_flags_are_refused_before_any_output(
    tiny_bundle: Path, picture: Path, flags: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        found(tiny_bundle, picture, *flags)
    assert caught.value.remedy
    assert not (picture.parent / "out.jsonl").exists()


def test_a_flag_that_contradicts_the_file_is_refused(tiny_bundle: Path, picture: Path) -> None:
    file = picture.parent / "location.toml"
    file.write_text("mask_outside_view = true\n")
    with pytest.raises(ConfigError, match="contradicts mask_outside_view = true"):
        found(tiny_bundle, picture, "--location", file, "--keep-outside-view")
    file.write_text("mask_outside = true\n")
    with pytest.raises(ConfigError, match="did you mean mask_outside_view"):
        found(tiny_bundle, picture, "--location", file)


def test_an_archive_is_processed_again_when_the_options_change(
    tiny_bundle: Path, video: Path, tmp_path: Path
) -> None:
    def archive(*flags: object) -> list[str]:
        words = [str(a) for a in (tiny_bundle, video, "--out", tmp_path / "out", *flags)]
        done = CliRunner().invoke(run, [*words, "--json", "r.jsonl"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        (file,) = (tmp_path / "out").rglob("r.jsonl")
        return [one["class"] for one in json.loads(file.read_text().splitlines()[0])["instruments"]]

    assert archive() == ["grasper", "scissors"]
    assert archive("--classes", "grasper") == ["grasper"]


class OneView:
    """Stands for the finder of the field of view."""

    def update(self, image: NDArray[np.uint8]) -> FieldOfView | None:
        return FieldOfView(x=image.shape[1] / 2, y=image.shape[0] / 2, radius=40.0)


class Seen:
    """A smoother that keeps what it was given."""

    labels: Any = None

    def smooth(self, outputs: Any, time: float) -> Any:
        self.labels = outputs["labels"]
        return outputs


def test_labels_outside_the_view_are_background_before_smoothing(
    tiny: ModuleType, tmp_path: Path
) -> None:
    path = tiny.make_tiny_bundle(tmp_path / "t.trocar")
    frame = Frame(image=tiny.tiny_frame(120, 160), index=0, time=0.0, captured_ns=0)
    outside = np.hypot(np.arange(80) * 2 + 1 - 80, (np.arange(64) * 120 / 64 - 60)[:, None]) > 42

    def outside_labels(**changes: Any) -> list[int]:
        location = None if changes.pop("old", False) else LocationOptions(**changes)
        tiny.re_exported(path, location=location)
        smoother = Seen()
        with Session.open(path, threads=1) as session:
            processor = FrameProcessor(session, smoother=smoother, view_finder=OneView())
            result = processor(frame)
        assert result.labels is not None
        return [int(np.count_nonzero(m[outside])) for m in (smoother.labels, result.labels)]

    assert outside_labels() == [0, 0]
    for kept in (outside_labels(mask_outside_view=False), outside_labels(old=True)):
        assert min(kept) > 20


def test_the_manifest_of_a_bundle_is_used(tiny: ModuleType, picture: Path, tmp_path: Path) -> None:
    path = tiny.make_tiny_bundle(tmp_path / "t.trocar")
    tiny.re_exported(path, location=LocationOptions(classes=("scissors",)))
    assert found(path, picture) == ["scissors"]
    tiny.re_exported(path, location=LocationOptions(classes=("hook",)))
    with pytest.raises(TrocarError, match="'hook' is not known"):
        found(path, picture)
