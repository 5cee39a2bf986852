"""A server for 3D Slicer and PLUS: picture, label map, tips and result of every frame.

    sink = OpenIGTLinkSink(IgtlOptions(port=18944))
    sink.open(StreamInfo(name="clip", size=(1080, 1920), fps=25.0))

For each frame that has a result, every client gets these messages with one time stamp, or none of
them if it does not keep up:

    TrocarImage      IMAGE      the frame, RGB
    TrocarLabels     IMAGE      class ids at the frame's size; not for classifiers
    TrocarTip1_1 …   TRANSFORM  tips, see `TipPlaces`
    TrocarResult     STRING     the line of JSON of the frame
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import MissingExtraError
from trocar.contract.media.clock import now_ns
from trocar.contract.media.label_maps import enlarge
from trocar.contract.results import FrameResult, Instrument, Point
from trocar.runtime.sinks.base import FrameEvent, StreamInfo
from trocar.runtime.sinks.openigtlink.server import Broadcaster

CLOSE_S = 2.0
"""Longest time in which the last frames are sent at the end."""

MAX_PLACES = 16
"""Instruments whose tips are sent; the text has all of them."""

AWAY_MM = 100_000.0
"""Where the transform of a tip that is not there lies on S: outside of every view."""


@dataclass(frozen=True, kw_only=True)
class IgtlOptions:
    """Where the server listens.

    Attributes:
        host: Address of this machine; ``0.0.0.0`` for all.
        port: 0 takes a free one. OpenIGTLink's usual port is 18944.
        prefix: Beginning of all device names, at most 10 ASCII characters.
    """

    host: str = "127.0.0.1"
    port: int = 18944
    prefix: str = "Trocar"

    def numbered(self, number: int) -> IgtlOptions:
        """Those of one of several live streams: its own port and its own names."""
        if not number:
            return self
        port = self.port + number if self.port else 0
        return replace(self, port=port, prefix=f"{self.prefix}{number}")


class TipPlaces:
    """Gives each instrument a place from 1 on, which it keeps while it is tracked.

    3D Slicer makes a node for every name and keeps it, so names are used again. The place of an
    instrument that has gone is taken by the next one, the longest unused place first.
    """

    def __init__(self) -> None:
        self._owners: list[int | None] = []
        self._last_used: list[int] = []
        self._frames = 0

    def assign(self, instruments: tuple[Instrument, ...]) -> list[Instrument | None]:
        """The instrument at each place that was ever used; ``None`` where there is none now.

        Instruments without a track number are placed in their order.
        """
        self._frames += 1
        shown = instruments[:MAX_PLACES]
        taken: dict[int, Instrument] = {}
        for one in shown:
            if one.track_id is not None and one.track_id in self._owners:
                taken[self._owners.index(one.track_id)] = one
        for one in shown:
            if any(one is other for other in taken.values()):
                continue
            place = self._free_place(taken, tracked=one.track_id is not None)
            self._owners[place] = one.track_id
            taken[place] = one
        for place in taken:
            self._last_used[place] = self._frames
        return [taken.get(place) for place in range(len(self._owners))]

    def _free_place(self, taken: Mapping[int, Instrument], *, tracked: bool) -> int:
        free = [place for place in range(len(self._owners)) if place not in taken]
        if not free:
            self._owners.append(None)
            self._last_used.append(0)
            return len(self._owners) - 1
        return min(free, key=lambda place: self._last_used[place] if tracked else place)


class OpenIGTLinkSink:
    """Sends to every client that is connected; no client can slow the run down.

    Args:
        options: Where it listens, which it does from now on.

    Raises:
        MissingExtraError: The package fastcrc is not installed.
        SinkError: The port is in use, or the address does not belong to this machine.
    """

    wants_every_frame = False

    def __init__(self, options: IgtlOptions) -> None:
        try:
            from trocar.runtime.sinks.openigtlink import messages
        except ImportError as error:
            raise MissingExtraError(
                "--igtl needs the package fastcrc, which is not installed",
                remedy="pip install 'trocar[igtl]'",
            ) from error
        self._messages = messages
        self._prefix = options.prefix
        self._server = Broadcaster(options.host, options.port)
        self._places = TipPlaces()
        # Clients want the time of day. It is asked once: a clock that is set must not move a frame.
        self._epoch_ns = time.time_ns() - now_ns()
        self.address = self._server.address
        self.name = f"OpenIGTLink on {self.address}"

    @property
    def clients(self) -> int:
        """Clients that are connected."""
        return self._server.clients

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be told at the end."""
        lost = self._server.dropped
        total = lost + self._server.sent
        if not lost:
            return ()
        return (f"{self.name}: clients did not keep up and lost {lost} of {total} frames",)

    def open(self, info: StreamInfo) -> None:
        """Does nothing: it listens already."""

    def write(self, event: FrameEvent) -> None:
        """Queues the messages of one frame for every client; never waits for one."""
        result = event.result
        if result is None or not self._server.clients:
            return
        # All messages of a frame carry the time of its capture.
        stamp = event.frame.captured_ns + self._epoch_ns
        make, prefix = self._messages, self._prefix
        parts = make.image_message(f"{prefix}Image", event.frame.image, stamp_ns=stamp)
        if result.labels is not None:
            size = (event.frame.image.shape[0], event.frame.image.shape[1])
            labels = np.asarray(enlarge(result.labels, size), np.uint8)
            parts += make.image_message(f"{prefix}Labels", labels, stamp_ns=stamp)
        for number, one in enumerate(self._places.assign(result.instruments), start=1):
            for which in range(2):
                name = f"{prefix}Tip{number}_{which + 1}"
                parts += make.transform_message(name, _pose(one, which), stamp_ns=stamp)
        text = _text(result, make.MAX_TEXT)
        parts += make.string_message(f"{prefix}Result", text, stamp_ns=stamp)
        self._server.send(b"".join(parts))

    def close(self) -> None:
        """Sends what waits, for at most `CLOSE_S` seconds."""
        self._server.close(wait_s=CLOSE_S)

    def commit(self) -> None:
        """Does nothing: there is no file."""

    def discard(self) -> None:
        """Ends all connections at once."""
        self._server.close(wait_s=0.0)


def _pose(instrument: Instrument | None, which: int) -> NDArray[np.float64]:
    """``[3, 4]``: at the tip, X along the instrument towards it; far away where there is none."""
    pose = np.eye(3, 4)
    if instrument is None or which >= len(instrument.tips):
        pose[2, 3] = AWAY_MM
        return pose
    pose[:, 3] = _place(instrument.tips[which])
    dx, dy = instrument.axis
    length = float(np.hypot(dx, dy))
    if length > 0:
        along, across = np.array([-dx, -dy]) / length, np.array([dy, -dx]) / length
        pose[:2, 0], pose[:2, 1] = along, across
    return pose


def _place(point: Point) -> tuple[float, float, float]:
    """The point in mm: pixel centres are at whole numbers, see `messages`."""
    return 0.5 - point[0], 0.5 - point[1], 0.0


def _text(result: FrameResult, limit: int) -> str:
    """The frame's line of JSON; the last instruments are left out where it would be too long."""
    data: dict[str, Any] = result.to_dict()
    total = len(data["instruments"])
    text = json.dumps(data, allow_nan=False)
    while len(text) > limit and data["instruments"]:
        keep = len(data["instruments"]) // 2
        data["instruments"] = data["instruments"][:keep]
        text = json.dumps(data | {"left_out": total - keep}, allow_nan=False)
    return text
