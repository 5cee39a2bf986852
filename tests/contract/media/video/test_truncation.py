from __future__ import annotations

from pathlib import Path

import pytest
from numbered_videos import write

from trocar.contract.errors import SourceError
from trocar.contract.media.video.truncation import missing_bytes, why_cut
from trocar.runtime.sources.video import VideoSource


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


@pytest.mark.parametrize("index", ["at its end", "at its front"])
def test_a_file_cut_anywhere_is_told_to_be_cut(tmp_path: Path, index: str) -> None:
    """Inside of the index too, where FFmpeg finds no stream, or one of an unknown codec."""
    flags = {"movflags": "faststart"} if "front" in index else {}
    data = write(tmp_path / "whole.mp4", range(5), container=flags).read_bytes()
    cut = tmp_path / "cut.mp4"
    # Below eight bytes no box is there; where one begins, its size may be lost.
    starts = [data.find(kind) - 4 for kind in (b"free", b"mdat", b"moov")]
    places = [n for n in range(8, len(data), 11) if not any(0 < n - s < 8 for s in starts)]
    for n in places:
        cut.write_bytes(data[:n])
        with pytest.raises(SourceError) as caught:
            list(VideoSource(str(cut)).frames())
        said = caught.value.message
        assert "bytes are missing at its end" in said or "ends before its index" in said, (n, said)
        assert "copy the video again" in caught.value.remedy
    assert why_cut(tmp_path / "whole.mp4") == ""
