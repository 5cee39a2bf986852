"""``trocar data``: its commands are found by file, and work on one another's output."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import click
import pytest

from trocar.commands.data import data
from trocar.contract.media.pictures import read_image
from trocar.train.data.annotations.exchange import KINDS
from trocar.train.data.compositing.poisson import Mode
from trocar.train.data.phantom import PHANTOM_DOMAINS
from trocar.train.data.phantom.writer import MASKS
from trocar.train.data.readers import open_frames
from trocar.train.data.tools.convert import FORMATS

COMMANDS = (
    "check",
    "composite",
    "export-labels",
    "extract-frames",
    "import",
    "import-labels",
    "phantom",
)


@pytest.fixture(scope="module")
def phantom(run: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "phantom"
    words = ("--count", 8, "--size", "96x64", "--clip-length", 2, "--video")
    assert run("data", "phantom", out, *words, "--val-test-fractions", 0.25, 0) == 0
    return out


def test_the_commands_are_the_files() -> None:
    assert tuple(data.list_commands(click.Context(data))) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_for_every_option(name: str) -> None:
    command = data.get_command(click.Context(data), name)
    assert command is not None
    assert command.name == name
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"trocar data {name} {parameter.opts[0]} has no help text"


@pytest.mark.parametrize(
    ("name", "option", "choices"),
    [
        ("phantom", "domain", PHANTOM_DOMAINS),
        ("phantom", "masks", MASKS),
        ("export-labels", "kind", KINDS),
        ("import", "image_format", FORMATS),
        ("composite", "mode", get_args(Mode)),
    ],
)
def test_choices_are_those_of_the_package(name: str, option: str, choices: tuple[str, ...]) -> None:
    command = data.get_command(click.Context(data), name)
    assert command is not None
    (parameter,) = (p for p in command.params if p.name == option)
    assert isinstance(parameter.type, click.Choice)
    assert tuple(parameter.type.choices) == choices


def test_the_list_of_commands_imports_none_of_them() -> None:
    code = (
        "import sys\nfrom trocar.cli import main\n"
        "try:\n    main(['data', '--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'numpy', 'cv2', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


def test_an_unknown_command_gets_the_nearest_name(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("data", "export-label") == 2
    assert "Did you mean export-labels" in capsys.readouterr().err


def test_sizes_are_width_before_height(
    run: Callable[..., int], phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = open_frames(phantom)
    assert read_image(frames.items[0].image).shape == (64, 96, 3)
    assert {split: len(names) for split, names in frames.splits.items()} == {"train": 6, "val": 2}
    assert run("data", "phantom", tmp_path / "wrong", "--size", "96") == 2
    assert "write WIDTHxHEIGHT, e.g. 640x512" in capsys.readouterr().err
    assert not (tmp_path / "wrong").exists()


def test_checking_a_set(
    run: Callable[..., int], phantom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("data", "check", phantom) == 0
    shown = capsys.readouterr().out
    assert "sizes: 96x64 (8)" in shown
    assert "no faults" in shown


def test_labels_go_out_and_come_back(
    run: Callable[..., int], phantom: Path, tmp_path: Path
) -> None:
    labels, back = tmp_path / "labels.json", tmp_path / "back"
    assert run("data", "export-labels", phantom, labels, "--format", "coco-rle") == 0
    classes = ("--classes", phantom / "classes.toml")
    assert run("data", "import-labels", labels, phantom / "images", back, *classes) == 0
    before, after = open_frames(phantom), open_frames(back)
    for one, other in zip(before, after, strict=True):
        assert (before.read(one).mask == after.read(other).mask).all()


def test_importing_and_compositing(run: Callable[..., int], phantom: Path, tmp_path: Path) -> None:
    copy, out = tmp_path / "copy", tmp_path / "composites"
    assert run("data", "import", phantom, copy, "--format", "jpg") == 0
    assert len(open_frames(copy)) == 8
    words = ("--count", 3, "--max-instruments", 2, "--backgrounds-empty")
    assert run("data", "composite", copy, out, "--foreground", phantom, *words) == 0
    assert len(open_frames(out)) == 3


def test_extracting_frames(
    run: Callable[..., int],
    phantom: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = phantom / "video.mp4"
    words = ("--seconds", 0, "--max-hash-distance", -1, "--min-red-fraction", 0)
    assert run("data", "extract-frames", video, tmp_path / "all", *words) == 0
    assert len(open_frames(tmp_path / "all")) == 8
    assert "wrote 8 frames" in capsys.readouterr().out
    assert run("data", "extract-frames", video, tmp_path / "none", "--min-brightness", 255) == 3
    assert "--min-brightness" in capsys.readouterr().err
    assert run("data", "extract-frames", video, tmp_path / "none", "--min-brightness", 300) != 0
    assert "min_brightness is 300.0, expected 0 to 255" in capsys.readouterr().err
