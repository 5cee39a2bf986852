"""Broken inputs end in words that name them: no traceback, no half-written output."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numbered_videos import write
from tiny_bundle import make_tiny_bundle

from trocar.cli import cli, command_names, main
from trocar.contract.media.pictures import encode_picture

NOISE = np.random.default_rng(7)


def _cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def _folder_of(name: str, data: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        (path / name).write_bytes(data)

    return make


PNG = encode_picture(NOISE.integers(0, 256, (24, 32, 3), np.uint8), ".png")
DEEP = b"[" * 100_000
BROKEN: dict[str, Callable[[Path], None]] = {
    "missing": lambda path: None,
    "empty.mp4": lambda path: path.write_bytes(b"") and None,
    "noise.onnx": lambda path: path.write_bytes(NOISE.bytes(4096)) and None,
    "text.mp4": lambda path: path.write_text("no video") and None,
    "deep.json": lambda path: path.write_bytes(DEEP) and None,
    "wrong.json": lambda path: path.write_text('{"images": 3, "annotations": "x"}') and None,
    "nan.json": lambda path: path.write_text('{"schema": NaN, "shapes": [1e999]}') and None,
    "latin.toml": lambda path: path.write_bytes(b'name = "\xe9\xff"') and None,
    "cut.png": lambda path: path.write_bytes(_cut(PNG)) and None,
    "bomb.xml": lambda path: path.write_text('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>') and None,
    "folder": lambda path: path.mkdir(),
    "set": _folder_of("images", b"a file where a folder is expected"),
    "bundle": _folder_of("manifest.json", b'{"schema": "1.0"}'),
    "bundle2": _folder_of("manifest.json", DEEP),
    "run": _folder_of("best.ckpt", NOISE.bytes(512)),
    "table": _folder_of("classes.toml", b"[[classes]]\nid = 'x'\nname = 3\n"),
    "line\nbreak": lambda path: path.write_text("x") and None,
}

# {x} is the broken input, {out} an output that must not be there afterwards.
COMMANDS = {
    "data check": "data check {x}",
    "data import": "data import {x} {out}",
    "data import-labels": "data import-labels {x} {x} {out}",
    "data export-labels": "data export-labels {x} {out}",
    "data extract-frames": "data extract-frames {x} {out}",
    "data composite": "data composite {x} {out} --foreground {x}",
    "train": "train supervised {x} --out {out} --steps 1 --device cpu",
    "train classifier": "train classifier {x} --out {out} --steps 1 --device cpu",
    "train recipe": "train supervised {good_set} --recipe {x} --out {out} --steps 1 --size 64x64 "
    "--device cpu",
    "compare": "compare {x} --data {x} --out {out}",
    "tune": "tune {x} {x} --trials 1 --out {out}",
    "evaluate model": "evaluate {x} {good_set}",
    "evaluate set": "evaluate {bundle} {x}",
    "prelabel": "prelabel {bundle} {x} {out}",
    "report": "report {x} --out {out}",
    "export": "export {x} --out {out} --frames {x}",
    "import-onnx": "import-onnx {x} --input-spec {x} --frames {x} --out {out}",
    "engines": "engines prune {x} --all",
    "inspect": "inspect {x}",
    "inspect trust": "inspect {bundle} --trust {x}",
    "run model": "run {x} {video} --json {out}",
    "run source": "run {bundle} {x} --json {out}",
    "run config": "run --config {x} {bundle} {video} --json {out}",
    "run trust": "run {bundle} {video} --trust {x} --json {out}",
    "run out-of-body": "run {bundle} {video} --out-of-body {x} --privacy blur --json {out}",
    "run classifier": "run {bundle} {video} --classifier {x} --json {out}",
    "benchmark": "benchmark {x} --seconds 0.1",
    "enroll": "enroll {x} --class saw {x}",
    "sign model": "sign {x} --key {x}",
    "sign key": "sign {bundle} --key {x}",
    "verify model": "verify {x} --trust {x}",
    "verify trust": "verify {bundle} --trust {x}",
    "wheelhouse": "wheelhouse {out} --trocar {x} --constraint {x}/no --extra cpu",
    "verify audit": "verify --audit {x}",
    "card": "card {x} --out {out}",
    "card evaluation": "card {bundle} --evaluation {x} --out {out}",
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    from data_helpers import image_and_mask_folder

    root = tmp_path_factory.mktemp("good")
    make_tiny_bundle(root / "tiny.trocar")
    write(root / "video.mp4", range(3))
    image_and_mask_folder(root / "set")
    return {
        "bundle": str(root / "tiny.trocar"),
        "video": str(root / "video.mp4"),
        "good_set": str(root / "set"),
    }


def answer(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and what was said; an exception that is no exit fails the test by itself."""
    capsys.readouterr()
    code = 0
    try:
        main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.mark.parametrize("template", COMMANDS.values(), ids=COMMANDS)
def test_broken_inputs_end_in_words_that_name_them(
    template: str, good: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, make in BROKEN.items():
        place = tmp_path / name.replace("\n", "-")
        place.mkdir()
        x, out = place / name, place / "out"
        make(x)
        before = sorted(place.rglob("*"))
        words = [word.format(x=x, out=out, **good) for word in template.split()]
        code, said = answer(words, capsys)
        assert "Traceback" not in said, (name, said)
        if code == 0:
            continue
        plain = said.replace("\n", "").replace(" ", "")
        assert name.split("\n")[0] in plain, f"{name!r} is not named: {said}"
        assert sorted(place.rglob("*")) == before, f"{name!r} left something: {words}"


def test_every_command_is_tried() -> None:
    tried = {template.split()[0] for template in COMMANDS.values()}
    assert set(command_names()) - tried == {"config", "demo", "doctor"}


def _options() -> list[tuple[str, str]]:
    commands = []
    for name in ("run", "export", "import-onnx", "benchmark", "prelabel", "evaluate"):
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        for parameter in command.params:
            flags = [flag for flag in parameter.opts if flag.startswith("--")]
            takes_value = not getattr(parameter, "is_flag", True)
            commands += [(name, flag) for flag in flags if takes_value]
    return commands


VALUES = [
    "",
    "-1",
    "0",
    "nan",
    "inf",
    "1e999",
    "9" * 400,
    "x",
    "1x1",
    "0x0",
    "-",
    "é" * 50,
    "a\nb",
]


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(option=st.sampled_from(_options()), value=st.sampled_from(VALUES) | st.text(max_size=8))
def test_odd_values_of_flags_end_in_words(
    option: tuple[str, str],
    value: str,
    good: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, flag = option
    if "\0" in value or flag in ("--serve", "--seconds", "--timeout"):
        return
    folder = tmp_path_factory.mktemp("flags")
    here = Path.cwd()
    os.chdir(folder)
    try:
        words = [name, good["bundle"], good["video"], flag, value]
        if name == "run":
            words += ["--max-frames", "1"] if flag != "--max-frames" else []
        if name == "benchmark":
            words = [name, str(folder / "missing"), flag, value]
        _, said = answer(words, capsys)
    finally:
        os.chdir(here)
    assert "Traceback" not in said
