"""Video sources that cannot be opened, and FFmpeg's devices."""

from __future__ import annotations

import socket
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from numbered_videos import write

from trocar.contract.errors import SourceError
from trocar.contract.media.video.decoder import VideoDecoder
from trocar.runtime.sources.base import SourceOptions
from trocar.runtime.sources.open import open_source
from trocar.runtime.sources.video import VideoSource


def test_an_address_without_a_sender_is_named_without_its_password() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"http://bob:secret@127.0.0.1:{probe.getsockname()[1]}/x"
    with pytest.raises(SourceError, match="cannot open") as caught:
        VideoSource(place)
    assert "secret" not in str(caught.value)


def test_hardware_decoding_is_an_error_where_it_is_not(video: Path) -> None:
    with pytest.raises(SourceError, match="not in this build"):
        open_source(video, SourceOptions(hwaccel="nonsense"))


def test_a_camera_stand_in_is_opened_by_its_format() -> None:
    """The path of ``/dev/video0``, with a test pattern in the place of the device."""
    try:
        source = VideoSource("testsrc=size=160x120:rate=25", SourceOptions(format="lavfi"))
    except SourceError as error:
        pytest.skip(f"this FFmpeg has no lavfi device: {error}")
    frame = next(source.frames())
    assert frame.image.shape == (120, 160, 3)
    source.close()
    assert av.format.ContainerFormat("v4l2", "r").name
    with pytest.raises(SourceError, match=r"/dev/video97 as a stream"):
        open_source("/dev/video97")


class _SlowToClose:
    """FFmpeg's container, slow to free; counts who frees it and who reads it at the same time."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self.busy = 0
        self.overlaps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self, stream: Any) -> Any:
        for packet in self._container.demux(stream):
            self.busy += 1
            yield packet
            self.busy -= 1

    def close(self) -> None:
        self.overlaps += self.busy > 0
        self.busy += 1
        time.sleep(0.05)
        self.busy -= 1
        self._container.close()


@pytest.mark.parametrize("delay_s", [0.0, 0.02])
def test_a_file_is_freed_by_one_thread_at_a_time(video: Path, delay_s: float) -> None:
    """The thread that reads stops by itself while another closes, as after a failed output."""
    source = VideoSource(str(video))
    container = _SlowToClose(source._decoder._container)
    source._decoder._container = container
    stops = threading.Event()

    def read() -> None:
        for frame in source.frames():
            if frame.index == 2:
                stops.set()
                break

    reader = threading.Thread(target=read)
    reader.start()
    stops.wait()
    time.sleep(delay_s)
    source.close()
    reader.join()
    assert container.overlaps == 0
    assert list(source.frames()) == []


def test_an_interlaced_stream_goes_on_when_its_size_changes(tmp_path: Path) -> None:
    """A scope is plugged in: the next pictures are larger; the deinterlacer begins anew."""
    sizes = [(64, 96), (96, 128), (64, 96)]
    parts = [
        write(tmp_path / f"{i}.ts", range(12), codec="mpeg2video", interlaced=True, size=size)
        for i, size in enumerate(sizes)
    ]
    stream = tmp_path / "all.ts"
    stream.write_bytes(b"".join(part.read_bytes() for part in parts))
    decoder = VideoDecoder(str(stream), low_delay=True)
    frames = [(frame.image.shape[:2], frame.time) for frame in decoder.frames()]
    assert [size for size, _ in frames] == [size for size in sizes for _ in range(12)]
    assert all(a[1] < b[1] for a, b in pairwise(frames))
