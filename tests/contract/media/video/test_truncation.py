from __future__ import annotations

from pathlib import Path

import pytest
from numbered_videos import write

from trocar.contract.media.video.truncation import missing_bytes


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.ts", "a.avi", "a.flv", "a.mpg"])
def test_whole_files_miss_nothing(tmp_path: Path, name: str) -> None:
    codec = "mpeg2video" if name == "a.mpg" else "libx264"
    assert missing_bytes(write(tmp_path / name, range(5), codec=codec)) == 0


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("cut", [1, 7, 300])
def test_missing_bytes_are_counted(tmp_path: Path, name: str, cut: int) -> None:
    path = write(
        tmp_path / name, range(30), container={"movflags": "faststart"} if "mp4" in name else {}
    )
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    assert missing_bytes(path) == cut


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\0\0\0\x18ftyp",
        b"\x1a\x45\xdf\xa3",
        b"\x1a\x45\xdf\xa3\xff",
        b"\0\0\0\x01ftyp\0\0\0\0",
        bytes(40),
    ],
)
def test_other_data_are_no_matter(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    assert missing_bytes(tmp_path / "a") >= 0
