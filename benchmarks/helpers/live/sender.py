"""A camera with an encoder, in a process of its own: H.264 in MPEG-TS over UDP.

    python -c "from helpers.live.sender import main; main()" 5000 --fps 50

The true time of capture is in every picture (`bar_code`). Orders come by the standard input, one a
line: ``off SECONDS`` stops sending, ``restart`` begins a new stream whose clock starts at 0,
``lose COUNT`` leaves out so many datagrams, ``freeze SECONDS`` repeats one picture.
"""

from __future__ import annotations

import argparse
import io
import queue
import socket
import sys
import threading
import time
from fractions import Fraction
from typing import Any

import av
from helpers.live.bar_code import stamp
from helpers.live.scenes import scene

_DATAGRAM = 1316


class Wire(io.RawIOBase):
    """Sends what is written as datagrams, and loses some when told."""

    def __init__(self, port: int) -> None:
        self.losing = 0
        self._port = port
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Sends the bytes."""
        view = memoryview(data)
        for start in range(0, len(view), _DATAGRAM):
            if self.losing:
                self.losing -= 1
                continue
            self._socket.sendto(view[start : start + _DATAGRAM], ("127.0.0.1", self._port))
        return len(view)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--gop", type=int, default=25)
    parser.add_argument("--size", default="320x240", help="WIDTHxHEIGHT, 128x96 or more")
    given = parser.parse_args()
    orders: queue.Queue[list[str]] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            orders.put(line.split())
        orders.put(["end"])

    threading.Thread(target=listen, daemon=True).start()
    wire = Wire(given.port)
    width, height = map(int, given.size.split("x"))
    pictures = [_planes(scene(index, height, width)) for index in range(40)]
    while _send(wire, pictures, orders, given.fps, given.gop):
        pass


def _planes(picture: Any) -> Any:
    """``[H * 3/2, W]`` in YUV 4:2:0, without colour where the time will be printed."""
    stamp(picture, 0)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(format="yuv420p").to_ndarray()


def _send(
    wire: Wire, pictures: list[Any], orders: queue.Queue[list[str]], fps: int, gop: int
) -> bool:
    """One stream, until it is ended or restarted; whether another one follows."""
    container = av.open(
        wire, "w", format="mpegts", options={"flush_packets": "1"}, buffer_size=_DATAGRAM
    )
    options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "g": str(gop)}
    stream: Any = container.add_stream("libx264", rate=fps, options=options)
    height, width = pictures[0].shape[0] * 2 // 3, pictures[0].shape[1]
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    if width < 320:
        stream.codec_context.thread_count = 1
    begun = time.monotonic()
    frozen_until = 0.0
    frozen: Any = None
    losing_since = 0.0
    index = 0
    while True:
        try:
            order = orders.get_nowait()
        except queue.Empty:
            order = []
        if order[:1] == ["end"]:
            return False
        if order[:1] == ["restart"]:
            _say("restart", time.monotonic())
            return True
        if order[:1] == ["off"]:
            begin = time.monotonic()
            time.sleep(float(order[1]))
            _say("off", begin)
        if order[:1] == ["lose"]:
            wire.losing, losing_since = int(order[1]), time.monotonic()
        if losing_since and not wire.losing:
            _say("lose", losing_since)
            losing_since = 0.0
        if order[:1] == ["freeze"]:
            frozen_until, frozen = time.monotonic() + float(order[1]), None
            _say("freeze", time.monotonic(), frozen_until)
        index = max(index + 1, int((time.monotonic() - begun) * fps))
        time.sleep(max(0.0, begun + index / fps - time.monotonic()))
        image = pictures[index % len(pictures)].copy()
        stamp(image[:height], time.monotonic_ns() // 1_000_000)
        if time.monotonic() < frozen_until:
            frozen = image if frozen is None else frozen
            image = frozen
        frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, fps)
        for packet in stream.encode(frame):
            container.mux(packet)


def _say(kind: str, begin: float, end: float | None = None) -> None:
    """Tells the soak what was done, and from when to when."""
    print(kind, begin, time.monotonic() if end is None else end, flush=True)
