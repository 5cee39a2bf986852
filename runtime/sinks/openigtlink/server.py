"""A TCP server that sends everything to every client, and never waits for one.

    server = Broadcaster("127.0.0.1", 18944)
    server.send(b"...")
    server.close(wait_s=2.0)

Each client has a queue of limited size. What does not fit is dropped whole, for this client only.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
import time
import weakref
from collections import deque

from trocar.contract.errors import SinkError

QUEUE_BYTES = 64 << 20
"""Bytes that wait for one client; eight frames of 1080p with their label maps."""

MAX_CLIENTS = 8


class _Client:
    """One connection and what waits for it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.waiting: deque[memoryview] = deque()
        self.bytes = 0

    def send(self) -> None:
        """Sends what the socket takes now; raises `OSError` when the connection is broken."""
        while self.waiting:
            first = self.waiting[0]
            try:
                sent = self.socket.send(first)
            except BlockingIOError:
                return
            self.bytes -= sent
            if sent == len(first):
                self.waiting.popleft()
            else:
                self.waiting[0] = first[sent:]


class Broadcaster:
    """Listens from the start; sends from a thread of its own.

    Args:
        host: Address or name of this machine.
        port: 0 takes a free one.

    Attributes:
        address: ``HOST:PORT`` of the socket.
        sent: Calls of `send` whose data was queued for a client, over all clients.
        dropped: Those whose data was dropped, because the client did not keep up.

    Raises:
        SinkError: The port is in use, or the address does not belong to this machine.
    """

    def __init__(self, host: str, port: int) -> None:
        self.sent = 0
        self.dropped = 0
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._listener = socket.create_server(found[0][4][:2], family=found[0][0], backlog=16)
        except OSError as error:
            raise _address_error(host, port, error) from error
        # A run that ends before its first frame closes nothing.
        weakref.finalize(self, self._listener.close)
        self._listener.setblocking(False)
        own, taken = self._listener.getsockname()[:2]
        self.address = f"[{own}]:{taken}" if ":" in own else f"{own}:{taken}"
        self._clients: dict[socket.socket, _Client] = {}
        self._lock = threading.Lock()
        self._stop_at: float | None = None
        self._wake: socket.socket | None = None
        self._woken: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def clients(self) -> int:
        """Connections at present; those that wait to be accepted are accepted first."""
        self._accept()
        return len(self._clients)

    def send(self, data: bytes) -> None:
        """Queues data for every client; never waits for a client. Does nothing after `close`."""
        if self._stop_at is not None:
            return
        with self._lock:
            for client in self._clients.values():
                if client.waiting and client.bytes + len(data) > QUEUE_BYTES:
                    self.dropped += 1
                    continue
                client.waiting.append(memoryview(data))
                client.bytes += len(data)
                self.sent += 1
        self._run()

    def close(self, *, wait_s: float) -> None:
        """Sends what waits, for at most ``wait_s`` seconds, and ends all connections."""
        self._stop_at = time.monotonic() + wait_s
        thread, self._thread = self._thread, None
        if thread is not None:
            self._call()
            thread.join()
        for client in self._clients.values():
            with contextlib.suppress(OSError):
                client.socket.shutdown(socket.SHUT_RDWR)
            client.socket.close()
        self._clients.clear()
        self._listener.close()
        for end in (self._wake, self._woken):
            if end is not None:
                end.close()

    def _run(self) -> None:
        """Starts the thread with the first data, and wakes it."""
        if self._thread is None:
            self._wake, self._woken = socket.socketpair()
            self._wake.setblocking(False)
            self._thread = threading.Thread(target=self._work, name="trocar-igtl", daemon=True)
            self._thread.start()
        self._call()

    def _call(self) -> None:
        assert self._wake is not None
        # Full: it will wake up all the same.
        with contextlib.suppress(BlockingIOError):
            self._wake.send(b"x")

    def _work(self) -> None:
        assert self._woken is not None
        while not self._done():
            with selectors.DefaultSelector() as selector:
                selector.register(self._woken, selectors.EVENT_READ)
                selector.register(self._listener, selectors.EVENT_READ)
                with self._lock:
                    for connection, client in self._clients.items():
                        wanted = selectors.EVENT_WRITE if client.waiting else 0
                        selector.register(connection, selectors.EVENT_READ | wanted)
                timeout = None
                if self._stop_at is not None:
                    timeout = max(0.0, self._stop_at - time.monotonic())
                ready = selector.select(timeout)
            for key, _ in ready:
                if key.fileobj is self._woken:
                    self._woken.recv(1 << 12)
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    self._serve(key.fileobj)  # type: ignore[arg-type]

    def _done(self) -> bool:
        if self._stop_at is None:
            return False
        with self._lock:
            waiting = any(client.waiting for client in self._clients.values())
        return not waiting or time.monotonic() >= self._stop_at

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with self._lock:
                    if len(self._clients) >= MAX_CLIENTS:
                        connection.close()
                        continue
                    connection.setblocking(False)
                    with contextlib.suppress(OSError):
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._clients[connection] = _Client(connection)

    def _serve(self, connection: socket.socket) -> None:
        """Sends to a client, and passes over what it sends; forgets it when it has gone."""
        with self._lock:
            client = self._clients[connection]
            try:
                client.send()
                gone = connection.recv(1 << 16) == b""
            except BlockingIOError:
                return
            except OSError:
                gone = True
            if gone:
                del self._clients[connection]
                connection.close()


def _address_error(host: str, port: int, error: OSError) -> SinkError:
    """An error that says what to do about an address that cannot be served."""
    remedies = {
        errno.EADDRINUSE: "another program listens there: choose another port, e.g. "
        f"--igtl {host}:{port + 1 if port < 65535 else 18944}",
        errno.EADDRNOTAVAIL: "that is no address of this machine: use 127.0.0.1, or 0.0.0.0 for "
        "all of its addresses",
        errno.EACCES: "choose a port of 1024 or above, e.g. 18944",
    }
    remedy = remedies.get(error.errno or 0, "use an address of this machine, e.g. 127.0.0.1:18944")
    if isinstance(error, socket.gaierror):
        remedy = "that name has no address here: use 127.0.0.1, 0.0.0.0 or [::1]"
    # `create_server` adds the address to the reason.
    reason = (error.strerror or str(error)).partition(" (while")[0]
    return SinkError(
        f"cannot serve OpenIGTLink on {host}:{port}: {reason[:1].lower()}{reason[1:]}",
        remedy=remedy,
    )
