"""`trocar run … --out`: an archive is worked through once, whatever happens on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from trocar.commands.run import run
from trocar.contract.errors import (
    BundleError,
    ConfigError,
    OutputExistsError,
    SourceError,
    TrocarError,
)
from trocar.runtime.archive import worker as archive_worker
from trocar.runtime.archive.run import _locked

FRAMES = 4


@pytest.fixture(scope="module")
def clip(kit: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = kit.write_video(tmp_path_factory.mktemp("clip") / "c.mp4", frames=FRAMES)
    return made


@pytest.fixture
def archive(clip: Path, tmp_path: Path) -> Path:
    """Three recordings, two of them of one name."""
    for name in ("mon/op.mp4", "tue/op.mp4", "tue/late/second.mp4"):
        place = tmp_path / "archive" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, place)
    return tmp_path / "archive"


def invoke(*args: object) -> list[str]:
    """Runs the command and gives its lines; the error that ended it is raised."""
    done = CliRunner().invoke(run, [str(arg) for arg in args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def results(out: Path) -> dict[str, Path]:
    """Folders of results by the recording's path."""
    return {json.loads(p.read_text())["path"]: p.parent for p in out.glob("*/done.json")}


def events(out: Path, event: str) -> list[str]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line["recording"] for line in lines if line["event"] == event]


