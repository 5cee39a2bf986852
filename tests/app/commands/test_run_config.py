"""`trocar run --config` and `--save-config`: every flag as TOML, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from trocar.commands._run_config import config_text, read_config
from trocar.commands._run_request import request_from
from trocar.commands.run import run
from trocar.contract.errors import ConfigError, DataError, OutputExistsError
from trocar.contract.text.toml import read_toml

EVERY_FLAG: dict[str, Any] = {
    "model": "m.trocar",
    "source": ["a.mp4", "b.mp4"],
    "hwaccel": "cuda",
    "format": "v4l2",
    "video_stream": 1,
    "allow_truncated": True,
    "realtime": True,
    "max_frames": 7,
    "device": "cuda:1",
    "backend": "tensorrt",
    "precision": "fp16",
    "threads": 3,
    "cuda_graph": True,
    "fast_resize": True,
    "no_postprocess": True,
    "classifier": "tools.trocar",
    "trust": "key.pub",
    "reject_below": 0.25,
    "min_area": 0.002,
    "min_score": 0.7,
    "classes": "grasper,hook",
    "max_instruments": 4,
    "keep_outside_view": True,
    "location": "location.toml",
    "allow_damaged": True,
    "max_lost": 3.0,
    "no_class_vote": True,
    "floating": 0.5,
    "enter_score": 0.75,
    "exit_score": 0.25,
    "no_smoothing": True,
    "out_of_body": "body.trocar",
    "privacy": "blur",
    "inside_above": 0.8,
    "overlay": "o.mp4",
    "json": "o.jsonl",
    "csv": "o.csv",
    "save_frames": "frames",
    "save_masks": "masks",
    "metrics": "m.prom",
    "json_masks": "rle",
    "igtl": "127.0.0.1:18944",
    "sink": ["count:frames.txt"],
    "audit": "audit.jsonl",
    "overwrite": True,
    "show": "tips,ids",
    "codec": "h264_nvenc",
    "preset": "slow",
    "quality": 5,
    "live": True,
    "stream": ["udp://127.0.0.1:1", "udp://127.0.0.1:2"],
    "max_age": 100.0,
    "max_regions": 9,
    "no_source_clock": True,
    "deadline_ms": 33.0,
    "shed_load": True,
    "timeout": 2.5,
    "no_reconnect": True,
    "seconds": 10.0,
    "serve": "127.0.0.1:8080",
    "serve_name": ["theatre.example"],
    "serve_cert": "cert.pem",
    "serve_key": "key.pem",
    "no_webrtc": True,
    "trace": "t.json",
    "out": "results",
    "ray": "local",
}


def context(*args: object) -> click.Context:
    """The command's context after parsing; nothing runs."""
    return run.make_context("run", [str(arg) for arg in args])


