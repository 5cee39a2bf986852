"""What the live page shows of one stream: its newest overlay as JPEG, and its state.

    feed = Feed("camera")
    feed.write(event)
    picture = feed.wait(-1, timeout=1.0)

It is a sink like any other. Overlays are compressed only while a client is connected.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from trocar.contract.media.pictures import encode_picture
from trocar.runtime.sinks.base import FrameEvent, StreamInfo

if TYPE_CHECKING:
    from trocar.runtime.live.stream import LiveStream

WIDTH = 1280
"""Largest width that is sent, in pixels."""

JPEG_QUALITY = 80

_HISTORY = 240


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One overlay as the page gets it.

    Attributes:
        number: Counts the pictures of a feed, from 1.
        jpeg: The picture.
        captured_ns: `time.monotonic_ns` when its frame was captured.
    """

    number: int
    jpeg: bytes
    captured_ns: int

    def headers(self) -> dict[str, str]:
        """Headers that tell the page what it shows."""
        return {"X-Picture": str(self.number), "X-Captured-Ns": str(self.captured_ns)}


class Feed:
    """A sink that stores the newest overlay for the clients of the page.

    Args:
        name: Name of the stream.

    Attributes:
        state: The state of the stream when `update` was called last.
    """

    wants_every_frame = True

    def __init__(self, name: str) -> None:
        self.name = "page"
        self.state: dict[str, Any] = {"name": name}
        self._changed = threading.Condition()
        self._picture: Picture | None = None
        self._stream: LiveStream | None = None
        self._checked_ns = 0
        self._watchers = 0
        self._closed = False
        self._wanted = True
        self._ages: deque[tuple[float, float]] = deque(maxlen=_HISTORY)
        self._rates: deque[int] = deque(maxlen=60)

    def write(self, event: FrameEvent) -> None:
        """Compresses and stores the overlay if a client wants it."""
        self._rates.append(monotonic_ns())
        if event.fresh and event.result is not None:
            self._ages.append(
                (round(event.result.stages_ms.get("infer", 0.0), 2), round(event.result.age_ms, 2))
            )
        with self._changed:
            wanted = self._watchers > 0 or self._wanted
        if not wanted:
            return
        overlay = event.overlay()
        if overlay.shape[1] > WIDTH:
            size = (WIDTH, round(overlay.shape[0] * WIDTH / overlay.shape[1]))
            overlay = np.asarray(cv2.resize(overlay, size, interpolation=cv2.INTER_AREA))
        data = encode_picture(overlay, ".jpg", quality=JPEG_QUALITY)
        with self._changed:
            number = 1 if self._picture is None else self._picture.number + 1
            self._picture = Picture(number=number, jpeg=data, captured_ns=event.frame.captured_ns)
            self._wanted = False
            self._changed.notify_all()

    def wait(self, number: int, timeout: float) -> Picture | None:
        """Waits for another overlay than number ``number``.

        Args:
            number: Number of the client's last overlay; -1 for none.
            timeout: Seconds to wait.

        Returns:
            The newest overlay; ``None`` when no other one came in time.
        """
        with self._changed:
            if self._picture is None or self._picture.number == number:
                self._wanted = True
                self._changed.wait(timeout)
            picture = self._picture
            if picture is None or picture.number == number or self._closed:
                return None
            return picture

    def fresh(self, timeout: float) -> Picture | None:
        """Waits for the next overlay; returns the previous one when none comes in time."""
        with self._changed:
            before = self._picture
        return self.wait(-1 if before is None else before.number, timeout) or before

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Counts a client for as long as the block lasts."""
        with self._changed:
            self._watchers += 1
        try:
            yield
        finally:
            with self._changed:
                self._watchers -= 1

    def update(self, stream: LiveStream) -> None:
        """Notes that the stream has been checked; takes its state."""
        self._stream = stream
        self._checked_ns = monotonic_ns()
        self.state = self._state_of(stream)

    def snapshot(self) -> dict[str, Any]:
        """The state of the stream at this moment.

        ``checked_ns`` is when `update` was called last: a state that nobody checks any more is old,
        whatever it says. ``picture`` is the number of the newest overlay.
        """
        state = self.state if self._stream is None else self._state_of(self._stream)
        with self._changed:
            picture = self._picture
        return {
            **state,
            "checked_ns": self._checked_ns,
            "picture": 0 if picture is None else picture.number,
        }

    def _state_of(self, stream: LiveStream) -> dict[str, Any]:
        result = stream.latest
        counts = stream.counts
        rates = list(self._rates)
        span = (rates[-1] - rates[0]) / 1e9 if len(rates) > 1 else 0.0
        return {
            "name": stream.source.name,
            "state": stream.health.state,
            "reasons": list(stream.health.reasons),
            "fps": round((len(rates) - 1) / span, 1) if span else 0.0,
            "counts": {
                "read": counts.read,
                "shown": counts.written,
                "dropped": counts.dropped,
                "analysed": counts.processed,
                "late": counts.missed,
                "failed": counts.failed,
            },
            "instruments": []
            if result is None
            else [instrument.to_dict() for instrument in result.instruments],
            "present": [] if result is None or result.present is None else list(result.present),
            "model": ""
            if result is None
            else f"{result.backend} on {result.device}, {result.precision}",
            "stages": stream.stages.summary(),
            "ages": list(self._ages),
            "outputs": [
                {
                    "name": worker.sink.name,
                    "written": worker.written,
                    "dropped": worker.dropped,
                    "failed": worker.failed,
                }
                for worker in stream.sink_workers
            ],
            "events": [
                {"state": change.state, "reasons": list(change.reasons)}
                for change in list(stream.health.changes)[-8:]
            ],
        }

    def open(self, info: StreamInfo) -> None:
        """Does nothing: the first overlay needs no preparation."""

    def close(self) -> None:
        """Wakes the clients that wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def commit(self) -> None:
        """Does nothing: there is no file to publish."""

    def discard(self) -> None:
        """Does nothing: there is no file to remove."""
