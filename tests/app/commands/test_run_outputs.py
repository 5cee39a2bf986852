"""`trocar run` destroys nothing: what it reads, bundles, other people's folders, devices."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from numbered_videos import write
from tiny_bundle import make_tiny_bundle

from trocar.cli import main
from trocar.commands import _file
from trocar.contract.errors import SinkError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("outputs") / "m.trocar")


@pytest.fixture
def place(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with ``m.trocar``, ``v.mp4`` and a folder of someone's own."""
    shutil.copytree(model, tmp_path / "m.trocar")
    write(tmp_path / "v.mp4", range(3))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    os.link(tmp_path / "v.mp4", tmp_path / "same.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def code(line: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["run", *line.split()])
    return int(caught.value.code or 0)


REFUSED = {
    "a folder of someone's own": "m.trocar v.mp4 --save-frames thesis --overwrite",
    "the folder of everything": "m.trocar v.mp4 --save-frames . --overwrite",
    "the recording": "m.trocar v.mp4 --overlay v.mp4 --overwrite",
    "the recording by another name": "m.trocar v.mp4 --overlay same.mp4 --overwrite",
    "the model": "m.trocar v.mp4 --json m.trocar/model.onnx --overwrite",
    "a new file in the bundle": "m.trocar v.mp4 --json m.trocar/out.jsonl",
    "the bundle of a bare model": "m.trocar/model.onnx v.mp4 --csv m.trocar/golden.npz --overwrite",
    "two outputs of one name": "m.trocar v.mp4 --json out.txt --csv ./out.txt",
    "an output in another": "m.trocar v.mp4 --save-masks o --json o/out.jsonl",
    "metrics that exist": "m.trocar v.mp4 --metrics thesis/chapter.tex",
    "live metrics that exist": "m.trocar v.mp4 --live --metrics thesis/chapter.tex",
    "a trace that exists": "m.trocar v.mp4 --live --trace thesis/chapter.tex",
    "the recording as metrics": "m.trocar v.mp4 --metrics v.mp4 --overwrite",
    "results of many in the bundle": "m.trocar v.mp4 --out m.trocar/results",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_destroyed_is_refused(
    case: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(place)
    assert code(REFUSED[case]) in (2, 11)
    assert "→" in capsys.readouterr().err
    assert everything(place) == before


def test_devices_and_pipes_are_written_to(place: Path) -> None:
    fifo = place / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        main(["run", "m.trocar", "v.mp4", "--json", "pipe", "--csv", "/dev/null"])
    finally:
        lines = os.read(reader, 1 << 20).decode().splitlines()
        os.close(reader)
    assert [json.loads(line)["frame"] for line in lines] == [0, 1, 2]
    assert fifo.is_fifo()
    assert Path("/dev/null").is_char_device()


def test_all_outputs_appear_or_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "a.jsonl").write_text("earlier")
    before = everything(place)

    def full(self: object) -> None:
        raise SinkError("cannot write it", remedy="free disk space")

    monkeypatch.setattr(_file.MetricsFile, "commit", full)
    line = "m.trocar v.mp4 --json a.jsonl --csv b.csv --save-frames f --metrics x.json --overwrite"
    assert code(line) == 14
    assert everything(place) == before


def test_metrics_that_cannot_be_written_leave_no_other_output(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> bytes:
        raise SinkError("no space", remedy="free disk space")

    monkeypatch.setattr(_file, "_metrics", full)
    assert code("m.trocar v.mp4 --json a.jsonl --metrics x.json") == 14
    assert not (place / "a.jsonl").exists()
    assert not (place / "x.json").exists()
