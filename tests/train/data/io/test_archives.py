"""Files inside zip archives: read in place, with errors that name the archive and the file."""

from __future__ import annotations

import multiprocessing
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_helpers import picture

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import encode_picture
from trocar.train.data.io.archives import member_names, read_archived_image, read_member


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive with a whole image, a truncated one, and a text."""
    path = tmp_path / "images.zip"
    image = encode_picture(picture(1), ".png")
    with zipfile.ZipFile(path, "w") as pack:
        pack.writestr("a/whole.png", image)
        pack.writestr("a/cut.png", image[: len(image) // 2])
        pack.writestr("words.txt", "no image")
    return path


def test_members_are_read_in_place(archive: Path) -> None:
    assert member_names(archive) == ["a/whole.png", "a/cut.png", "words.txt"]
    assert read_member(archive, "words.txt") == b"no image"
    assert np.array_equal(read_archived_image(archive, "a/whole.png"), picture(1))


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ("a/cut.png", r"a/cut\.png in .*images\.zip is truncated"),
        ("words.txt", r"words\.txt in .*images\.zip cannot be decoded"),
        ("gone.png", r"cannot read gone\.png in .*images\.zip"),
    ],
)
def test_faults_of_a_member(archive: Path, member: str, text: str) -> None:
    with pytest.raises(DataError, match=text) as caught:
        read_archived_image(archive, member)
    assert caught.value.remedy == "copy or download the archive again"


def test_what_is_not_an_archive(tmp_path: Path) -> None:
    (tmp_path / "words.zip").write_text("no archive")
    for name in ("words.zip", "nowhere.zip"):
        with pytest.raises(DataError, match=rf"{name} cannot be read as a zip archive"):
            member_names(tmp_path / name)


def test_a_forked_process_reads_the_archive_too(archive: Path) -> None:
    read_member(archive, "words.txt")  # opened here first: the position must not be shared
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        results = pool.starmap(read_member, [(archive, "words.txt")] * 20)
    assert results == [b"no image"] * 20
