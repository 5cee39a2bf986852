"""`trocar export` and `trocar import-onnx`, with a network of this file instead of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from export_helpers import manifest_of, run_onnx, scene, small_network, truth
from torch import nn

from trocar.commands.export import export
from trocar.commands.import_onnx import import_onnx
from trocar.contract.bundle import open_bundle
from trocar.contract.classes import ClassTable
from trocar.contract.errors import ConfigError, DataError, OutputExistsError, TrocarError
from trocar.contract.location import LocationOptions
from trocar.contract.tensorrt.engines import engines_of

Run = Callable[..., Result]


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for seed in range(4):
        image = cv2.cvtColor(scene(seed, 120, 160), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / "images" / f"{seed}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{seed}.png"), truth(seed, 120, 160))
    return folder


@pytest.fixture
def run(small: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    (tmp_path / "run").mkdir(exist_ok=True)
    monkeypatch.setattr("trocar.commands._models.load_network", lambda _: (small, manifest_of()))
    monkeypatch.setattr("trocar.commands._models.open_model", run_onnx)

    def call(*args: object) -> Result:
        return CliRunner().invoke(export, [str(a) for a in args], catch_exceptions=True)

    return call


def fault(result: Result) -> TrocarError:
    assert isinstance(result.exception, TrocarError), result.output
    assert result.exception.remedy
    return result.exception


def test_a_run_is_exported_and_the_numbers_are_printed(
    run: Run, frames: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m.trocar"
    done = run(tmp_path / "run", "--out", out, "--frames", frames, "--max-frames", 3)
    assert done.exit_code == 0, done.output
    assert "equal to PyTorch fp32 on 3 frames" in done.output
    for word in ("grasper", "boundary F", "IoU (truth)", "size: fp32", "median"):
        assert word in done.output
    assert json.loads((out / "parity.json").read_text())["truth"]["pixels"] == 3 * 120 * 160
    assert {p.name for p in tmp_path.iterdir()} <= {"m.trocar", "m.parity", "run", "frames"}


def test_engines_are_added_to_a_bundle_in_place(run: Run, frames: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed (extra rtx)")
    out = tmp_path / "m.trocar"
    made = run(
        tmp_path / "run", "--out", out, "--frames", frames, "--precision", "fp16",
        "--engine", "tensorrt-rtx", "--engine-shape", "160x120", "--batch", "1:2:4",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert "read from the network" in made.output
    known = engines_of(open_bundle(out))
    assert [s.precision_found for s in known.values()] == ["fp16"]
    more = run(
        out, "--engine", "tensorrt-rtx", "--engine-shape", "90x90", "--triton", tmp_path / "t"
    )
    assert more.exit_code == 0, more.output
    assert len(engines_of(open_bundle(out))) == 2
    assert (tmp_path / "t" / "small" / "config.pbtxt").is_file()
    again = fault(run(out, "--triton", tmp_path / "t"))
    assert isinstance(again, OutputExistsError)


def test_int8_on_the_command_line(run: Run, frames: Path, tmp_path: Path) -> None:
    first = tmp_path / "m.trocar"
    assert run(tmp_path / "run", "--out", first, "--frames", frames).exit_code == 0
    out = tmp_path / "m8.trocar"
    done = run(
        first, "--out", out, "--frames", frames, "--precision", "int8",
        "--calibrate", frames / "images",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert open_bundle(out).manifest.precision == "int8"
    report = json.loads((out / "parity.json").read_text())
    assert report["extra"]["conversion"]["calibration_frames"] == 4


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--out", "o"), "nothing to export.*--frames is missing"),
        (("nowhere", "--out", "o", "--frames", "f"), "there is no nowhere"),
        (("run",), "--out is missing"),
        (("run", "--out", "o", "--frames", "f", "--precision", "int8"), "needs --calibrate DIR"),
        (("run", "--out", "o", "--frames", "f", "--calibrate", "f"), "for int8 only"),
        (("run", "--engine", "tensorrt-rtx", "--engine-shape", "9x9"), "run is not a bundle"),
        (
            ("run", "--out", "o", "--frames", "f", "--engine", "tensorrt-rtx"),
            "--engine-shape is missing",
        ),
        (("run", "--module", "a:b", "--out", "o", "--frames", "f"), "choose one.*--input-spec"),
        (("run", "--weights", "w", "--out", "o", "--frames", "f"), "--weights is for --module"),
        (
            ("run", "--out", "o", "--frames", "frames", "--min-pixel-agreement", "2"),
            "min_pixel_agreement is 2.0, expected 0..1",
        ),
        (
            ("run", "--out", "o", "--frames", "frames", "--min-cosine", "much"),
            "min_cosine: got 'much', expected a number",
        ),
        (("m.trocar", "--triton", "t", "--precision", "fp16"), "there is no m.trocar.*--out"),
    ],
)
def test_flags_that_do_not_go_together(
    run: Run, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...], words: str,
) -> None:  # fmt: skip
    import re

    monkeypatch.chdir(tmp_path)
    error = fault(run(*args))
    assert isinstance(error, ConfigError)
    assert re.search(words, error.message), error.message
    assert not (tmp_path / "o").exists()


def test_frames_that_cannot_be_used(run: Run, frames: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.trocar"

    def attempt(folder: Path, *more: object) -> str:
        error = fault(run(tmp_path / "run", "--out", out, "--frames", folder, *more))
        assert isinstance(error, DataError)
        assert not out.exists()
        return error.message

    assert "is not a folder of frames" in attempt(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "it is empty" in attempt(empty)
    (empty / "notes.txt").write_text("x")
    assert "it holds notes.txt" in attempt(empty)
    assert "cannot calibrate" in attempt(frames, "--precision", "int8", "--calibrate", empty)
    (empty / "broken.png").write_bytes(b"")
    assert "broken.png is empty (0 bytes)" in attempt(empty)
    mask = frames / "masks" / "0.png"
    cv2.imwrite(str(mask), np.full((120, 160), 9, np.uint8))
    assert "holds the values [9]" in attempt(frames)
    cv2.imwrite(str(mask), np.zeros((60, 80), np.uint8))
    assert "is 80x60, its image 160x120" in attempt(frames)
    cv2.imwrite(str(mask), np.zeros((120, 160, 4), np.uint8))
    assert "expected one channel" in attempt(frames)


def test_an_onnx_file_is_imported(run: Run, frames: Path, tmp_path: Path) -> None:
    program = torch.onnx.export(
        small_network().network,
        (torch.zeros(2, 3, 64, 96),),
        dynamo=True,
        opset_version=20,
        dynamic_shapes=({0: "n"},),
        verbose=False,
    )
    (tmp_path / "theirs.onnx").write_bytes(program.model_proto.SerializeToString())
    manifest_of().classes.write(tmp_path / "classes.toml")
    (tmp_path / "spec.toml").write_text("height = 64\nwidth = 96\n")
    args = [
        str(tmp_path / "theirs.onnx"), "--out", str(tmp_path / "m.trocar"),
        "--input-spec", str(tmp_path / "spec.toml"), "--frames", str(frames),
    ]  # fmt: skip
    error = CliRunner().invoke(import_onnx, args).exception
    assert isinstance(error, ConfigError)
    assert "--classes" in error.message
    done = CliRunner().invoke(import_onnx, [*args, "--classes", str(tmp_path / "classes.toml")])
    assert done.exit_code == 0, done.output
    assert "equal to the ONNX file as it was given" in done.output
    assert open_bundle(tmp_path / "m.trocar").manifest.name == "theirs"
    without = CliRunner().invoke(import_onnx, args[:-2]).exception
    assert isinstance(without, ConfigError)
    assert "--frames is missing" in without.message


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--engine-shape", "1920"),
        ("--engine-shape", "1920x0"),
        ("--engine-shape", "1920x1080:640x480"),
        ("--batch", "0"),
        ("--batch", "1:2"),
        ("--batch", "axb"),
    ],
)
def test_shapes_of_another_form_are_refused(run: Run, flag: str, value: str) -> None:
    result = run("run", "--engine", "tensorrt-rtx", flag, value)
    assert result.exit_code == 2
    assert flag in result.output


def test_shapes_must_rise(run: Run, frames: Path, tmp_path: Path) -> None:
    error = fault(
        run(tmp_path / "run", "--engine", "tensorrt-rtx", "--engine-shape", "9x9:8x9:9x9")
    )
    assert "expected rising order" in error.message


@pytest.mark.parametrize("command", [export, import_onnx])
def test_every_flag_has_help_and_a_group(command: click.Command) -> None:
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert len(options) > 15
    assert all(option.help for option in options)
    assert len({name for p in options for name in p.opts}) == sum(len(p.opts) for p in options)
    text = CliRunner().invoke(command, ["--help"]).output
    titles = ("Output:", "Precision:", "Parity gate:", "Limits of the parity gate:")
    assert all(title in text for title in titles)
    assert "[default: 0.999; int8: 0.99]" in " ".join(text.split())


def test_what_counts_as_an_instrument_is_written_and_travels(
    small: nn.Module, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One export with flags, a file and a table whose parts cannot join; then a conversion."""
    manifest = manifest_of()
    rows = tuple(replace(row, part="") for row in manifest.classes)
    rows = (rows[0], replace(rows[1], name="shaft", instrument=True), *rows[2:])
    named = replace(manifest, classes=ClassTable(rows))
    (tmp_path / "run").mkdir()
    monkeypatch.setattr("trocar.commands._models.load_network", lambda _: (small, named))
    monkeypatch.setattr("trocar.commands._models.open_model", run_onnx)
    file = tmp_path / "location.toml"
    file.write_text("strip_depth = 0.05\nmin_area = 0.5\n")
    first, second = tmp_path / "first.trocar", tmp_path / "second.trocar"

    def call(*words: object) -> Result:
        arguments = [str(word) for word in (*words, "--frames", frames)]
        return CliRunner().invoke(export, arguments, catch_exceptions=True)

    done = call(tmp_path / "run", "--out", first, "--locate-classes", "hok")
    assert "'hok' is not known" in fault(done).message
    assert not first.exists()
    flags = ("--location", file, "--min-area", 0.002, "--max-instruments", 4)
    done = call(tmp_path / "run", "--out", first, *flags)
    assert done.exit_code == 0, done.output
    assert "classes shaft are named like parts" in " ".join(done.output.split())
    expected = LocationOptions(strip_depth=0.05, min_area=0.002, max_instruments=4)
    assert open_bundle(first).manifest.location == expected
    done = call(first, "--out", second, "--min-score", 0.7)
    assert done.exit_code == 0, done.output
    assert open_bundle(second).manifest.location == replace(
        expected, min_score=0.7, relative_score=0.0
    )
