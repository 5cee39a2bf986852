"""One peer of WebRTC: the pictures as a video track, their numbers in the data channel.

    peer = Peer(feed, None, ended=lambda peer: None)
    answer = await peer.answer(offer, local="127.0.0.1", limit_s=15)

Needs aiortc (the extra `webrtc`): only `peers` imports this module, and only at the first offer.
The message of a picture is sent before it: `number`, `captured_ns`, `width`, `height`, `result`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from av import VideoFrame

from trocar.contract.media.clock import now_ns
from trocar.runtime.live.monitor.feed import Feed, Picture, Show
from trocar.runtime.live.monitor.strip import stamped

MAX_QUEUED = 128 << 10
"""Bytes of messages that wait for the network; above, pictures are left out."""

_CLOCK = 90_000
_END_S = 2.0


class Pictures(MediaStreamTrack):  # type: ignore[misc]
    """The newest overlays of a feed as a video track; each is announced in the data channel.

    Args:
        feed: The overlays.
        show: Parts that are drawn.
    """

    kind = "video"

    def __init__(self, feed: Feed, show: Show) -> None:
        super().__init__()
        self.channel: Any = None
        self._feed, self._show = feed, show
        self._own_loop = asyncio.get_running_loop()
        self._wakened = asyncio.Event()
        before = feed.newest(show=show)
        self._number = -1 if before is None else before.number
        self._began_ns = now_ns()
        self._pts = -1

    def wake(self) -> None:
        """Tells from another thread that there is a new overlay."""
        with contextlib.suppress(RuntimeError):  # The loop is closed.
            self._own_loop.call_soon_threadsafe(self._wakened.set)

    async def recv(self) -> VideoFrame:
        """The next overlay; those that came while nobody asked are left out."""
        while True:
            if self.readyState != "live":
                raise MediaStreamError
            self._wakened.clear()
            picture = self._next()
            if picture is not None:
                break
            await self._wakened.wait()
        self._number = picture.number
        height, width = picture.image.shape[:2]
        self.channel.send(
            f'{{"number":{picture.number},"captured_ns":{picture.captured_ns},'
            f'"width":{width},"height":{height},"result":{picture.result}}}'
        )
        frame = VideoFrame.from_ndarray(stamped(picture.image, picture.number), format="rgb24")
        self._pts = max(self._pts + 1, (now_ns() - self._began_ns) * _CLOCK // 10**9)
        frame.pts, frame.time_base = self._pts, Fraction(1, _CLOCK)
        return frame

    def _next(self) -> Picture | None:
        channel = self.channel
        if channel is None or channel.readyState != "open" or channel.bufferedAmount > MAX_QUEUED:
            return None
        picture = self._feed.newest(show=self._show)
        return None if picture is None or picture.number == self._number else picture

    def stop(self) -> None:
        """Ends the track, and who waits for its next picture."""
        super().stop()
        self._wakened.set()


class Peer:
    """A client that watches by WebRTC, from its offer to its end.

    Args:
        feed: The overlays.
        show: Parts that are drawn.
        ended: Called once, on the loop, when the peer has ended.
    """

    def __init__(self, feed: Feed, show: Show, *, ended: Callable[[Peer], None]) -> None:
        self._ended: Callable[[Peer], None] | None = ended
        # Without this, aiortc would ask a STUN server on the internet for its address.
        configuration = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        self._connection = RTCPeerConnection(configuration)
        self._pictures = Pictures(feed, show)
        self._hold = contextlib.ExitStack()
        self._hold.enter_context(feed.watched(show=show, wake=self._pictures.wake))
        self._ending: asyncio.Task[None] | None = None

    async def answer(self, sdp: str, *, local: str, limit_s: float) -> str:
        """Session description of the answer; raises what aiortc raises for a wrong offer.

        Args:
            sdp: The offer.
            local: The address of this machine that is used; no other one is.
            limit_s: Seconds in which the peer must be connected; it is ended otherwise.
        """
        try:
            self._connection.on("datachannel", self._take_channel)
            self._connection.on("connectionstatechange", self._follow_state)
            sender = self._connection.addTransceiver(self._pictures, direction="sendonly")
            sender.setCodecPreferences(_vp8())
            await self._connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
            _use_only(self._connection, local)
            await self._connection.setLocalDescription(await self._connection.createAnswer())
        except BaseException:
            await self.end()
            raise
        asyncio.get_running_loop().call_later(limit_s, self._check_connected)
        return str(self._connection.localDescription.sdp)

    async def end(self) -> None:
        """Ends the peer; a second call does nothing."""
        ended, self._ended = self._ended, None
        if ended is None:
            return
        self._pictures.stop()
        self._hold.close()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._connection.close(), _END_S)
        ended(self)

    def _take_channel(self, channel: Any) -> None:
        if self._pictures.channel is None:
            self._pictures.channel = channel
            self._pictures.wake()

    def _follow_state(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            self._end_soon()

    def _check_connected(self) -> None:
        if self._connection.connectionState != "connected":
            self._end_soon()

    def _end_soon(self) -> None:
        if self._ended is not None and self._ending is None:
            self._ending = asyncio.ensure_future(self.end())


def _vp8() -> list[Any]:
    """VP8 alone: every browser has it, and no patent licence is needed for it."""
    codecs = RTCRtpSender.getCapabilities("video").codecs
    return [one for one in codecs if one.mimeType.lower() in ("video/vp8", "video/rtx")]


def _use_only(connection: RTCPeerConnection, address: str) -> None:
    """Opens sockets at one address; aiortc would take all of this machine but the loopback.

    aiortc has no setting for it. A test checks the addresses of the answer.
    """
    transports = [one.sender.transport.transport for one in connection.getTransceivers()]
    if connection.sctp is not None:
        transports.append(connection.sctp.transport.transport)
    for transport in transports:
        gathering: Any = transport.iceGatherer._connection
        gathering.get_component_candidates = _at(
            type(gathering).get_component_candidates.__get__(gathering), address
        )


def _at(gather: Callable[..., Any], address: str) -> Callable[..., Any]:
    async def gathered(component: int, addresses: list[str], **options: Any) -> Any:
        return await gather(component=component, addresses=[address], **options)

    return gathered
