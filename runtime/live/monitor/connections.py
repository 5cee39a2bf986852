"""The live page's connections: how many there are, how long each may take, and TLS.

    server = PageServer(("127.0.0.1", 8080), Handler, tls=None)
    server.serve_forever()

A client has `REQUEST_DEADLINE_S` for its whole request, from the first packet of TLS to the last
header. Connections whose request has not been read and allowed are few: a new one ends the oldest
of them. So clients that stay silent neither use up file descriptors nor keep others away.
"""

from __future__ import annotations

import contextlib
import errno
import io
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from trocar.contract.errors import ConfigError, SinkError

REQUEST_DEADLINE_S = 5.0
"""Seconds in which a request must be there, and in which an answer must be taken."""

MAX_HEAD = 16 << 10
"""Bytes of a request."""

MAX_WAITING = 24
"""Connections whose request has not been allowed yet."""

MAX_CONNECTIONS = 96
"""Connections in all."""

_SEND_AT_ONCE = 64 << 10


class PageServer(ThreadingMixIn, TCPServer):
    """Accepts connections within limits, each on a thread of its own.

    Args:
        address: ``(host, port)``; IPv4, IPv6 or a name of this machine.
        handler: Reads and answers one request.
        tls: Certificate and key; ``None`` for no encryption.

    Raises:
        SinkError: The address is in use, not of this machine, or not allowed.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[TimedRequest],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.tls = tls
        self._lock = threading.Lock()
        self._open: dict[socket.socket, socket.socket] = {}
        self._waiting: dict[socket.socket, None] = {}
        try:
            found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self.address_family = found[0][0]
            super().__init__(found[0][4], handler)  # type: ignore[arg-type]
        except OSError as error:
            raise _address_error(address, error) from error

    def server_bind(self) -> None:
        """Binds; ``::`` takes IPv4 too."""
        if self.address_family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accepts; waits a moment when there is no file descriptor left."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(0.1)
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Makes room for a connection; false when there is none."""
        oldest = None
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS and not self._waiting:
                return False
            if len(self._waiting) >= MAX_WAITING or len(self._open) >= MAX_CONNECTIONS:
                oldest = next(iter(self._waiting))
                del self._waiting[oldest]
            self._open[request], self._waiting[request] = request, None
            ended = self._open.get(oldest) if oldest is not None else None
        if ended is not None:
            _end(ended)
        return True

    def encrypted(self, connection: socket.socket) -> socket.socket:
        """A connection with TLS, or the same one without; `shutdown_request` closes it."""
        if self.tls is None:
            return connection
        channel = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open[connection] = channel
        return channel

    def allowed(self, connection: socket.socket) -> None:
        """Notes that a connection's request is allowed: it is not ended for another one."""
        with self._lock:
            self._waiting.pop(connection, None)

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection and forgets it."""
        with self._lock:
            channel = self._open.pop(request, None)
            self._waiting.pop(request, None)
        if channel is not None and channel is not request:
            with contextlib.suppress(OSError):
                channel.close()
        super().shutdown_request(request)

    def end_all(self) -> None:
        """Ends every connection."""
        with self._lock:
            connections = list(self._open.values())
        for connection in connections:
            _end(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores clients that disconnected."""


