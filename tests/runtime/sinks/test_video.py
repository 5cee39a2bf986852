"""Overlay videos: names that no video can have, and the smallest frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from trocar.contract.errors import SinkError
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.sinks.base import FrameEvent, StreamInfo
from trocar.runtime.sinks.video import EncodeOptions, VideoSink
from trocar.runtime.sources.base import Frame

COLOUR = (200, 90, 40)


def write(sink: VideoSink, size: tuple[int, int], classes: Any) -> None:
    sink.open(StreamInfo(name="x", size=size, fps=25.0))
    for i in range(3):
        image = np.full((*size, 3), COLOUR, np.uint8)
        frame = Frame(image=image, index=i, time=i / 25, captured_ns=0)
        sink.write(FrameEvent(frame=frame, result=None, painter=Painter(classes)))
    sink.close()
    sink.commit()


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("name", ["o.webm", "o.gif", "o.txt", "o.jpg", "o.ogg", "o"])
def test_a_name_that_no_such_video_has_is_refused_at_its_opening(
    tmp_path: Path, name: str, live: bool
) -> None:
    """A live run, which opens its outputs with its first picture, does not begin."""
    info = StreamInfo(name="x", size=(32, 48), fps=25.0)
    sink = None if live else VideoSink(tmp_path / name)
    with pytest.raises(SinkError, match="no video of libx264 can be in a file") as caught:
        VideoSink(tmp_path / name, live=True) if sink is None else sink.open(info)
    assert caught.value.message.endswith(name)
    assert ".mp4" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_live_recording_that_cannot_be_opened_leaves_nothing(tmp_path: Path) -> None:
    """No encoder takes this size; the file that was made for it is removed, partial or not."""
    sink = VideoSink(tmp_path / "o.mp4", live=True)
    with pytest.raises(SinkError):
        sink.open(StreamInfo(name="x", size=(32, 1 << 20), fps=25.0))
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_is_not_there_is_named(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "o.mp4", options=EncodeOptions(codec="libx999"))
    with pytest.raises(SinkError, match="no encoder 'libx999'"):
        sink.open(StreamInfo(name="x", size=(32, 48), fps=25.0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "size",
    [(1, 1), (2, 2), (2, 16), (3, 5), (64, 1), (6, 10), (61, 90), (62, 64), (64, 62), (486, 720)],
)
def test_colours_are_right_at_every_height(
    tmp_path: Path, three_classes: Any, size: tuple[int, int]
) -> None:
    write(VideoSink(tmp_path / "o.mp4"), size, three_classes)
    with av.open(str(tmp_path / "o.mp4")) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [image.shape[:2] for image in shown] == [tuple(n + n % 2 for n in size)] * 3
    for image in shown:
        assert int(np.abs(image.astype(int) - COLOUR).max()) < 8
