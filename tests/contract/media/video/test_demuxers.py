"""Texts and playlists are no recordings; titles may be in any encoding."""

from __future__ import annotations

import os
from pathlib import Path

import av
import pytest
from numbered_videos import add_video, write

from trocar.contract.errors import SourceError
from trocar.contract.media.video.decoder import VideoDecoder
from trocar.contract.media.video.demuxers import NotARecordingError
from trocar.runtime.sources.open import open_source

PLAYLISTS = {
    "list.ffconcat": "ffconcat version 1.0\nfile v.mp4\n",
    "list.mp4": "ffconcat version 1.0\nfile v.mp4\n",
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nv.mp4\n#EXT-X-ENDLIST\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_opens_nothing_beside_itself(name: str, tmp_path: Path) -> None:
    write(tmp_path / "v.mp4", range(3))
    (tmp_path / name).write_text(PLAYLISTS[name])
    with pytest.raises(NotARecordingError, match=r"is a playlist \((concat|hls)\)"):
        VideoDecoder(str(tmp_path / name))
    with pytest.raises(SourceError, match="is a playlist") as caught:
        open_source(tmp_path / name)
    assert "--format" in caught.value.remedy


def test_a_playlist_that_is_asked_for_is_played(tmp_path: Path) -> None:
    write(tmp_path / "v.mp4", range(3))
    (tmp_path / "l.txt").write_text(PLAYLISTS["list.mp4"])
    with VideoDecoder(str(tmp_path / "l.txt"), format="concat") as decoder:
        assert len(list(decoder.frames())) == 3


@pytest.mark.parametrize("name", ["notes.txt", "notes.mp4", "notes"])
def test_a_text_is_no_recording(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("The patient was prepared and draped.\n" * 40)
    with pytest.raises(SourceError, match="is a text and no recording"):
        open_source(tmp_path / name)


def test_names_and_titles_in_other_encodings_open(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "v.avi"), "w") as out:
        out.metadata["title"] = "caf-"
        add_video(out, range(3), codec="mpeg4")
    data = (tmp_path / "v.avi").read_bytes()
    assert b"caf-" in data
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.avi"))
    path.write_bytes(data.replace(b"caf-", b"caf\xe9"))
    with VideoDecoder(str(path)) as decoder:
        assert len(list(decoder.frames())) == 3
