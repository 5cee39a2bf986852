"""A file behind an address: what its server holds back for a while is no reason to pass it over."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from numbered_videos import number_in, write

from trocar.contract.errors import SourceError
from trocar.runtime.sources.video import VideoSource

STALL_S = 1.5


@contextlib.contextmanager
def stalling(data: bytes, after: int, *, stated: bool = True) -> Iterator[str]:
    """Serves data without ranges, and stalls once ``after`` bytes of them are sent."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            if stated:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data[:after])
                self.wfile.flush()
                time.sleep(STALL_S)
                self.wfile.write(data[after:])

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def made(folder: Path, suffix: str) -> Path:
    """Forty frames, a key frame among five of them."""
    container = {"movflags": "faststart"} if suffix == "mp4" else {}
    options = {"g": "5", "bf": "0"}
    return write(folder / f"a.{suffix}", range(40), container=container, options=options, grain=40)


@pytest.mark.parametrize("share", [0.3, 0.7])
@pytest.mark.parametrize(
    ("suffix", "stated"),
    [("mp4", True), ("ts", True), ("mkv", True), ("mp4", False), ("mkv", False)],
)
def test_a_file_whose_server_stalls_is_read_whole(
    tmp_path: Path, suffix: str, stated: bool, share: float
) -> None:
    """It states its size, or its container its duration; its beginning is not passed over."""
    path = made(tmp_path, suffix)
    data = path.read_bytes()
    with stalling(data, round(share * len(data)), stated=stated) as address:
        source = VideoSource(address + path.name)
        assert source.live
        frames = []
        # A live source says at its end that it ended.
        with contextlib.suppress(SourceError):
            for frame in source.frames():
                frames.append((number_in(frame.image), frame.arrival))
    assert [number for number, _ in frames] == list(range(40))
    assert {(arrival.skipped, arrival.late_ms) for _, arrival in frames} == {(0, 0.0)}


def test_a_stream_that_states_no_end_keeps_its_clock(tmp_path: Path) -> None:
    path = made(tmp_path, "ts")
    with stalling(path.read_bytes(), 0, stated=False) as address:
        source = VideoSource(address + path.name)
        assert source._packets is not None
        assert source._packets.trusts_clock
        source.close()
