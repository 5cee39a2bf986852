"""The live page's server: the picture as MJPEG, the state as JSON, metrics for Prometheus.

    monitor = Monitor("127.0.0.1", 8080); monitor.start(); monitor.address

On the loopback address anybody on this machine may look. Any other address needs a token: a
surgical picture is nobody else's business.
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
    """Serves what it is given; never slows down who gives it.

    Args:
        host: Address to listen on.
        port: 0 lets the system choose.
        token: For other addresses than the loopback; one is made when none is given.

    Raises:
        SinkError: The address is taken or not this machine's.
        ConfigError: The token is too short to keep anybody out.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 8080, *, token: str | None = None):
        if token is not None and len(token) < 12:
            raise ConfigError(
                f"the token has {len(token)} characters, expected at least 12",
                remedy="leave --token out: a good one is made and printed",
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
                remedy="choose another port, e.g. --view 127.0.0.1:0",
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="trocar-page", daemon=True
        )

    @property
    def address(self) -> str:
        """Where to look, token included."""
        host, port = self._server.server_address[:2]
        query = f"/?token={self.token}" if self.token else "/"
        return f"http://{host!s}:{port}{query}"

    def feed(self, name: str) -> Feed:
        """The feed of a stream, made when it is first asked for."""
        key = str(len(self.feeds))
        made = Feed(name)
        self.feeds[key] = made
        return made

    def set_metrics(self, text: str) -> None:
        """What ``/metrics`` says."""
        self._metrics = text

    def start(self) -> None:
        """Begins to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; clients are sent away."""
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
            # The page's first look, without a second question.
            text = json.dumps({key: feed.state for key, feed in self.feeds.items()})
            request.reply(200, f"const initial = {text};".encode(), "text/javascript")
        elif path == "/metrics":
            request.reply(200, self._metrics.encode(), "text/plain; version=0.0.4")
        elif path in ("/stream", "/picture.jpg"):
            feed = self.feeds.get(query.get("n", ["0"])[0])
            if feed is None:
                request.reply(404, b"there is no such stream\n", "text/plain; charset=utf-8")
            elif path == "/stream":
                self._stream(request, feed)
            else:
                request.reply(200, feed.fresh(2.0) or b"", "image/jpeg")
        else:
            request.reply(404, b"there is no such page\n", "text/plain; charset=utf-8")

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
            # A client that does not read is sent away when its buffers have been full so long.
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
        """A client that went away is no error of ours."""


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
        """Addresses with tokens belong in no log."""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