def invoke(*args: object) -> None:
    done = CliRunner().invoke(run, [str(arg) for arg in args], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def records(path: Path) -> list[dict[str, Any]]:
    """Results without their times, which differ from run to run."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if k not in ("age_ms", "stages_ms")} for line in lines]


def test_every_flag_has_a_key_and_is_read_back() -> None:
    names = {parameter.name for parameter in run.params}
    assert names - {"config", "save_config", "token", "help"} == set(EVERY_FLAG)


def test_a_file_with_every_key_gives_what_the_flags_give(tmp_path: Path) -> None:
    import tomli_w

    file = write(tmp_path / "run.toml", tomli_w.dumps(EVERY_FLAG))
    flags: list[object] = [EVERY_FLAG["model"], *EVERY_FLAG["source"]]
    for name, value in EVERY_FLAG.items():
        if name in ("model", "source"):
            continue
        flag = "--" + name.replace("_", "-")
        if value is True:
            flags.append(flag)
        else:
            for item in value if isinstance(value, list) else [value]:
                flags += [flag, item]
    of_file, of_flags = context("--config", file), context(*flags)
    of_file.params.pop("config"), of_flags.params.pop("config")
    assert of_file.params == of_flags.params
    # What is written is what was read.
    assert read_toml(write(tmp_path / "again.toml", config_text(of_file))) == EVERY_FLAG


def test_a_saved_run_can_be_run_again(tiny_bundle: Path, video: Path, tmp_path: Path) -> None:
    saved = tmp_path / "run.toml"
    invoke(
        *(tiny_bundle, video, "--json", tmp_path / "first.jsonl", "--max-frames", 6),
        *("--no-postprocess", "--fast-resize", "--threads", 1, "--save-config", saved),
    )
    invoke("--config", saved, "--json", tmp_path / "second.jsonl")
    first, second = records(tmp_path / "first.jsonl"), records(tmp_path / "second.jsonl")
    assert len(first) == 6
    assert first == second
    assert "present" not in first[0]
    # The same command may be given again; another one does not replace the file in silence.
    invoke("--config", saved, "--json", tmp_path / "third.jsonl", "--save-config", tmp_path / "b")
    with pytest.raises(OutputExistsError, match=r"run\.toml"):
        invoke("--config", saved, "--json", tmp_path / "fourth.jsonl", "--save-config", saved)
    assert not (tmp_path / "fourth.jsonl").exists()


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    file = write(
        tmp_path / "run.toml",
        'model = "m.trocar"\nsource = ["a.mp4"]\nmax_frames = 2\nquality = 3\nfast_resize = true\n',
    )
    request = request_from(context("--config", file, "--max-frames", 9).params)
    assert request.sources == ("a.mp4",)
    assert request.options.model.path == Path("m.trocar")
    assert request.options.model.fast_resize
    assert request.options.input.max_frames == 9
    assert request.options.output.encoding.quality == 3
    given = request_from(context("other.trocar", "b.mp4", "--config", file).params)
    assert (given.options.model.path, given.sources) == (Path("other.trocar"), ("b.mp4",))


def test_all_faults_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    file = write(
        tmp_path / "run.toml",
        'threds = 2\nview = "x"\nthreads = "two"\nquality = 99\nbackend = "tensort"\n'
        'live = "yes"\nmax_frames = true\nstream = "a"\nmax_age = "old"\njson = 3\n'
        'serve = "here"\nmax_batch = 1\n',
    )
    with pytest.raises(ConfigError) as caught:
        read_config(run, file)
    text = caught.value.message
    for words in (
        "'threds' is not known (did you mean threads",
        "'view' is not known",
        "'max_batch' is not known",
        "threads: got 'two', expected a whole number",
        "quality: 99 is not in the range 0<=x<=51",
        "backend: 'tensort' is not known (did you mean tensorrt",
        "live: got 'yes', expected true or false",
        "max_frames: got True, expected a whole number",
        "stream: got 'a', expected a list",
        "max_age: got 'old', expected a number",
        "json: got 3, expected text",
        "serve: 'here' is not HOST:PORT",
    ):
        assert words in text
    with pytest.raises(DataError, match="is not TOML"):
        read_config(run, write(tmp_path / "bad.toml", "threads = \n"))
    with pytest.raises(DataError, match="cannot read"):
        read_config(run, tmp_path / "missing.toml")


def test_passwords_and_tokens_are_not_saved_and_must_be_given_again(tmp_path: Path) -> None:
    ctx = context(
        *("m.trocar", "rtsp://bob:secret@cam/1", "--stream", "http://h/v?token=secret"),
        *("--overlay", "rtsp://eve:secret@box/{n}", "--token", "secret-secret-secret"),
    )
    text = config_text(ctx)
    assert "secret" not in text
    assert "bob" not in text
    assert "token = " not in text
    saved = write(tmp_path / "run.toml", text)
    with pytest.raises(
        ConfigError, match="the password in source, overlay, stream was redacted"
    ) as caught:
        invoke("--config", saved)
    assert "on the command line" in caught.value.remedy
    again = context(
        *("m.trocar", "rtsp://bob:secret@cam/1", "--stream", "http://h/v?token=secret"),
        *("--overlay", "rtsp://eve:secret@box/{n}", "--config", saved),
    )
    assert request_from(again.params) == request_from({**ctx.params, "token": None})
