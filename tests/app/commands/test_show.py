"""`trocar run --show`: which parts of the overlay are drawn."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from trocar.commands.run import run


def invoke(*args: object) -> Result:
    return CliRunner().invoke(run, [str(arg) for arg in args], catch_exceptions=False)


def test_none_writes_the_frames_themselves_and_tips_less_than_masks(
    tiny_bundle: Path, tmp_path: Path, kit: ModuleType
) -> None:
    frames = tmp_path / "in"
    frames.mkdir()
    for number in range(3):
        picture = cv2.cvtColor(kit.picture(number), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(frames / f"{number}.png"), picture)
    changed = {}
    for words in ("none", "tips", "masks", "masks,contours,boxes,labels,tips,ids"):
        out = tmp_path / words
        done = invoke(tiny_bundle, frames, "--save-frames", out, "--show", words)
        assert done.exit_code == 0, done.output
        drawn = cv2.imread(str(sorted(out.glob("*.png"))[1]))
        changed[words] = int((drawn != cv2.imread(str(frames / "1.png"))).any(axis=-1).sum())
    assert changed["none"] == 0
    amounts = list(changed.values())
    assert amounts == sorted(amounts)
    assert amounts[1] > 0
    default = tmp_path / "default"
    assert invoke(tiny_bundle, frames, "--save-frames", default).exit_code == 0
    every = sorted((tmp_path / "masks,contours,boxes,labels,tips,ids").iterdir())
    for one, other in zip(sorted(default.iterdir()), every, strict=True):
        assert np.array_equal(cv2.imread(str(one)), cv2.imread(str(other)))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("mask", "'mask' is not known (did you mean masks"),
        ("tips,none", "'none' alone"),
        ("", "'' is not known"),
    ],
)
def test_unknown_words_name_the_choices(tmp_path: Path, given: str, told: str) -> None:
    done = invoke(tmp_path / "m.trocar", tmp_path / "v.mp4", "--show", given)
    assert done.exit_code == 2
    assert told in done.output
    assert "masks,contours,boxes,labels,tips,ids" in " ".join(done.output.split()).replace("│", "")


def test_it_is_saved_and_read_as_text(tiny_bundle: Path, tmp_path: Path, kit: ModuleType) -> None:
    frames, config = tmp_path / "in", tmp_path / "run.toml"
    frames.mkdir()
    cv2.imwrite(str(frames / "1.png"), kit.picture(0))
    first, second = tmp_path / "first", tmp_path / "second"
    for extra in (
        (tiny_bundle, frames, "--show", "tips, ids", "--save-config", config),
        ("--config", config, "--overwrite"),
    ):
        done = invoke(*extra, "--save-frames", first if extra[0] != "--config" else second)
        assert done.exit_code == 0, done.output
    assert 'show = "tips,ids"' in config.read_text()
    pictures = [cv2.imread(str(next(folder.iterdir()))) for folder in (first, second)]
    assert np.array_equal(*pictures)
