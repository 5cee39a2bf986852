"""The live page's server: the overlay as MJPEG or by WebRTC, the state as JSON, metrics.

    monitor = Monitor("127.0.0.1", 8080)
    monitor.start()
    print(monitor.address)

On the loopback address every user of this machine has access. Any other address needs a token,
because surgical images are confidential.
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from trocar.contract.errors import ConfigError
from trocar.contract.media.clock import now_ns
from trocar.runtime.draw.show import show_from
from trocar.runtime.live.monitor.access import Access
from trocar.runtime.live.monitor.connections import PageServer, TimedRequest, tls_context
from trocar.runtime.live.monitor.feed import Feed, Show
from trocar.runtime.live.monitor.peers import MAX_OFFER, Offer, Peers, Refused
from trocar.runtime.telemetry.prometheus import CONTENT_TYPE

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/watch.js": ("watch.js", "text/javascript; charset=utf-8"),
    "/webrtc.js": ("webrtc.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_TEXT = "text/plain; charset=utf-8"
_BOUNDARY = "trocarframe"
MAX_STREAMS = 32
"""Clients that may watch at once."""


class Monitor:
    """Serves the feeds of all streams; a slow client never delays a stream.

    Args:
        host: Address to listen on: IPv4, IPv6 or a name of this machine.
        port: 0 lets the system choose.
        token: For addresses other than the loopback, 12 characters or more; one is generated when
            none is given.
        names: Further host names under which browsers reach the page.
        certificate: PEM file for TLS; ``None`` for no encryption.
        key: PEM file of the certificate's key.
        webrtc: Whether offers of WebRTC are taken where it is installed.

    Attributes:
        token: The token; ``None`` on the loopback.
        feeds: The streams' feeds by number, as text.

    Raises:
        SinkError: The address is in use or does not belong to this machine.
        ConfigError: The token is too short, or certificate and key cannot be used.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        *,
        token: str | None = None,
        names: Sequence[str] = (),
        certificate: Path | None = None,
        key: Path | None = None,
        webrtc: bool = True,
    ) -> None:
        if (certificate is None) != (key is None):
            given, other = ("certificate", "key") if key is None else ("key", "certificate")
            raise ConfigError(
                f"got a {given} without its {other}, expected both",
                remedy="pass --serve-cert and --serve-key together",
            )
        self._access = Access(host, token=token, names=names)
        self.token = self._access.token
        self.feeds: dict[str, Feed] = {}
        self._metrics = ""
        self._stop = threading.Event()
        self._streams = threading.BoundedSemaphore(MAX_STREAMS)
        self._peers = Peers(allowed=webrtc)
        tls = None if certificate is None or key is None else tls_context(certificate, key)
        self._server = PageServer((host, port), self._handler(), tls=tls)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="trocar-page", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """Address of the page, with the token."""
        host = str(self._server.server_address[0])
        scheme = "http" if self._server.tls is None else "https"
        shown = f"[{host}]" if ":" in host else host
        return f"{scheme}://{shown}:{self.port}/{self._access.query()}"

    def feed(self, name: str) -> Feed:
        """Adds a stream and returns its feed, a sink."""
        feed = Feed(name)
        self.feeds[str(len(self.feeds))] = feed
        return feed

    def set_metrics(self, text: str) -> None:
        """Sets what ``/metrics`` returns, in Prometheus's text format."""
        self._metrics = text

    def start(self) -> None:
        """Starts to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stops and disconnects all clients."""
        self._stop.set()
        for feed in self.feeds.values():
            feed.close()
        self._peers.stop()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout=5)
        self._server.server_close()
        self._server.end_all()

    def state(self) -> dict[str, Any]:
        """What ``/state.json`` returns: a monotonic stamp, and the state of each stream.

        ``webrtc`` tells whether offers are taken.

        The stamp ``now_ns`` is of the moment of the answer; all other stamps are of the same
        clock.
        """
        streams = {key: feed.snapshot() for key, feed in self.feeds.items()}
        return {"now_ns": now_ns(), "webrtc": self._peers.offered, "streams": streams}

    def _handler(self) -> type[TimedRequest]:
        monitor = self

        class Handler(TimedRequest):
            def do_GET(self) -> None:
                with contextlib.suppress(OSError):
                    monitor.answer(self)

            def do_POST(self) -> None:
                self.do_GET()

            def send_error(
                self, code: int, message: str | None = None, explain: str | None = None
            ) -> None:
                with contextlib.suppress(OSError):
                    reply(self, int(code), f"{message or 'refused'}\n".encode(), _TEXT)

        return Handler

    def answer(self, request: TimedRequest) -> None:
        """Answers one request."""
        try:
            parts = urlsplit(request.path)
        except ValueError:
            reply(request, 400, b"that is no address\n", _TEXT)
            return
        cookie = f"trocar-{self.port}"
        fault = self._access.fault(
            request.headers, path=parts.path, query=parts.query, cookie=cookie
        )
        if fault is not None:
            reply(request, fault.status, f"{fault.text}\n".encode(), _TEXT)
            return
        path, query = parts.path, parse_qs(parts.query)
        if (request.command == "POST") != (path == "/offer"):
            reply(request, 405, b"POST is for /offer, and GET for all else\n", _TEXT)
            return
        if path == "/offer":
            self._offer(request)
            return
        self._server.allowed(request.request)
        if path in _FILES:
            name, kind = _FILES[path]
            folder = resources.files("trocar.runtime.live.monitor") / "static"
            value = self._access.cookie(cookie, secure=self._server.tls is not None)
            extra = {"Set-Cookie": value} if value and path == "/" else {}
            reply(request, 200, (folder / name).read_bytes(), kind, extra)
        elif path == "/state.json":
            reply(request, 200, _json(self.state()).encode(), "application/json")
        elif path == "/metrics":
            reply(request, 200, self._metrics.encode(), CONTENT_TYPE)
        elif path in ("/stream", "/picture.jpg"):
            self._pictures(request, path, query)
        else:
            reply(request, 404, b"unknown page\n", _TEXT)

    def _offer(self, request: TimedRequest) -> None:
        """Answers the offer of a page that wants to watch by WebRTC."""
        if request.headers.get_content_type() != "application/json":
            reply(request, 415, b"expected application/json\n", _TEXT)
            return
        data = request.body(MAX_OFFER)
        if data is None:
            text = f"expected a body of {MAX_OFFER} bytes at most, and its Content-Length\n"
            reply(request, 413, text.encode(), _TEXT)
            return
        self._server.allowed(request.request)
        try:
            offer = Offer.read(data)
            feed = self.feeds.get(offer.stream)
            if feed is None:
                raise Refused(404, "unknown stream")
            local, remote = request.channel.getsockname()[0], request.client_address[0]
            answer = self._peers.answer(offer, feed, local=local, remote=remote)
        except Refused as refused:
            reply(request, refused.fault.status, f"{refused.fault.text}\n".encode(), _TEXT)
            return
        reply(request, 200, _json({"type": "answer", "sdp": answer}).encode(), "application/json")

    def _pictures(
        self, request: TimedRequest, path: str, query: Mapping[str, Sequence[str]]
    ) -> None:
        """Answers with pictures of one stream; ``show`` chooses what is drawn for this client."""
        feed = self.feeds.get(query.get("n", ["0"])[0])
        if feed is None:
            reply(request, 404, b"unknown stream\n", _TEXT)
            return
        show = None
        if "show" in query:
            try:
                show = show_from(query["show"][0])
            except ConfigError as error:
                reply(request, 400, f"{error.message}\n{error.remedy}\n".encode(), _TEXT)
                return
        with feed.asked(show) as is_drawn:
            if not is_drawn:
                reply(request, 503, b"too many selections of what is shown\n", _TEXT)
            elif path == "/stream":
                self._stream(request, feed, show)
            else:
                self._picture(request, feed, show)

    def _picture(self, request: TimedRequest, feed: Feed, show: Show) -> None:
        picture = feed.fresh(2.0, show=show)
        if picture is None:
            reply(request, 503, b"no picture yet\n", _TEXT)
        else:
            reply(request, 200, picture.jpeg, "image/jpeg", picture.headers())

    def _stream(self, request: TimedRequest, feed: Feed, show: Show) -> None:
        if not self._streams.acquire(blocking=False):
            reply(request, 503, b"too many clients\n", _TEXT)
            return
        try:
            # A client that does not read is disconnected when its buffers stay full so long.
            request.channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
            send_head(request, 200, f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            with feed.watched(show=show):
                number = -1
                while not self._stop.is_set():
                    picture = feed.wait(number, 1.0, show=show)
                    if picture is None:
                        # An empty part keeps the connection alive, and shows that it is.
                        request.wfile.write(
                            f"--{_BOUNDARY}\r\nContent-Length: 0\r\n\r\n\r\n".encode()
                        )
                        continue
                    number = picture.number
                    lines = {
                        "Content-Type": "image/jpeg",
                        "Content-Length": str(len(picture.jpeg)),
                        **picture.headers(),
                    }
                    head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
                    request.wfile.write(
                        f"--{_BOUNDARY}\r\n{head}\r\n".encode() + picture.jpeg + b"\r\n"
                    )
        finally:
            self._streams.release()


def _json(value: Any) -> str:
    """JSON that browsers read: a number that is not finite is null."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def reply(
    request: TimedRequest,
    status: int,
    data: bytes,
    kind: str,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Sends a whole answer."""
    send_head(request, status, kind, {"Content-Length": str(len(data)), **(extra or {})})
    request.wfile.write(data)


def send_head(
    request: TimedRequest, status: int, kind: str, extra: Mapping[str, str] | None = None
) -> None:
    """Sends the head of an answer, with the headers that every answer has."""
    request.send_response(status)
    for key, value in {"Content-Type": kind, **_HEADERS, **(extra or {})}.items():
        request.send_header(key, value)
    request.end_headers()
