"""No output destroys an input, a bundle or another output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trocar.contract.bundle import write_atomic
from trocar.contract.errors import ConfigError, OutputExistsError
from trocar.contract.outputs import (
    check_free,
    check_outputs,
    check_own_files,
    ignores_case,
    is_node,
)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"a recording")
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "m.trocar"
    folder.mkdir()
    for name in ("manifest.json", "model.onnx"):
        (folder / name).touch()
    return folder


def test_other_files_are_allowed(film: Path, bundle: Path, tmp_path: Path) -> None:
    outputs = {"--json": tmp_path / "a.jsonl", "--csv": tmp_path / "a.csv"}
    check_outputs(outputs, inputs=[film, bundle, tmp_path / "not there"])
    check_outputs({"--json": film.parent / "new.jsonl"}, inputs=[film])


@pytest.mark.parametrize("way", ["name", "dots", "link", "hard link", "linked folder"])
def test_an_input_is_no_output(way: str, film: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    if way == "name":
        other = film
    elif way == "dots":
        (tmp_path / "sub").mkdir()
        other = tmp_path / "sub" / ".." / film.name
    elif way == "link":
        other.symlink_to(film)
    elif way == "hard link":
        os.link(film, other)
    else:
        other.symlink_to(tmp_path, target_is_directory=True)
        other = other / film.name
    with pytest.raises(ConfigError, match=r"--overlay .* is an input"):
        check_outputs({"--overlay": other}, inputs=[film])


@pytest.mark.parametrize("name", ["", "model.onnx", "new.jsonl", "engines/new.txt"])
def test_a_bundle_is_no_place_for_outputs(name: str, bundle: Path) -> None:
    with pytest.raises(ConfigError, match="is in the bundle"):
        check_outputs({"--json": bundle / name}, inputs=[])
    if name:
        with pytest.raises(ConfigError, match="is in the bundle"):
            check_outputs({"--out": bundle / name}, inputs=[], bundles=["--out"])
    else:
        check_outputs({"--out": bundle}, inputs=[], bundles=["--out"])


def test_a_folder_that_holds_what_is_read_or_written_is_no_output(
    film: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="holds the input"):
        check_outputs({"--save-frames": tmp_path}, inputs=[film], folders=["--save-frames"])
    outputs = {"--save-frames": tmp_path / "f", "--json": tmp_path / "f" / "out.jsonl"}
    with pytest.raises(ConfigError, match="holds the output --json"):
        check_outputs(outputs, inputs=[], folders=["--save-frames"])


def test_outputs_are_distinct(tmp_path: Path) -> None:
    first = tmp_path / "a.txt"
    first.touch()
    os.link(first, tmp_path / "b.txt")
    for other in (first, tmp_path / "." / "a.txt", tmp_path / "b.txt"):
        with pytest.raises(ConfigError, match="--csv and --json are the same file"):
            check_outputs({"--json": first, "--csv": other}, inputs=[])
    with pytest.raises(ConfigError, match="are the same file"):
        check_outputs({"--json": tmp_path / "n", "--csv": tmp_path / "n"}, inputs=[])
    check_outputs({"--json": Path(os.devnull), "--csv": Path(os.devnull)}, inputs=[])


def test_nodes_are_free_and_written_to(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        check_free(fifo, overwrite=False)
        write_atomic(fifo, b"metrics")
        assert os.read(reader, 100) == b"metrics"
    finally:
        os.close(reader)
    assert is_node(fifo)
    for path in ("/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        assert is_node(Path(path))
    assert not is_node(tmp_path)
    assert not is_node(tmp_path / "new")


def test_a_link_stays_and_the_file_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    with pytest.raises(OutputExistsError):
        check_free(tmp_path / "link.json", overwrite=False)
    write_atomic(tmp_path / "link.json", b"new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").touch()
    check_own_files(tmp_path, r"evaluation\.json")
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputExistsError, match=r"did not write: thesis\.tex"):
        check_own_files(tmp_path, r"evaluation\.json")


@pytest.mark.parametrize(
    ("one", "other"),
    [("out.csv", "OUT.csv"), ("Stra\u00dfe.csv", "STRASSE.csv"), ("e\u0301", "\u00e9")],
)
def test_names_that_the_disk_takes_for_one_are_one_output(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    """As on macOS and Windows: neither file is there yet, so that no inode tells."""
    outputs = {"--json": tmp_path / one, "--csv": tmp_path / other}
    check_outputs(outputs, inputs=[film])
    monkeypatch.setattr("trocar.contract.outputs.ignores_case", lambda path: True)
    with pytest.raises(ConfigError, match="same file"):
        check_outputs(outputs, inputs=[film])


def test_whether_a_disk_ignores_case_is_asked_of_the_folder_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Results").mkdir()
    new = tmp_path / "Results" / "not there" / "out.csv"
    assert not ignores_case(new)
    # What such a disk answers: the folder is there by the other name too.
    (tmp_path / "rESULTS").symlink_to("Results")
    assert ignores_case(new)
