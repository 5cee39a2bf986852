"""A client of the live page by WebRTC: its offer, and the pictures with their messages.

frames = asyncio.run(watched(monitor, 300))        # [(picture, message)], in order
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable
from typing import Any

import aioice.ice
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from numpy.typing import NDArray

from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.live.monitor.strip import HEIGHT, number_of

Received = tuple[NDArray[np.uint8], dict[str, Any]]


def on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients take the loopback, which aiortc leaves out: tests need no network."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])


class Client:
    """One connection; `frames` fills from when `connect` was called."""

    def __init__(self) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.messages: dict[int, dict[str, Any]] = {}
        self.frames: list[Received] = []
        self.unreadable = 0
        self.answer = ""
        self._tasks: list[asyncio.Task[None]] = []
        channel = self.connection.createDataChannel("results")
        channel.on("message", self._take)
        self.connection.addTransceiver("video", direction="recvonly")
        self.connection.on(
            "track", lambda t: self._tasks.append(asyncio.ensure_future(self._read(t)))
        )

    async def offer(self) -> str:
        """The text of the offer."""
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return str(self.connection.localDescription.sdp)

    async def connect(self, monitor: Monitor, **wish: str) -> None:
        """Sends the offer and takes the answer."""
        data = {"sdp": await self.offer(), **wish}
        self.answer = (await asyncio.to_thread(post, monitor, data))["sdp"]
        await self.connection.setRemoteDescription(RTCSessionDescription(self.answer, "answer"))

    async def until(self, condition: Callable[[], bool], seconds: float = 120.0) -> bool:
        """Waits until a condition is true."""
        for _ in range(round(seconds / 0.02)):
            if condition():
                return True
            await asyncio.sleep(0.02)
        return condition()

    async def close(self) -> None:
        """Ends the connection."""
        for task in self._tasks:
            task.cancel()
        await self.connection.close()

    def _take(self, text: str) -> None:
        told = json.loads(text)
        self.messages[told["number"]] = told

    async def _read(self, track: Any) -> None:
        while True:
            frame = await track.recv()
            sent = frame.to_ndarray(format="rgb24")
            number = number_of(sent)
            if number is None:
                self.unreadable += 1
                continue
            # The message was sent first, but over another way.
            assert await self.until(lambda n=number: n in self.messages)  # type: ignore[misc]
            told = self.messages[number]
            self.frames.append((sent[HEIGHT : HEIGHT + told["height"], : told["width"]], told))


def post(monitor: Monitor, data: dict[str, str], **headers: str) -> Any:
    """The answer to an offer; raises `urllib.error.HTTPError` when it is refused."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{monitor.port}/offer",
        json.dumps(data).encode(),
        {"Content-Type": "application/json", **headers},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