class TimedRequest(BaseHTTPRequestHandler):
    """Reads a whole request before its deadline; writes with a deadline too."""

    server: PageServer
    server_version = "trocar"
    sys_version = ""

    def setup(self) -> None:
        """Reads the head of the request; raises `OSError` when it is late or too long."""
        self._ends = ends = time.monotonic() + REQUEST_DEADLINE_S
        self.channel = self.server.encrypted(self.request)
        self.channel.settimeout(REQUEST_DEADLINE_S)
        if isinstance(self.channel, ssl.SSLSocket):
            # The limit is for the handshake as a whole.
            self.channel.do_handshake()
        head = b""
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            if len(head) > MAX_HEAD:
                raise OSError("the request is too long")
            head += self._received(ends)
        self.rfile = io.BytesIO(head)
        self.wfile = _Writer(self.channel)
        self.connection = self.channel

    def body(self, limit: int) -> bytes | None:
        """The body of the request; ``None`` where its length is not told or above ``limit`` bytes.

        Raises:
            OSError: It did not come before the deadline of the request.
        """
        told = (self.headers.get_all("Content-Length") or [""])[0].strip()
        if not (told.isascii() and told.isdigit()) or len(told) > 9 or int(told) > limit:
            return None
        data = self.rfile.read()
        while len(data) < int(told):
            data += self._received(self._ends)
        return data[: int(told)]

    def _received(self, ends: float) -> bytes:
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request did not come in time")
        self.channel.settimeout(left)
        data = self.channel.recv(4096)
        if not data:
            raise ConnectionAbortedError("the client ended the connection")
        return data

    def finish(self) -> None:
        """Ends TLS, as far as the client takes part in it."""
        if isinstance(self.channel, ssl.SSLSocket):
            self.channel.settimeout(0.2)
            with contextlib.suppress(OSError, ValueError):
                self.channel.unwrap()

    def log_message(self, format: str, *args: Any) -> None:
        """Writes no log: addresses contain tokens."""


class _Writer(io.BufferedIOBase):
    """Sends with one deadline for each call of `write`."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        ends = time.monotonic() + REQUEST_DEADLINE_S
        sent = 0
        while sent < len(view):
            left = ends - time.monotonic()
            if left <= 0:
                raise TimeoutError("the client does not read")
            self._channel.settimeout(left)
            sent += self._channel.send(view[sent : sent + _SEND_AT_ONCE])
        return sent


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or later with a certificate and its key.

    Args:
        certificate: PEM file: the certificate, then those that sign it.
        key: PEM file of its key, without a passphrase.

    Raises:
        ConfigError: A file is missing, unreadable or not PEM, the key has a passphrase, or it
            does not belong to the certificate.
    """
    for name, path in (("certificate", certificate), ("key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"cannot read the {name} {path}: {error.strerror or error}",
                remedy="check --serve-cert and --serve-key, and the rights of the files",
            ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    asked = []

    def passphrase() -> str:
        asked.append(True)
        return ""

    try:
        context.load_cert_chain(certificate, key, password=passphrase)
    except (ssl.SSLError, ValueError) as error:
        raise _tls_error(certificate, key, error, bool(asked)) from error
    return context


def _tls_error(certificate: Path, key: Path, error: Exception, asked: bool) -> ConfigError:
    if asked:
        return ConfigError(
            f"the key {key} has a passphrase, expected one without",
            remedy=f"write it without: openssl pkey -in {key} -out key.pem",
        )
    if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
        return ConfigError(
            f"the key {key} does not belong to the certificate {certificate}",
            remedy="pass the key with which this certificate was made",
        )
    return ConfigError(
        f"{certificate} and {key} are no certificate and key that can be used: {error}",
        remedy="expected two PEM files: BEGIN CERTIFICATE in one, BEGIN PRIVATE KEY in the other",
    )


def _address_error(address: tuple[str, int], error: OSError) -> SinkError:
    host, port = address
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    remedies = {
        errno.EADDRINUSE: "another program listens there: choose another port, e.g. --serve "
        f"{shown.rpartition(':')[0]}:0 for a free one",
        errno.EADDRNOTAVAIL: "that is no address of this machine: use one of its own, 127.0.0.1, "
        "or 0.0.0.0 for all",
        errno.EACCES: "choose a port of 1024 or above",
    }
    remedy = remedies.get(error.errno or 0, "use an address of this machine, e.g. 127.0.0.1:8080")
    if isinstance(error, socket.gaierror):
        remedy = "that name has no address here: use 127.0.0.1, 0.0.0.0 or [::1]"
    return SinkError(f"cannot serve the page on {shown}: {error.strerror or error}", remedy=remedy)


def _end(connection: socket.socket) -> None:
    """Ends a connection that another thread may be reading."""
    with contextlib.suppress(OSError):
        # Not the method of a TLS socket: it takes the encryption away from under the reader.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
