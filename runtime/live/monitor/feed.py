"""What the live page shows of one stream: its newest overlay as JPEG, and its state.

    feed = Feed("camera")
    feed.write(event)
    picture = feed.wait(-1, timeout=1.0)
    picture = feed.wait(-1, timeout=1.0, show=("masks", "ids"))

It is a sink like any other. Overlays are stored only while a client is connected, and compressed on
the thread of the first client that wants the JPEG. Clients may
ask for other parts of the drawing than the run shows: they get pictures of their own, and neither
other clients nor other outputs see a change.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.media.pictures import encode_picture
from trocar.contract.text.strict_json import without_nan
from trocar.contract.text.words import first_line
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live.state import stream_state
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.sinks.base import FrameEvent, StreamInfo
from trocar.runtime.sources.addresses import redacted

WIDTH = 1280
"""Largest width that is sent, in pixels."""

JPEG_QUALITY = 80

MAX_INSTRUMENTS = 50
"""Instruments that a picture lists at most."""

MAX_VIEWS = 4
"""Selections of parts that are drawn at a time, beside that of the run."""

_HISTORY = 240

Show = tuple[str, ...] | None
"""Parts of the drawing; ``None`` for those of the run."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One overlay as the page gets it.

    Attributes:
        number: Counts the pictures of a feed, from 1.
        image: The picture, ``[H, W, 3]`` uint8 RGB; nobody changes it.
        captured_ns: `trocar.contract.media.clock.now_ns` when its frame was captured.
        result: JSON of what is drawn on it, see `drawn_result`.
    """

    number: int
    image: NDArray[np.uint8]
    captured_ns: int
    result: str = "{}"
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _jpeg: list[bytes] = field(default_factory=list, repr=False, compare=False)

    @property
    def jpeg(self) -> bytes:
        """The picture as JPEG; compressed once, by who asks first."""
        with self._lock:
            if not self._jpeg:
                self._jpeg.append(encode_picture(self.image, ".jpg", quality=JPEG_QUALITY))
            return self._jpeg[0]

    def headers(self) -> dict[str, str]:
        """Headers that tell the page what it shows."""
        return {
            "X-Picture": str(self.number),
            "X-Captured-Ns": str(self.captured_ns),
            "X-Result": self.result,
        }


def drawn_result(event: FrameEvent) -> str:
    """JSON in ASCII, on one line, of what is drawn on a picture: picture and numbers in step.

    Returns:
        ``frame`` (number of the picture's frame), ``status``, ``outside`` (only with an out-of-body
        model), ``result_frame`` (number of the frame that the mask is of; ``null`` without one on
        the picture) and ``instruments``, `MAX_INSTRUMENTS` at most, the largest.
    """
    data: dict[str, Any] = {"frame": event.frame.index, "status": event.status}
    if event.frame.body is not None:
        data["outside"] = event.frame.body.outside
    drawn = event.result if event.visible else None
    instruments = () if drawn is None else drawn.instruments
    if len(instruments) > MAX_INSTRUMENTS:
        least = sorted((one.area for one in instruments), reverse=True)[MAX_INSTRUMENTS - 1]
        instruments = tuple(one for one in instruments if one.area >= least)[:MAX_INSTRUMENTS]
    data["result_frame"] = None if drawn is None else drawn.frame_id
    data["instruments"] = [one.to_dict() for one in instruments]
    return json.dumps(without_nan(data), allow_nan=False, separators=(",", ":"))


class _View:
    """The newest overlay with one selection of parts, and who wants it."""

    def __init__(self) -> None:
        self.picture: Picture | None = None
        self.painter: Painter | None = None
        self.clients = 0
        self.watchers = 0
        self.wanted = True
        self.wakes: list[Callable[[], None]] = []


class Feed:
    """A sink that stores the newest overlay for the clients of the page.

    Args:
        name: Name of the stream.
    """

    wants_every_frame = True

    def __init__(self, name: str) -> None:
        self.name = "page"
        self._stream_name = name
        self._stream: LiveStream | None = None
        self._changed = threading.Condition()
        self._views: dict[Show, _View] = {None: _View()}
        self._show: tuple[str, ...] | None = None
        self._closed = False
        self._ages: deque[tuple[float, float]] = deque(maxlen=_HISTORY)

    def write(self, event: FrameEvent) -> None:
        """Stores the overlays that clients want."""
        if event.fresh and event.result is not None:
            self._ages.append(
                (round(event.result.stages_ms.get("infer", 0.0), 2), round(event.result.age_ms, 2))
            )
        with self._changed:
            self._show = event.painter.show
            wanted = [
                (show, view) for show, view in self._views.items() if view.watchers or view.wanted
            ]
        if not wanted:
            return
        result = drawn_result(event)
        for show, view in wanted:
            overlay = _overlay(event, show, view)
            if overlay.shape[1] > WIDTH:
                size = (WIDTH, round(overlay.shape[0] * WIDTH / overlay.shape[1]))
                overlay = np.asarray(cv2.resize(overlay, size, interpolation=cv2.INTER_AREA))
            with self._changed:
                number = 1 if view.picture is None else view.picture.number + 1
                view.picture = Picture(
                    number=number,
                    image=overlay,
                    captured_ns=event.frame.captured_ns,
                    result=result,
                )
                view.wanted = False
                self._changed.notify_all()
                wakes = list(view.wakes)
            for wake in wakes:
                wake()

    def wait(self, number: int, timeout: float, *, show: Show = None) -> Picture | None:
        """Waits for another overlay than number ``number``.

        Args:
            number: Number of the client's last overlay; -1 for none.
            timeout: Seconds to wait.
            show: Parts that are drawn; other parts than the run's only inside of `asked`.

        Returns:
            The newest overlay; ``None`` when no other one came in time.
        """
        with self._changed:
            view = self._views[show]
            if view.picture is None or view.picture.number == number:
                view.wanted = True
                self._changed.wait_for(
                    lambda: (
                        self._closed or (view.picture is not None and view.picture.number != number)
                    ),
                    timeout,
                )
            picture = view.picture
            if picture is None or picture.number == number or self._closed:
                return None
            return picture

    def newest(self, *, show: Show = None) -> Picture | None:
        """The newest overlay, without waiting; ``None`` before the first."""
        with self._changed:
            return self._views[show].picture

    def fresh(self, timeout: float, *, show: Show = None) -> Picture | None:
        """Waits for the next overlay; returns the previous one when none comes in time."""
        with self._changed:
            before = self._views[show].picture
        return self.wait(-1 if before is None else before.number, timeout, show=show) or before

    @contextlib.contextmanager
    def asked(self, show: Show) -> Iterator[bool]:
        """Holds overlays with other parts for as long as the block lasts; the last one ends them.

        Yields:
            Whether they are drawn: not above `MAX_VIEWS` different selections at a time.
        """
        with self._changed:
            view = self._views.get(show)
            if view is None and len(self._views) <= MAX_VIEWS:
                view = self._views[show] = _View()
            if view is not None:
                view.clients += 1
        try:
            yield view is not None
        finally:
            with self._changed:
                if view is not None:
                    view.clients -= 1
                    if not view.clients and show is not None:
                        del self._views[show]

    @contextlib.contextmanager
    def watched(
        self, *, show: Show = None, wake: Callable[[], None] | None = None
    ) -> Iterator[None]:
        """Counts a client for as long as the block lasts.

        Args:
            show: What the client looks at.
            wake: Called after each new overlay, on the thread of the output: it must return at
                once and raise nothing.
        """
        with self._changed:
            view = self._views[show]
            view.watchers += 1
            if wake is not None:
                view.wakes.append(wake)
        try:
            yield
        finally:
            with self._changed:
                view.watchers -= 1
                if wake is not None:
                    view.wakes.remove(wake)

    def update(self, stream: LiveStream) -> None:
        """Takes the stream whose state is told, at each request anew."""
        self._stream = stream

    def snapshot(self) -> dict[str, Any]:
        """What ``/state.json`` returns of the stream: true at the moment of the call.

        ``checked_ns`` is when the watchdog last checked the stream: a state that nobody checks any
        more is old, whatever it says. ``picture`` is the number of the newest overlay, and ``show``
        the parts that the run draws, once it has drawn.
        """
        with self._changed:
            picture, show = self._views[None].picture, self._show
        return {
            **self._state(),
            "picture": 0 if picture is None else picture.number,
            "show": None if show is None else list(show),
        }

    def _state(self) -> dict[str, Any]:
        if self._stream is None:
            return {"name": self._stream_name}
        try:
            return {**stream_state(self._stream), "ages": list(self._ages)}
        except Exception as error:
            reason = f"the state cannot be told: {redacted(first_line(error))}"
            return {"name": self._stream_name, "state": "FAULT", "reasons": [reason]}

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


def _overlay(event: FrameEvent, show: Show, view: _View) -> NDArray[np.uint8]:
    """The frame with these parts drawn on it; the run's own picture is drawn once for all sinks."""
    if show is None or show == event.painter.show:
        return event.overlay()
    if view.painter is None:
        view.painter = event.painter.showing(show)
    return view.painter.draw(
        event.frame.image,
        event.result if event.visible else None,
        status=event.status,
        alarm=event.alarm,
    )
