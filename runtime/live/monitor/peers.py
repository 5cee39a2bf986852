"""Who watches by WebRTC: how many, for how long, and on which thread.

    peers = Peers()
    answer = peers.answer(Offer.read(body), feed, local="127.0.0.1", remote="127.0.0.1")
    peers.stop()

WebRTC is the extra `webrtc` (aiortc). Everything of it, encoding too, is on threads of its own that
the first offer starts. Packets leave from the address at which the page was asked for, to the
address that asked; there is no STUN or TURN server.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ipaddress
import json
import re
import threading
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trocar.contract.errors import ConfigError
from trocar.runtime.draw.show import show_from
from trocar.runtime.live.monitor.access import Fault
from trocar.runtime.live.monitor.feed import Feed, Show

if TYPE_CHECKING:
    from trocar.runtime.live.monitor.webrtc import Peer

MAX_PEERS = 6
"""Clients that may watch by WebRTC at once; each costs one more encoding."""

MAX_OFFER = 64 << 10
"""Bytes of an offer."""

ANSWER_DEADLINE_S = 10.0
"""Seconds in which an offer is answered; the first one waits for the import of aiortc."""

CONNECT_DEADLINE_S = 15.0
"""Seconds in which a peer must be connected after the answer."""

_STOP_S = 5.0
_MAX_CANDIDATES = 8
_ENCODERS = 2


class Refused(Exception):
    """An offer that is not taken.

    Attributes:
        fault: What the client is told.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(status, text)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a page asks for.

    Attributes:
        sdp: Session description with one video and one data channel.
        stream: Number of the stream, as text.
        show: Parts of the drawing; ``None`` for those of the run.
    """

    sdp: str
    stream: str = "0"
    show: Show = None

    @classmethod
    def read(cls, data: bytes) -> Offer:
        """Reads the JSON of a request; raises `Refused` where it is none."""
        try:
            given = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Refused(400, "the offer is no JSON") from error
        texts = given if isinstance(given, dict) else {}
        sdp, stream, show = texts.get("sdp"), texts.get("n", "0"), texts.get("show", "")
        if not (isinstance(sdp, str) and isinstance(stream, str) and isinstance(show, str)):
            raise Refused(400, 'expected {"sdp": "…", "n": "0", "show": "masks"}, all of them text')
        media = re.findall(r"^m=(\w+) ", sdp, re.MULTILINE)
        if sorted(media) != ["application", "video"]:
            raise Refused(400, "expected an offer with one video and one data channel")
        try:
            return cls(sdp=sdp, stream=stream, show=show_from(show) if show else None)
        except ConfigError as error:
            raise Refused(400, f"{error.message}\n{error.remedy}") from error


class Peers:
    """Answers offers, and ends the peers.

    Args:
        allowed: Whether offers are taken where WebRTC is installed.
    """

    def __init__(self, *, allowed: bool = True) -> None:
        self._allowed = allowed
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(MAX_PEERS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._encoders: futures.ThreadPoolExecutor | None = None
        self._peers: set[Peer] = set()
        self._usable = allowed and importlib.util.find_spec("aiortc") is not None

    @property
    def offered(self) -> bool:
        """Whether WebRTC is wanted and installed, and could be loaded if it was tried."""
        return self._usable

    def answer(self, offer: Offer, feed: Feed, *, local: str, remote: str) -> str:
        """Session description of the answer.

        Args:
            offer: What the client asks for.
            feed: The pictures of its stream.
            local: Address of this machine at which the client asked.
            remote: Address of the client.

        Raises:
            Refused: WebRTC is not installed or switched off, there are too many peers or
                selections of what is shown, or the offer cannot be answered.
        """
        loop = self._running()
        sdp = own_candidates(offer.sdp, plain_address(remote))
        if not self._places.acquire(blocking=False):
            raise Refused(503, "too many clients by WebRTC")
        hold = contextlib.ExitStack()
        hold.callback(self._places.release)
        try:
            if not hold.enter_context(feed.asked(offer.show)):
                raise Refused(503, "too many selections of what is shown")
        except BaseException:
            hold.close()
            raise
        task = self._begin(sdp, feed, offer.show, plain_address(local), hold)
        future = asyncio.run_coroutine_threadsafe(task, loop)
        try:
            return future.result(ANSWER_DEADLINE_S)
        except futures.TimeoutError as error:
            # The task goes on: it gives its place back itself, and ends a peer that nobody answers.
            raise Refused(503, "the offer could not be answered in time") from error
        except Refused:
            raise
        except Exception as error:
            raise Refused(400, "the offer cannot be answered") from error

    def stop(self) -> None:
        """Ends all peers and the threads; later offers are refused."""
        with self._lock:
            self._usable = False
            loop, thread, encoders = self._loop, self._thread, self._encoders
            self._loop = None
        if loop is None or thread is None or encoders is None:
            return
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._end_all(), loop).result(_STOP_S)
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(loop.stop)
        thread.join(_STOP_S)
        encoders.shutdown(wait=False, cancel_futures=True)

    def _running(self) -> asyncio.AbstractEventLoop:
        """The loop; its thread is started by the first offer."""
        with self._lock:
            if not self._allowed:
                raise Refused(501, "WebRTC is switched off here")
            if not self._usable:
                raise Refused(501, "WebRTC is not installed here: pip install 'trocar[webrtc]'")
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                # A peer that breaks is ended; nobody reads a traceback of it.
                loop.set_exception_handler(lambda loop, context: None)
                self._encoders = futures.ThreadPoolExecutor(
                    _ENCODERS, thread_name_prefix="trocar-encoder"
                )
                loop.set_default_executor(self._encoders)
                self._thread = threading.Thread(
                    target=_run, args=(loop,), name="trocar-webrtc", daemon=True
                )
                self._thread.start()
            return self._loop

    async def _begin(
        self, sdp: str, feed: Feed, show: Show, local: str, hold: contextlib.ExitStack
    ) -> str:
        try:
            try:
                from trocar.runtime.live.monitor.webrtc import Peer
            except Exception as error:
                self._usable = False
                raise Refused(501, "WebRTC cannot be loaded: see trocar doctor") from error
            peer = Peer(feed, show, ended=self._ended(hold))
            self._peers.add(peer)
            return await peer.answer(sdp, local=local, limit_s=CONNECT_DEADLINE_S)
        except BaseException:
            hold.close()
            raise

    def _ended(self, hold: contextlib.ExitStack) -> _Ended:
        def ended(peer: Peer) -> None:
            self._peers.discard(peer)
            hold.close()

        return ended

    async def _end_all(self) -> None:
        await asyncio.gather(*(peer.end() for peer in list(self._peers)), return_exceptions=True)


if TYPE_CHECKING:
    from collections.abc import Callable

    _Ended = Callable[[Peer], None]


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    finally:
        loop.close()


_CANDIDATE = re.compile(r"a=candidate:(\w{1,32}) 1 udp (\d{1,10}) \S+ (\d{1,5}) typ host\b", re.I)


def own_candidates(sdp: str, address: str) -> str:
    """An offer whose candidates have the address of the client alone.

    Whatever an offer says, nothing is sent to other machines, and no name is looked up: browsers
    hide their address behind a name that only multicast DNS knows.
    """
    lines: list[str] = []
    ports: set[int] = set()
    for line in sdp.splitlines():
        if line.startswith("a=candidate:"):
            found = _CANDIDATE.match(line)
            port = 0 if found is None else int(found[3])
            if found is None or not 0 < port < 65536 or port in ports:
                continue
            if len(ports) >= _MAX_CANDIDATES:
                continue
            ports.add(port)
            line = f"a=candidate:{found[1]} 1 udp {found[2]} {address} {port} typ host"
        lines.append(line)
    return "\r\n".join(lines) + "\r\n"


def plain_address(text: str) -> str:
    """An address as IPv4 where it is one that was mapped into IPv6.

    Raises:
        Refused: The address is valid on one link only: WebRTC cannot name it.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.version == 6 and address.is_link_local:
        raise Refused(501, "WebRTC is not offered on addresses of one link")
    return str(address)
