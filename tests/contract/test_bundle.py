from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path

import pytest

from trocar.contract import bundle as bundle_module
from trocar.contract.bundle import (
    MANIFEST,
    open_bundle,
    replaced_folder,
    update_bundle,
    write_bundle,
)
from trocar.contract.classes import ClassTable
from trocar.contract.errors import (
    BundleError,
    IntegrityError,
    OutputExistsError,
    SinkError,
    VersionError,
)
from trocar.contract.manifest import InputSpec, Manifest, OutputSpec

FILES = {"model.onnx": b"model", "golden.npz": b"golden", "engines/a.engine": b"engine"}


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        name="m",
        task="segmentation",
        method="supervised",
        classes=ClassTable.from_names(["background", "Schere"]),
        input=InputSpec(height=8, width=10),
        outputs=(OutputSpec(name="labels", dtype="uint8", shape=("batch", 8, 10)),),
        golden_margin=0.01,
        source={"steps": 3},
    )


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_round_trip(tmp_path, manifest) -> None:
    made = write_bundle(tmp_path / "m.trocar", manifest, FILES)
    opened = open_bundle(tmp_path / "m.trocar")
    assert opened == made
    assert opened.read("engines/a.engine") == b"engine"
    assert dataclasses.replace(opened.manifest, files={}) == manifest
    assert leftovers(tmp_path) == []


def test_unknown_minor_and_unknown_fields_are_read(tmp_path, manifest) -> None:
    data = {**manifest.to_dict(), "schema": "1.7", "later": [1]}
    assert Manifest.from_json(json.dumps(data)).name == "m"


@pytest.mark.parametrize("schema", ["2.0", "0.9", "", None, "1", "x.y", 1.0])
def test_other_versions_are_refused(manifest, schema) -> None:
    with pytest.raises(VersionError, match="schema"):
        Manifest.from_json(json.dumps({**manifest.to_dict(), "schema": schema}))


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_found(tmp_path, manifest, name) -> None:
    write_bundle(tmp_path / "m", manifest, FILES)
    (tmp_path / "m" / name).write_bytes(b"other")
    with pytest.raises(IntegrityError, match=name):
        open_bundle(tmp_path / "m")


def test_a_missing_file_is_named(tmp_path, manifest) -> None:
    write_bundle(tmp_path / "m", manifest, FILES)
    (tmp_path / "m" / "golden.npz").unlink()
    with pytest.raises(BundleError, match=r"golden\.npz is missing"):
        open_bundle(tmp_path / "m")


def test_an_unreadable_file_is_named(tmp_path, manifest, monkeypatch) -> None:
    write_bundle(tmp_path / "m", manifest, FILES)

    def broken(path: Path) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(bundle_module, "sha256_of", broken)
    with pytest.raises(BundleError, match=r"cannot read .*Input/output error"):
        open_bundle(tmp_path / "m")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": "1.0"}', b"\xff\xfe"])
def test_a_broken_manifest_is_refused(tmp_path, manifest, content) -> None:
    write_bundle(tmp_path / "m", manifest, FILES)
    (tmp_path / "m" / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError):
        open_bundle(tmp_path / "m")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "", "a\\b", "a//b"])
def test_names_that_leave_the_bundle_are_refused(tmp_path, manifest, name) -> None:
    with pytest.raises(BundleError, match="leaves"):
        write_bundle(tmp_path / "m", manifest, {**FILES, name: b"x"})
    assert not (tmp_path / "m").exists()
    with pytest.raises(BundleError, match="not inside the bundle"):
        Manifest.from_json(json.dumps({**manifest.to_dict(), "files": {name: "0" * 64}}))


def test_what_exists_is_not_overwritten(tmp_path, manifest) -> None:
    write_bundle(tmp_path / "m", manifest, FILES)
    with pytest.raises(OutputExistsError):
        write_bundle(tmp_path / "m", manifest, FILES)
    write_bundle(tmp_path / "m", manifest, {"model.onnx": b"2"}, overwrite=True)
    assert set(open_bundle(tmp_path / "m").manifest.files) == {"model.onnx"}
    other = tmp_path / "precious"
    other.mkdir()
    with pytest.raises(OutputExistsError, match="never replaced"):
        write_bundle(other, manifest, FILES, overwrite=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x")])
def test_an_interrupted_write_leaves_nothing(tmp_path, error) -> None:
    def write() -> None:
        with replaced_folder(tmp_path / "m") as temporary:
            (temporary / "half").write_text("x")
            raise error

    with pytest.raises(type(error)):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, manifest, monkeypatch) -> None:
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SinkError, match="No space left"):
        write_bundle(tmp_path / "m", manifest, FILES)
    assert list(tmp_path.iterdir()) == []


def test_update_adds_and_removes(tmp_path, manifest) -> None:
    first = write_bundle(tmp_path / "m", manifest, FILES)
    second = update_bundle(first, add={"more.npz": b"1"}, remove=["golden.npz"])
    assert open_bundle(tmp_path / "m") == second
    assert set(second.manifest.files) == {"model.onnx", "engines/a.engine", "more.npz"}
    assert not (tmp_path / "m" / "golden.npz").exists()


def test_update_refuses_new_content_under_an_old_name(tmp_path, manifest) -> None:
    first = write_bundle(tmp_path / "m", manifest, FILES)
    with pytest.raises(BundleError, match="other content"):
        update_bundle(first, add={"golden.npz": b"new"})
    assert open_bundle(tmp_path / "m") == first


def test_a_crash_before_the_manifest_leaves_the_old_bundle(tmp_path, manifest, monkeypatch) -> None:
    first = write_bundle(tmp_path / "m", manifest, FILES)

    def crash(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_module, "write_atomic", crash)
    with pytest.raises(KeyboardInterrupt):
        update_bundle(first, add={"more.npz": b"1"}, remove=["golden.npz"])
    assert open_bundle(tmp_path / "m") == first
    assert not (tmp_path / "m" / "more.npz").exists()
