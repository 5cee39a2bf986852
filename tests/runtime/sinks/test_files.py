"""All outputs of a run get their names, or none does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trocar.contract.errors import OutputExistsError, SinkError
from trocar.runtime.sinks.files import AtomicFile, AtomicFolder, commit_all, partial_name


def prepared(path: Path, text: str) -> AtomicFile:
    file = AtomicFile(path, overwrite=True, live=False)
    file.prepare().write_text(text)
    return file


class Broken:
    """An output that cannot be put in place."""

    def commit(self) -> None:
        raise SinkError("cannot write it")

    def discard(self) -> None:
        pass


def folder(path: Path, name: str) -> AtomicFolder:
    made = AtomicFolder(path, overwrite=True)
    (made.prepare() / name).touch()
    return made


def test_all_appear(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("old")
    commit_all([folder(tmp_path / "f", "000000.png")])
    commit_all(
        [
            prepared(tmp_path / "old.txt", "new"),
            prepared(tmp_path / "new.txt", "new"),
            folder(tmp_path / "f", "000001.png"),
        ]
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "new.txt", "old.txt"]
    assert (tmp_path / "old.txt").read_text() == "new"
    assert [p.name for p in (tmp_path / "f").glob("*.png")] == ["000001.png"]


def test_none_appears_when_the_last_fails_and_what_was_there_is_there_again(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("old")
    commit_all([folder(tmp_path / "f", "000000.png")])
    with pytest.raises(SinkError):
        commit_all(
            [
                prepared(tmp_path / "old.txt", "new"),
                prepared(tmp_path / "new.txt", "new"),
                folder(tmp_path / "f", "000001.png"),
                Broken(),
            ]
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "old.txt"]
    assert (tmp_path / "old.txt").read_text() == "old"
    assert [p.name for p in (tmp_path / "f").glob("*.png")] == ["000000.png"]


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        file = AtomicFile(fifo, overwrite=False, live=False)
        with file.prepare().open(file.mode) as stream:
            stream.write("line\n")
        commit_all([file])
        assert os.read(reader, 100) == b"line\n"
        file.discard()
    finally:
        os.close(reader)
    assert fifo.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    commit_all([prepared(tmp_path / "link.txt", "new")])
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_live_output_is_partial_until_it_is_complete(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "a.b.txt", overwrite=False, live=True)
    frames = AtomicFolder(tmp_path / "frames", overwrite=False, live=True)
    file.prepare().write_text("new")
    (frames.prepare() / "000000.png").touch()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.b.partial.txt", "frames.partial"]
    commit_all([file, frames])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.b.txt", "frames"]


def test_a_live_output_that_fails_stays_as_partial(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    for number in (1, 2):
        file = AtomicFile(tmp_path / "a.txt", overwrite=True, live=True)
        file.prepare().write_text(f"run {number}")
        with pytest.raises(SinkError):
            commit_all([file, Broken()])
        assert (tmp_path / "a.txt").read_text() == "old"
        assert partial_name(tmp_path / "a.txt", number).read_text() == f"run {number}"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("live", [False, True])
def test_a_file_that_appeared_meanwhile_is_not_replaced(live: bool, tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "a.txt", overwrite=False, live=live)
    file.prepare().write_text("mine")
    (tmp_path / "a.txt").write_text("another's")
    with pytest.raises(OutputExistsError):
        commit_all([file])
    assert (tmp_path / "a.txt").read_text() == "another's"
    left = [p.read_text() for p in tmp_path.glob("a.partial.txt")]
    assert left == (["mine"] if live else [])
