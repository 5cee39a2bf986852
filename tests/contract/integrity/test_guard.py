"""A manifest that was changed does not open, whatever was changed."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_bundle import make_tiny_bundle

from trocar.contract.bundle import MODEL, open_bundle, update_bundle
from trocar.contract.errors import BundleError, IntegrityError, TrocarError
from trocar.contract.integrity.manifest_hash import guarded_sha256, manifest_sha256
from trocar.contract.integrity.onnx_file import read_onnx, with_metadata
from trocar.contract.manifest import HASH_KEY, METADATA_KEY, Manifest

STEP = 41
"""Every so many bits of the manifest are flipped; every one was, once, by hand: 0 of 9,368 open."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("guard") / "tiny.trocar")


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "b.trocar"))


def test_no_flipped_bit_opens_with_another_meaning(bundle: Path) -> None:
    document = bundle / "manifest.json"
    original = document.read_bytes()
    meant = Manifest.from_json(original)
    codes = set()
    for bit in range(0, 8 * len(original), STEP):
        flipped = bytearray(original)
        flipped[bit // 8] ^= 1 << bit % 8
        document.write_bytes(flipped)
        try:
            assert open_bundle(bundle).manifest == meant, bytes(flipped)
        except TrocarError as error:
            codes.add(error.code)
    assert codes >= {4, 5}


def test_white_space_does_not_count(bundle: Path) -> None:
    before = open_bundle(bundle)
    document = bundle / "manifest.json"
    document.write_text(json.dumps(json.loads(document.read_text()), sort_keys=True))
    assert open_bundle(bundle) == before


def test_the_model_states_the_hash_of_the_copy(bundle: Path) -> None:
    opened = open_bundle(bundle)
    facts = read_onnx(opened.read(MODEL))
    assert facts is not None
    copy = facts.metadata[METADATA_KEY]
    assert facts.metadata[HASH_KEY] == guarded_sha256(copy)
    document = (bundle / "manifest.json").read_text()
    assert guarded_sha256(document) == guarded_sha256(copy)
    # The hash that is signed covers the files, too.
    assert opened.sha256 == manifest_sha256(document) != manifest_sha256(copy)


def test_a_bundle_of_0_1_has_no_hash_and_is_compared_with_the_copy(bundle: Path) -> None:
    model = bundle / MODEL
    facts = read_onnx(model.read_bytes())
    assert facts is not None
    without = with_metadata(model.read_bytes(), {HASH_KEY: ""}).replace(
        HASH_KEY.encode(), b"x" * len(HASH_KEY)
    )
    model.write_bytes(without)
    document = json.loads((bundle / "manifest.json").read_text())
    document["files"][MODEL] = hashlib.sha256(without).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(document))
    assert open_bundle(bundle).manifest.name == "tiny"
    document["classes"][1]["name"], document["classes"][2]["name"] = "scissors", "grasper"
    (bundle / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match=r"differs from its copy in model\.onnx"):
        open_bundle(bundle)


def test_an_update_that_would_not_open_is_refused_before_it_is_written(bundle: Path) -> None:
    opened = open_bundle(bundle)
    with pytest.raises(BundleError, match="differs from its copy"):
        update_bundle(opened, manifest=replace(opened.manifest, name="other"))
    assert open_bundle(bundle) == opened
    assert open_bundle(update_bundle(opened, add={"more.txt": b"1"}).path).read("more.txt") == b"1"


def test_unlisted_files_are_not_read(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("x")
    opened = open_bundle(bundle)
    with pytest.raises(BundleError, match=r"has no notes\.txt"):
        opened.read("notes.txt")
