"""The live page's server: the overlay as MJPEG, the state as JSON, metrics for Prometheus.

    monitor = Monitor("127.0.0.1", 8080)
    monitor.start()
    print(monitor.address)

On the loopback address every user of this machine has access. Any other address needs a token,
because surgical images are confidential.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import json
import secrets
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from trocar.contract.errors import ConfigError, SinkError
from trocar.runtime.live.monitor.feed import Feed
from trocar.runtime.telemetry.prometheus import CONTENT_TYPE

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"
_BOUNDARY = "trocarframe"
MAX_CLIENTS = 32
SEND_TIMEOUT_S = 5.0


class Monitor:
    """Serves the feeds of all streams; a slow client never delays a stream.

    Args:
        host: Address to listen on.
        port: 0 lets the system choose.
        token: For addresses other than the loopback, 12 characters or more; one is generated when
            none is given.

    Attributes:
        token: The token; ``None`` on the loopback.
        feeds: The streams' feeds by number, as text.

    Raises:
        SinkError: The address is in use or does not belong to this machine.
        ConfigError: The token is too short.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 8080, *, token: str | None = None):
        if token is not None and len(token) < 12:
            raise ConfigError(
                f"the token has {len(token)} characters, expected at least 12",
                remedy="leave --token out: one is generated and printed",
            )
        self.token = token or (None if _is_loopback(host) else secrets.token_urlsafe(18))
        self.feeds: dict[str, Feed] = {}
        self._metrics = ""
        self._stop = threading.Event()
        self._clients = threading.BoundedSemaphore(MAX_CLIENTS)
        try:
            self._server = _Server((host, port), self)
        except OSError as error:
            raise SinkError(
                f"cannot serve the page on {host}:{port}: {error.strerror or error}",
                remedy="choose another port, e.g. --serve 127.0.0.1:0",
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="trocar-page", daemon=True
        )

    @property
    def address(self) -> str:
        """Address of the page, with the token."""
        host, port = self._server.server_address[:2]
        query = f"/?token={self.token}" if self.token else "/"
        return f"http://{host!s}:{port}{query}"

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
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout=5)
        self._server.server_close()

    def answer(self, request: _Request) -> None:
        """Answers one request."""
        parts = urlsplit(request.path)
        query = parse_qs(parts.query)
        if not self._allowed(request, query):
            request.reply(401, b"a token is needed\n", "text/plain; charset=utf-8")
            return
        path = parts.path
        if path in _FILES:
            name, kind = _FILES[path]
            folder = resources.files("trocar.runtime.live.monitor") / "static"
            data = (folder / name).read_bytes()
            cookie = f"trocar={self.token}; HttpOnly; SameSite=Strict" if self.token else ""
            request.reply(200, data, kind, {"Set-Cookie": cookie} if cookie else {})
        elif path == "/state.json":
            state = {key: feed.state for key, feed in self.feeds.items()}
            request.reply(200, json.dumps(state).encode(), "application/json")
        elif path == "/state.js":
            # The state with which the page starts, without a second request.
            text = json.dumps({key: feed.state for key, feed in self.feeds.items()})
            request.reply(200, f"const initial = {text};".encode(), "text/javascript")
        elif path == "/metrics":
            request.reply(200, self._metrics.encode(), CONTENT_TYPE)
        elif path in ("/stream", "/picture.jpg"):
            feed = self.feeds.get(query.get("n", ["0"])[0])
            if feed is None:
                request.reply(404, b"unknown stream\n", "text/plain; charset=utf-8")
            elif path == "/stream":
                self._stream(request, feed)
            else:
                request.reply(200, feed.fresh(2.0) or b"", "image/jpeg")
        else:
            request.reply(404, b"unknown page\n", "text/plain; charset=utf-8")

    def _allowed(self, request: _Request, query: Mapping[str, list[str]]) -> bool:
        if self.token is None:
            return True
        given = query.get("token", [""])[0]
        header = request.headers.get("Authorization", "")
        if header.startswith("Bearer "):
            given = header[7:]
        for part in request.headers.get("Cookie", "").split(";"):
            key, _, value = part.strip().partition("=")
            if key == "trocar":
                given = given or value
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _stream(self, request: _Request, feed: Feed) -> None:
        if not self._clients.acquire(blocking=False):
            request.reply(503, b"too many clients\n", "text/plain; charset=utf-8")
            return
        try:
            # A client that does not read is disconnected when its buffers stay full so long.
            request.connection.settimeout(SEND_TIMEOUT_S)
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
            request.head(200, f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            with feed.watched():
                number = -1
                while not self._stop.is_set():
                    number, data = feed.wait(number, 1.0)
                    if data is None:
                        continue
                    head = (
                        f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                        f"Content-Length: {len(data)}\r\n\r\n"
                    )
                    request.wfile.write(head.encode() + data + b"\r\n")
        finally:
            self._clients.release()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], monitor: Monitor) -> None:
        self.monitor = monitor
        super().__init__(address, _Request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores clients that disconnected."""


class _Request(BaseHTTPRequestHandler):
    server: _Server
    timeout = SEND_TIMEOUT_S
    server_version = "trocar"
    sys_version = ""

    def do_GET(self) -> None:
        with contextlib.suppress(OSError):
            self.server.monitor.answer(self)

    def reply(
        self, status: int, data: bytes, kind: str, extra: Mapping[str, str] | None = None
    ) -> None:
        self.head(status, kind, {"Content-Length": str(len(data)), **(extra or {})})
        self.wfile.write(data)

    def head(self, status: int, kind: str, extra: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        for key, value in (extra or {}).items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Writes no log: addresses contain tokens."""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
