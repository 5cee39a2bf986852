"""A source that fails again and again: pauses, frame numbers, time, and who is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trocar.contract.errors import SourceError
from trocar.runtime.sources.base import Frame
from trocar.runtime.sources.reconnect import ReconnectingSource


class Broken:
    """Delivers some frames, then fails."""

    name, fps, total, live = "x", 25.0, None, True

    def __init__(self, frames: int) -> None:
        self._frames = frames

    def frames(self) -> Iterator[Frame]:
        for index in range(self._frames):
            yield Frame(image=None, index=index, time=index / 25, captured_ns=0)  # type: ignore[arg-type]
        raise SourceError("rtsp://me:pw@host broke")

    def close(self) -> None: ...


class Listener:
    """Notes what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def connection_lost(self, reason: str) -> None:
        self.told.append(reason)

    def connection_restored(self) -> None:
        self.told.append("restored")


def read_all(
    counts: list[int], listener: Listener | None
) -> tuple[ReconnectingSource, list[Frame]]:
    """Frames of sources that deliver so many each, until four attempts failed in a row."""
    given = iter(counts)
    source = ReconnectingSource(
        lambda: Broken(next(given)),
        name="rtsp://me:pw@host",
        listener=listener,
        initial_pause_s=0.01,
        max_attempts=3,
    )
    frames: list[Frame] = []
    with pytest.raises(SourceError, match="4 attempts failed"):
        frames.extend(source.frames())
    return source, frames


def test_pauses_double_and_start_anew_after_a_frame() -> None:
    listener = Listener()
    source, frames = read_all([2, 0, 0, 3, 0, 0, 0, 0], listener)
    assert len(frames) == 5
    lost = [text for text in listener.told if text != "restored"]
    assert [text.rpartition("in ")[2] for text in lost] == [
        *("0.01 s", "0.02 s", "0.04 s"),
        *("0.01 s", "0.02 s", "0.04 s"),
    ]
    assert source.reconnects == 6
    assert listener.told.index("restored") == 3
    assert listener.told.count("restored") == 1
    assert "pw" not in "".join(listener.told) + source.name


def test_frames_are_numbered_on_and_time_never_decreases() -> None:
    _, frames = read_all([2, 0, 3, 0, 0, 0, 0], None)
    assert [frame.index for frame in frames] == list(range(5))
    times = [frame.time for frame in frames]
    assert times == sorted(times)
