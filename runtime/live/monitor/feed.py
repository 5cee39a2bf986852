"""What the page shows of one stream: its newest picture, and what is known about it.

    feed = Feed("camera"); feed.write(shot); feed.wait(-1, 1.0)

It is a sink like any other. Pictures are compressed only while somebody looks.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

import cv2

from trocar.runtime.sinks.base import Shot, StreamInfo

if TYPE_CHECKING:
    from trocar.runtime.live.stream import LiveStream

WIDTH = 1280
"""Widest picture that is sent."""

_HISTORY = 240


class Feed:
    """A sink that keeps the newest picture for whoever looks."""

    pictures = True

    def __init__(self, name: str) -> None:
        self.name = "page"
        self.state: dict[str, Any] = {"name": name}
        self._changed = threading.Condition()
        self._picture: bytes | None = None
        self._number = 0
        self._watchers = 0
        self._closed = False
        self._wanted = True
        self._ages: deque[tuple[float, float]] = deque(maxlen=_HISTORY)
        self._rates: deque[int] = deque(maxlen=60)

    def write(self, shot: Shot) -> None:
        """Keeps a picture if somebody looks."""
        self._rates.append(monotonic_ns())
        if shot.fresh and shot.result is not None:
            self._ages.append(
                (round(shot.result.stages_ms.get("infer", 0.0), 2), round(shot.result.age_ms, 2))
            )
        with self._changed:
            wanted = self._watchers > 0 or self._wanted
        if not wanted:
            return
        picture = shot.picture()
        if picture.shape[1] > WIDTH:
            size = (WIDTH, round(picture.shape[0] * WIDTH / picture.shape[1]))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        good, data = cv2.imencode(
            ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80]
        )
        if good:
            with self._changed:
                self._picture = data.tobytes()
                self._number += 1
                self._wanted = False
                self._changed.notify_all()

    def wait(self, number: int, timeout: float) -> tuple[int, bytes | None]:
        """Waits for a picture newer than ``number``; ``None`` when none came in time."""
        with self._changed:
            if self._number == number or self._picture is None:
                self._wanted = True
                self._changed.wait(timeout)
            if self._number == number or self._picture is None or self._closed:
                return number, None
            return self._number, self._picture

    def fresh(self, timeout: float) -> bytes | None:
        """Waits for the next picture; the one before it when none comes in time."""
        with self._changed:
            before = self._number
        _, data = self.wait(before, timeout)
        return data or self._picture

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Counts somebody who looks for as long as the block lasts."""
        with self._changed:
            self._watchers += 1
        try:
            yield
        finally:
            with self._changed:
                self._watchers -= 1

    def update(self, stream: LiveStream) -> None:
        """Takes what the page says about a stream."""
        result = stream.latest
        counts = stream.counts
        rates = list(self._rates)
        span = (rates[-1] - rates[0]) / 1e9 if len(rates) > 1 else 0.0
        self.state = {
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
                    "name": outlet.sink.name,
                    "written": outlet.written,
                    "dropped": outlet.dropped,
                    "failed": outlet.failed,
                }
                for outlet in stream.outlets
            ],
            "events": [
                {"state": event.state, "reasons": list(event.reasons)}
                for event in list(stream.health.events)[-8:]
            ],
        }

    def open(self, info: StreamInfo) -> None:
        """Nothing is to be made ready."""

    def close(self) -> None:
        """Wakes whoever waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def commit(self) -> None:
        """Nothing is to be put in place."""

    def discard(self) -> None:
        """Nothing is to be removed."""