def test_every_recording_once_and_none_twice(
    tiny_bundle: Path, archive: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    names = sorted(str(path) for path in archive.rglob("*.mp4"))
    lines = invoke(tiny_bundle, f"{archive}/**/*.mp4", "--out", out)
    assert len(lines) == 4
    assert all(f": {FRAMES} frames in " in line for line in lines[:3])
    assert lines[3].startswith("3 done, 0 done before, 0 failed")
    found = results(out)
    assert sorted(found) == names
    assert len(set(found.values())) == 3
    for folder in found.values():
        assert sorted(p.name for p in folder.iterdir()) == ["done.json", "results.jsonl"]
        assert len((folder / "results.jsonl").read_text().splitlines()) == FRAMES
    assert {p.name for p in out.iterdir() if not p.is_dir()} == {".lock", "log.jsonl"}
    before = {p: p.stat().st_ino for p in found.values()}
    lines = invoke(tiny_bundle, f"{archive}/**/*.mp4", archive / "mon" / "op.mp4", "--out", out)
    assert [line.rpartition(": ")[2] for line in lines[:3]] == ["done before"] * 3
    assert lines[3].startswith("0 done, 3 done before")
    assert {p: p.stat().st_ino for p in before} == before
    assert sorted(events(out, "finished")) == names


def test_what_changed_is_done_again_and_nothing_else(
    tiny_bundle: Path, tiny: ModuleType, archive: Path, tmp_path: Path
) -> None:
    out, pattern = tmp_path / "out", f"{archive}/**/*.mp4"
    invoke(tiny_bundle, pattern, "--out", out)

    def again(*flags: object, model: Path = tiny_bundle) -> dict[str, str]:
        lines = invoke(model, pattern, "--out", out, *flags)
        told = (line for line in lines if ", again: " in line)
        return {Path(line.partition("] ")[2].partition(":")[0]).name: line.rpartition(": ")[2]
                for line in told}  # fmt: skip

    second = archive / "tue" / "late" / "second.mp4"
    os.utime(second, ns=(1, 1))
    assert again() == {"second.mp4": "the recording has changed"}
    (results(out)[str(second)] / "results.jsonl").unlink()
    assert again() == {"second.mp4": "results are missing"}
    (results(out)[str(second)] / "done.json").write_text("{")
    assert again() == {"second.mp4": "its done.json is damaged"}
    everything = {"op.mp4", "second.mp4"}
    assert again("--csv", "i.csv") == dict.fromkeys(everything, "the settings have changed")
    assert again("--csv", "i.csv", "--threads", 2) == {}
    assert again("--csv", "i.csv", "--overwrite") == dict.fromkeys(everything, "--overwrite")
    other = tiny.make_tiny_bundle(tmp_path / "other.trocar", height=48)
    assert again("--csv", "i.csv", model=other) == dict.fromkeys(
        everything, "the model has changed"
    )
    assert len(results(out)) == 3
    assert not list(out.glob(".part.*")) + list(out.glob(".old.*"))


def test_faults_are_listed_and_stop_no_other(
    tiny_bundle: Path, archive: Path, clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    broken = archive / "mon" / "broken.mp4"
    broken.write_bytes(clip.read_bytes()[:200])
    (archive / "mon" / "empty.mp4").write_bytes(b"")
    with pytest.raises(TrocarError, match="2 of 5 recordings failed") as caught:
        invoke(tiny_bundle, f"{archive}/**/*.mp4", "--out", out)
    assert str(broken) in caught.value.message
    assert "empty.mp4 is empty" in caught.value.message
    assert "same command" in caught.value.remedy
    assert caught.value.code == 1
    assert len(results(out)) == 3
    shutil.copy(clip, broken)
    (archive / "mon" / "empty.mp4").unlink()
    lines = invoke(tiny_bundle, f"{archive}/**/*.mp4", "--out", out)
    assert lines[-1].startswith("1 done, 3 done before, 0 failed")


def test_every_kind_of_output_lies_in_the_recordings_folder(
    tiny_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    invoke(
        *(tiny_bundle, clip, "--out", out, "--overlay", "o.mp4", "--json", "j.jsonl"),
        *("--csv", "i.csv", "--save-masks", "m", "--save-frames", "f", "--max-frames", 2),
    )
    (folder,) = results(out).values()
    names = ["done.json", "f", "i.csv", "j.jsonl", "m", "o.mp4"]
    assert sorted(p.name for p in folder.iterdir()) == names
    assert len(list((folder / "m").glob("*.png"))) == len(list((folder / "f").glob("*.png"))) == 2


def test_results_are_not_taken_for_recordings(
    tiny_bundle: Path, archive: Path, tmp_path: Path
) -> None:
    out = archive / "results"
    flags = (tiny_bundle, f"{archive}/**/*.mp4", "--out", out, "--overlay", "o.mp4")
    assert invoke(*flags)[-1].startswith("3 done")
    assert invoke(*flags)[-1].startswith("0 done, 3 done before")


def test_a_recording_that_grows_meanwhile_is_not_done(
    tiny_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = Path(shutil.copy(clip, tmp_path / "growing.mp4"))
    whole = archive_worker.run_lossless

    def meanwhile(*args: Any, **named: Any) -> Any:
        with growing.open("ab") as file:
            file.write(b"more")
        return whole(*args, **named)

    monkeypatch.setattr(archive_worker, "run_lossless", meanwhile)
    with pytest.raises(TrocarError, match="changed while it was read"):
        invoke(tiny_bundle, growing, "--out", tmp_path / "out")
    assert results(tmp_path / "out") == {}
    assert not list((tmp_path / "out").glob(".part.*"))


def test_an_unforeseen_fault_of_one_recording_is_told_as_well(
    tiny_bundle: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = archive_worker.open_source

    def odd(recording: Path, *rest: Any) -> Any:
        if recording.name == "second.mp4":
            raise ZeroDivisionError("of the decoder")
        return whole(recording, *rest)

    monkeypatch.setattr(archive_worker, "open_source", odd)
    with pytest.raises(TrocarError, match="ZeroDivisionError: of the decoder"):
        invoke(tiny_bundle, f"{archive}/**/*.mp4", "--out", tmp_path / "out")
    assert len(results(tmp_path / "out")) == 2


def test_results_that_are_published_second_are_deleted(
    tiny_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was thought dead comes back while another has done its recording."""
    out = tmp_path / "out"
    whole = archive_worker.run_lossless
    calls: list[int] = []

    def overtaken(*args: Any, **named: Any) -> Any:
        done = whole(*args, **named)
        calls.append(1)
        if len(calls) == 1:
            job, recording, worker = seen[0]
            assert archive_worker.process(job, recording, worker).state == "done"
        return done

    seen: list[Any] = []
    first = archive_worker.publish_atomically

    def watched(job: Any, recording: Any, worker: Any, **named: Any) -> Any:
        seen.append((job, recording, worker))
        return first(job, recording, worker, **named)

    monkeypatch.setattr(archive_worker, "run_lossless", overtaken)
    monkeypatch.setattr(archive_worker, "publish_atomically", watched)
    lines = invoke(tiny_bundle, clip, "--out", out)
    assert len(calls) == 2
    assert "done before" in lines[0]
    assert len(events(out, "started")) == 2
    assert len(events(out, "finished")) == len(events(out, "second")) == 1
    assert len(results(out)) == 1


def test_wrong_flags_and_places_are_refused_before_any_work(
    tiny_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match=r"--live is not for archives; 'a/b.mp4' is not a plain"):
        invoke(tiny_bundle, clip, "--out", out, "--live", "--overlay", "a/b.mp4")
    with pytest.raises(ConfigError, match="two outputs have the same name"):
        invoke(tiny_bundle, clip, "--out", out, "--csv", "x", "--json", "x")
    with pytest.raises(ConfigError, match="is a live stream"):
        invoke(tiny_bundle, "rtsp://or1/feed", "--out", out)
    with pytest.raises(SourceError, match="nothing matches"):
        invoke(tiny_bundle, tmp_path / "*.avi", "--out", out)
    with pytest.raises(BundleError):
        invoke(clip, clip, "--out", out)
    with pytest.raises(ConfigError, match="--ray is for many"):
        invoke(tiny_bundle, clip, "--ray", "local")
    assert not out.exists()
    with _locked(out), pytest.raises(OutputExistsError, match="another run uses"):
        invoke(tiny_bundle, clip, "--out", out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_it_goes_on_later(
    tiny: ModuleType, kit: ModuleType, tmp_path: Path, number: int
) -> None:
    slow = tiny.make_tiny_bundle(tmp_path / "slow.trocar", delay=16)
    clip = kit.write_video(tmp_path / "0.mp4", frames=20)
    for index in range(1, 12):
        shutil.copy(clip, tmp_path / f"{index}.mp4")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "trocar.cli", "run", str(slow), f"{tmp_path}/*.mp4"]
    command += ["--out", str(out), "--threads", "1"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while running.poll() is None:
        if (out / "log.jsonl").exists() and events(out, "finished"):
            running.send_signal(number)
            break
        time.sleep(0.01)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130, told
    assert "the same command continues from here" in told
    assert "Traceback" not in told, told
    done = len(results(out))
    assert 0 < done < 12
    assert not list(out.glob(".part.*"))
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{12 - done} done, {done} done before, 0 failed" in finished.stderr
    assert sorted(events(out, "finished")) == sorted(results(out))
    assert len(results(out)) == 12


def test_one_bad_recording_never_stops_an_archive(
    tiny_bundle: Path, archive: Path, clip: Path, tmp_path: Path
) -> None:
    """A name that is no UTF-8, a text, a playlist, and damaged files of earlier results."""
    latin = Path(os.fsdecode(os.fsencode(archive) + b"/caf\xe9.mp4"))
    shutil.copy(clip, latin)
    out, pattern = tmp_path / "out", f"{archive}/**/*.mp4"
    (archive / "notes.mp4").write_text("no recording\n" * 9)
    (archive / "list.mp4").write_text(f"ffconcat version 1.0\nfile {clip}\n")
    with pytest.raises(TrocarError, match="2 of 6 recordings failed") as caught:
        invoke(tiny_bundle, pattern, "--out", out)
    assert "is a text and no recording" in caught.value.message
    assert "is a playlist" in caught.value.message
    for name in ("notes.mp4", "list.mp4"):
        (archive / name).unlink()
    found = results(out)
    assert str(archive / r"caf\xe9.mp4") in found
    assert len(found) == 4
    assert len(events(out, "finished")) == 4
    damaged = sorted(p / "done.json" for p in found.values())
    text = damaged[0].read_text()
    damaged[0].write_text(text.replace('"results.jsonl": ', '"results.jsonl": 1e999, "x": '))
    damaged[1].write_text(text.replace('"results.jsonl"', '"a\\u0000b"'))
    damaged[2].write_text("[" * 100_000)
    lines = invoke(tiny_bundle, pattern, "--out", out)
    assert sum("again" in line for line in lines) >= 2
    assert lines[-1].startswith(("3 done, 1 done before", "3 done, 1 done before, 0 failed"))
