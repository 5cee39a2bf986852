"""Addresses: secrets in them, and which are streams."""

from __future__ import annotations

import pytest

from trocar.runtime.sources.base import is_stream, redacted


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("rtsp://bob:pw@cam/1", "rtsp://***@cam/1"),
        ("rtsp://bob@cam/1", "rtsp://***@cam/1"),
        ("http://h/v?a=1&token=abc&b=2", "http://h/v?a=1&token=***&b=2"),
        ("srt://h:1?passphrase=secret", "srt://h:1?passphrase=***"),
        ("/data/video@home.mp4", "/data/video@home.mp4"),
    ],
)
def test_credentials_never_show(text: str, clean: str) -> None:
    assert redacted(text) == clean
    assert redacted(f"cannot open {text}: refused") == f"cannot open {clean}: refused"


def test_streams_and_cameras_are_told_from_files() -> None:
    assert all(map(is_stream, ("rtsp://cam/1", "udp://127.0.0.1:1", "/dev/video0")))
    assert not any(map(is_stream, ("video.mp4", "/data/a.mp4", "file:///data/a.mp4")))
