"""A source that fails again and again: pauses, frame numbers, time, and who is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise

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


class Raises(Broken):
    """Fails with an error that is none of Trocar's, as drivers and decoders do."""

    def frames(self) -> Iterator[Frame]:
        yield from _frames(2)
        raise RuntimeError("rtsp://me:pw@host: the driver went away")


class Endless(Broken):
    """Delivers frames until it is closed."""

    def __init__(self) -> None:
        self.closed = False
        self.given = 0

    def frames(self) -> Iterator[Frame]:
        while not self.closed:
            self.given += 1
            yield from _frames(1)

    def close(self) -> None:
        self.closed = True


def _frames(count: int, *, start_s: float = 0.0, captured_s: float = 0.0) -> Iterator[Frame]:
    for i in range(count):
        yield Frame(
            image=None,  # type: ignore[arg-type]
            index=i,
            time=start_s + i / 25,
            captured_ns=round((captured_s + i / 25) * 1e9),
        )


def test_every_error_of_the_source_leads_to_a_new_attempt() -> None:
    listener = Listener()
    source = ReconnectingSource(
        lambda: Raises(0),
        name="x",
        listener=listener,
        initial_pause_s=0.001,
        max_attempts=0,
    )
    with pytest.raises(SourceError, match="the driver went away") as caught:
        list(source.frames())
    assert "pw" not in caught.value.message


def test_every_error_of_opening_leads_to_a_new_attempt() -> None:
    def fail() -> Broken:
        raise ZeroDivisionError

    source = ReconnectingSource(fail, name="x", initial_pause_s=0.001, max_attempts=2)
    with pytest.raises(SourceError, match="3 attempts failed; the last error: ZeroDivisionError"):
        list(source.frames())


def test_closing_while_it_is_opened_closes() -> None:
    opening, opened = threading.Event(), threading.Event()
    inner = Endless()

    def slow_to_open() -> Endless:
        opening.set()
        opened.wait(30)
        return inner

    source = ReconnectingSource(slow_to_open, name="x")
    frames: list[Frame] = []
    reader = threading.Thread(target=lambda: frames.extend(source.frames()))
    reader.start()
    opening.wait(30)
    source.close()
    opened.set()
    reader.join(30)
    assert not reader.is_alive()
    assert inner.closed
    assert inner.given == 0


@pytest.mark.parametrize("second_s", [0.0, 500.0])
def test_time_goes_on_by_what_passed_between_connections(second_s: float) -> None:
    class Part(Broken):
        def __init__(self, start_s: float, captured_s: float) -> None:
            self._at = start_s, captured_s

        def frames(self) -> Iterator[Frame]:
            yield from _frames(10, start_s=self._at[0], captured_s=self._at[1])

    parts = iter([Part(0.0, 100.0), Part(second_s, 107.0)])
    source = ReconnectingSource(
        lambda: next(parts), name="x", initial_pause_s=0.001, max_attempts=2
    )
    frames = []
    with pytest.raises(SourceError):
        frames.extend(source.frames())
    times = [frame.time for frame in frames]
    assert all(a < b for a, b in pairwise(times))
    assert times[10] == pytest.approx(7.0)
    assert times[19] == pytest.approx(7.36)
