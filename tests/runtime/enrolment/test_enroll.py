"""Classes from photographs: recognised, in any order, undone, refused, whole at every moment."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from trocar.commands.enroll import enroll as enroll_command
from trocar.contract.bundle import open_bundle
from trocar.contract.class_store import ClassStore
from trocar.contract.errors import BundleError, ConfigError, DataError
from trocar.runtime.enrolment.enroll import enroll, open_classes, remove, stored_classes, undo
from trocar.runtime.session import Session

SAW, FORK = "bone saw", "clip applier"


@pytest.fixture(params=["few", "tail"])
def bundle(
    request: pytest.FixtureRequest, few_bundle: Path, tail_bundle: Path, tmp_path: Path
) -> Path:
    """A copy of either kind of bundle, free to be changed."""
    source = {"few": few_bundle, "tail": tail_bundle}[request.param]
    return Path(shutil.copytree(source, tmp_path / "model.trocar"))


@pytest.fixture
def photos(photo_kit: ModuleType, tmp_path: Path) -> Callable[..., list[Path]]:
    def make(kind: str, numbers: range) -> list[Path]:
        return [
            photo_kit.write(tmp_path / "photos" / f"{kind}_{n}.png", photo_kit.picture(kind, n))
            for n in numbers
        ]

    return make


def named(session: Session, image: np.ndarray) -> str:
    scores = session.run(image).scores
    assert scores is not None
    return session.classes[int(scores.argmax())].name


def test_a_class_never_seen_is_recognised_in_other_photographs(
    bundle: Path, photos: Callable[..., list[Path]], photo_kit: ModuleType
) -> None:
    done = enroll(bundle, SAW, photos(SAW, range(100, 105)), threads=1)
    assert done.photos == 5
    assert done.recognised is not None
    assert done.recognised > 0.5
    with Session.open(bundle, threads=1) as session:
        assert session.classes.names[-1] == SAW
        found = [named(session, photo_kit.picture(SAW, n)) for n in range(200, 212)]
        known = [named(session, photo_kit.picture("grasper", n)) for n in range(200, 206)]
    assert found.count(SAW) >= 9
    assert known.count("grasper") >= 4


def test_the_order_of_enrolment_does_not_matter(
    bundle: Path, photos: Callable[..., list[Path]], tmp_path: Path
) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "other.trocar"))
    saw, fork = photos(SAW, range(100, 104)), photos(FORK, range(100, 101))
    enroll(bundle, SAW, saw, threads=1)
    enroll(bundle, FORK, fork, threads=1)
    enroll(other, FORK, fork[::-1], threads=1)
    enroll(other, SAW, saw[::-1], threads=1)
    a, b = open_classes(bundle), open_classes(other)
    assert a[1].names == b[1].names
    assert a[0].manifest.classes == b[0].manifest.classes
    for name, tensor in a[1].inputs.items():
        assert np.array_equal(tensor, b[1].inputs[name]), name
    assert np.array_equal(a[1].features, b[1].features)


def test_a_removed_class_leaves_no_trace(bundle: Path, photos: Callable[..., list[Path]]) -> None:
    _, before = open_classes(bundle)
    enroll(bundle, SAW, photos(SAW, range(100, 104)), threads=1)
    enroll(bundle, FORK, photos(FORK, range(100, 101)), threads=1)
    remove(bundle, SAW)
    remove(bundle, FORK)
    _, after = open_classes(bundle)
    assert after.names == before.names
    assert np.array_equal(after.features, before.features)
    for name, tensor in before.inputs.items():
        np.testing.assert_allclose(after.inputs[name], tensor, atol=2e-2)
    with pytest.raises(DataError, match="has no class"):
        remove(bundle, SAW)


def test_undo_goes_back_one_change_at_a_time(
    bundle: Path, photos: Callable[..., list[Path]]
) -> None:
    first = open_bundle(bundle)
    enroll(bundle, SAW, photos(SAW, range(100, 103)), threads=1)
    second = open_bundle(bundle)
    enroll(bundle, FORK, photos(FORK, range(100, 101)), threads=1)
    undo(bundle)
    back = open_bundle(bundle)
    assert back.manifest == second.manifest
    undo(bundle)
    assert open_bundle(bundle).manifest == first.manifest
    with pytest.raises(BundleError, match="no change to undo"):
        undo(bundle)
    listed = set(open_bundle(bundle).manifest.files)
    there = {p.name for p in bundle.iterdir() if p.suffix == ".npz"}
    assert there <= listed


@pytest.mark.parametrize("length", [1, 2])
def test_states_that_lead_back_to_themselves_are_refused(
    length: int, bundle: Path, photos: Callable[..., list[Path]]
) -> None:
    """Following them had no end."""
    for kind in (SAW, FORK)[:length]:
        enroll(bundle, kind, photos(kind, range(100, 101)), threads=1)
    opened, newest = open_classes(bundle)
    state = opened.manifest.extra["classification"]["state"]
    name = state if length == 1 else newest.previous
    changed = replace(ClassStore.from_bytes(opened.read(name)), previous=state).to_bytes()
    document = json.loads((bundle / "manifest.json").read_text())
    document["files"][name] = hashlib.sha256(changed).hexdigest()
    (bundle / name).write_bytes(changed)
    (bundle / "manifest.json").write_text(json.dumps(document))
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    for change in (lambda: undo(bundle), lambda: remove(bundle, SAW)):
        with pytest.raises(BundleError, match="came after it or is the same") as caught:
            change()
        assert "export the bundle again" in caught.value.remedy
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_class_is_replaced_only_when_asked(
    bundle: Path, photos: Callable[..., list[Path]]
) -> None:
    enroll(bundle, SAW, photos(SAW, range(100, 103)), threads=1)
    with pytest.raises(DataError, match="already has a class 'bone saw'"):
        enroll(bundle, "Bone  Saw", photos(SAW, range(103, 106)), threads=1)
    done = enroll(bundle, SAW, photos(SAW, range(103, 107)), replace_class=True, threads=1)
    assert done.replaced
    _, store = open_classes(bundle)
    assert store.names.count(SAW) == 1
    assert (store.owners == store.names.index(SAW)).sum() == 4


def test_what_cannot_be_told_apart_is_refused_by_name_and_similarity(
    bundle: Path, photos: Callable[..., list[Path]]
) -> None:
    before = (bundle / "manifest.json").read_bytes()
    files = sorted(p.name for p in bundle.iterdir())
    with pytest.raises(
        DataError, match=r"distinguished from '.+' in .+: their similarity is -?\d\.\d+"
    ):
        # Photographs of a mixture: no class of their own, each is one that is there already.
        enroll(
            bundle,
            "mixture",
            [*photos("grasper", range(300, 302)), *photos("hook", range(300, 302)),
             *photos("needle holder", range(300, 302)), *photos("scissors", range(300, 302))],
            threads=1,
        )  # fmt: skip
    assert (bundle / "manifest.json").read_bytes() == before
    assert sorted(p.name for p in bundle.iterdir()) == files


def test_the_same_photograph_cannot_be_two_classes(
    bundle: Path, photos: Callable[..., list[Path]]
) -> None:
    saw = photos(SAW, range(100, 103))
    with pytest.raises(DataError, match="the same photograph"):
        enroll(bundle, SAW, [saw[0], saw[0]], threads=1)
    enroll(bundle, SAW, saw, threads=1)
    with pytest.raises(DataError, match="one of class 'bone saw'"):
        enroll(bundle, "another saw", [saw[0], *photos(FORK, range(100, 102))], threads=1)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "unknown", "Unknown", "x" * 81, "a\u200bb"])
def test_odd_names_are_refused(few_bundle: Path, name: str, photo_kit: ModuleType) -> None:
    with pytest.raises(DataError, match=r"class name|control characters"):
        enroll(few_bundle, name, [photo_kit.picture(SAW, 1)])


def test_a_name_may_hold_any_printable_text(
    few_bundle: Path, photo_kit: ModuleType, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(few_bundle, tmp_path / "m.trocar"))
    name = "../Säge «№ 5» 鋸"
    enroll(bundle, name, [photo_kit.picture(SAW, n) for n in range(3)], threads=1)
    assert name in open_bundle(bundle).manifest.classes.names
    assert not (tmp_path / "Säge «№ 5» 鋸").exists()


def test_files_that_are_no_photographs(
    few_bundle: Path, tmp_path: Path, photo_kit: ModuleType
) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("not a picture")
    whole = photo_kit.write(tmp_path / "a.jpg", photo_kit.picture(SAW, 1)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    for file, words in (
        (text, "cannot be decoded as a picture"),
        (tmp_path / "cut.jpg", "truncated"),
        (tmp_path / "empty.png", "is empty"),
        (tmp_path / "missing.png", "No such file"),
    ):
        with pytest.raises(DataError, match=words):
            enroll(few_bundle, SAW, [file])
    with pytest.raises(DataError, match="no photographs"):
        enroll(few_bundle, SAW, [])


def test_fixed_classes_and_segmentation_bundles_are_refused(
    plain_bundle: Path, photo_kit: ModuleType, tmp_path: Path, seg_bundle: Path
) -> None:
    with pytest.raises(BundleError, match="fixed set of classes"):
        enroll(plain_bundle, SAW, [photo_kit.picture(SAW, 1)])
    with pytest.raises(BundleError, match="segmentation bundle, expected a classification bundle"):
        enroll(seg_bundle, SAW, [photo_kit.picture(SAW, 1)])


def test_a_full_disk_leaves_the_bundle_as_it_was(
    bundle: Path, photos: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name: p.read_bytes() for p in bundle.iterdir() if p.is_file()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    from trocar.contract.errors import SinkError

    with monkeypatch.context() as patch:
        patch.setattr("trocar.contract.bundle.write_atomic", full)
        with pytest.raises(SinkError, match="No space left"):
            enroll(bundle, SAW, photos(SAW, range(100, 103)), threads=1)
    assert {p.name: p.read_bytes() for p in bundle.iterdir() if p.is_file()} == before


def test_a_session_learns_a_class_while_it_is_open(bundle: Path, photo_kit: ModuleType) -> None:
    with Session.open(bundle, threads=1) as session:
        before = session.run(photo_kit.picture("hook", 400)).scores
        session.enroll(SAW, [photo_kit.picture(SAW, n) for n in range(100, 105)])
        assert session.classes.names[-1] == SAW
        after = session.run(photo_kit.picture(SAW, 300))
        assert after.scores is not None
        assert before is not None
        assert len(after.scores) == len(before) + 1
    with Session.open(bundle, threads=1) as again:
        assert np.array_equal(again.run(photo_kit.picture(SAW, 300)).scores, after.scores)


def test_a_backend_that_cannot_take_classes_refuses(
    bundle: Path, photos: Callable[..., list[Path]]
) -> None:
    from trocar.contract.errors import BackendError
    from trocar.runtime.enrolment.enroll import set_classes

    class Other:
        name = "another engine"

    unchanged = open_bundle(bundle)
    set_classes(Other(), unchanged)  # type: ignore[arg-type]
    done = enroll(bundle, SAW, photos(SAW, range(100, 103)), threads=1)
    with pytest.raises(BackendError, match="another engine does not support"):
        set_classes(Other(), done.bundle)  # type: ignore[arg-type]


def test_the_command_line(bundle: Path, photos: Callable[..., list[Path]]) -> None:
    runner = CliRunner()
    files = [str(p) for p in photos(SAW, range(100, 104))]
    done = runner.invoke(enroll_command, [str(bundle), "--class", SAW, *files, "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert "enrolled 'bone saw' from 4 photograph(s)" in done.output
    listed = runner.invoke(enroll_command, [str(bundle), "--list"]).output
    assert "grasper\ttrained" in listed
    assert "bone saw\tenrolled from 4 photograph(s)" in listed
    assert (
        "bone saw" not in runner.invoke(enroll_command, [str(bundle), "--remove", SAW]).output[20:]
    )
    assert "bone saw\tenrolled" in runner.invoke(enroll_command, [str(bundle), "--undo"]).output
    wrong = runner.invoke(enroll_command, [str(bundle), "--list", "--undo"])
    assert isinstance(wrong.exception, ConfigError)
    stray = runner.invoke(enroll_command, [str(bundle), *files])
    assert isinstance(stray.exception, ConfigError)


def test_a_damaged_class_file_is_named(few_bundle: Path) -> None:
    store = stored_classes(open_bundle(few_bundle))
    assert store is not None
    assert ClassStore.from_bytes(store.to_bytes()).file_name() == store.file_name()
    for data in (b"", b"PK rubbish", store.to_bytes()[:300]):
        with pytest.raises(BundleError, match="malformed"):
            ClassStore.from_bytes(data)
