"""The live page's server against hostile and broken clients, with plain sockets."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from live_pages import served

from trocar.contract.errors import ConfigError, SinkError
from trocar.contract.media.clock import now_ns
from trocar.runtime.live.monitor import connections, server
from trocar.runtime.live.monitor.server import Monitor

TOKEN = "a token; with=signs & größe+"


def send(monitor: Monitor, data: bytes, host: str = "127.0.0.1") -> bytes:
    """What the server answers to these bytes."""
    with socket.create_connection((host, monitor.port), timeout=30) as client:
        client.sendall(data)
        return everything(client)


def everything(client: socket.socket) -> bytes:
    data = b""
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            data += part
    return data


def get(monitor: Monitor, path: str = "/state.json", **headers: str) -> tuple[int, bytes]:
    """Status and whole answer; underscores in the names of headers are dashes."""
    given = {"Host": f"127.0.0.1:{monitor.port}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    answer = send(monitor, f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
    return int(answer.split()[1]), answer


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:9999", 200),
        ("127.0.0.1", 200),
        ("[::1]:8080", 200),
        ("theatre.example", 200),
        ("attacker.example", 421),
        ("127.0.0.1.attacker.example", 421),
        ("localhost.attacker.example:80", 421),
        ("192.168.1.7", 421),
        ("", 421),
        # Addresses with something behind them.
        ("[::1]attacker.example", 421),
        ("[::1]:8080.attacker.example", 421),
        ("[[::1]]", 421),
        ("127.0.0.1%attacker.example", 421),
        ("127.0.0.1:80@attacker.example", 421),
        ("[::1%lo]:8080", 200),
    ],
)
def test_only_names_of_this_machine_are_answered(host: str, status: int) -> None:
    """A page of another site can point its own name to 127.0.0.1 (DNS rebinding)."""
    with served(names=["Theatre.example"]) as monitor:
        assert get(monitor, Host=host)[0] == status


def test_a_request_has_one_host() -> None:
    with served() as monitor:
        for head in (b"", b"Host: localhost\r\nHost: localhost\r\n"):
            assert b" 400 " in send(monitor, b"GET / HTTP/1.1\r\n" + head + b"\r\n").split(b"\r")[0]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/state.json", {"Sec_Fetch_Site": "same-origin"}, 200),
        ("/state.json", {"Sec_Fetch_Site": "none"}, 200),
        ("/state.json", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("/state.json", {"Sec_Fetch_Site": "same-site"}, 403),
        ("/", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, 403),
        (
            "/",
            {
                "Sec_Fetch_Site": "cross-site",
                "Sec_Fetch_Mode": "navigate",
                "Sec_Fetch_Dest": "document",
            },
            200,
        ),
        (
            "/",
            {
                "Sec_Fetch_Site": "cross-site",
                "Sec_Fetch_Mode": "navigate",
                "Sec_Fetch_Dest": "iframe",
            },
            403,
        ),
        ("/metrics", {"Origin": "https://attacker.example"}, 403),
        ("/metrics", {"Origin": "null"}, 403),
        ("/metrics", {"Origin": "http://[::1"}, 403),
        ("http://[::1/state.json", {}, 400),
    ],
)
def test_requests_of_other_sites_are_refused(
    path: str, headers: dict[str, str], status: int
) -> None:
    with served() as monitor:
        assert get(monitor, path, **headers)[0] == status


def test_every_answer_has_the_headers_and_nothing_is_executable() -> None:
    with served() as monitor:
        for path in ("/", "/page.js", "/state.json", "/metrics", "/nothing"):
            _, answer = get(monitor, path)
            head = answer.partition(b"\r\n\r\n")[0].decode()
            for line in (
                "Cross-Origin-Resource-Policy: same-origin",
                "Cross-Origin-Opener-Policy: same-origin",
                "X-Content-Type-Options: nosniff",
                "X-Frame-Options: DENY",
                "Cache-Control: no-store",
                "Referrer-Policy: no-referrer",
                "default-src 'none'; script-src 'self'",
                "frame-ancestors 'none'",
            ):
                assert line in head, path
        assert get(monitor, "/state.js")[0] == 404
        assert b" 405 " in send(monitor, b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"X-Frame-Options" in send(monitor, b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n")


def test_the_state_has_a_stamp_that_moves_and_no_number_that_json_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with served() as monitor:
        told = {"name": "camera", "instruments": [{"score": float("nan")}]}
        monkeypatch.setattr(monitor.feeds["0"], "_state", lambda: told)
        stamps = []
        for _ in range(2):
            body = get(monitor)[1].partition(b"\r\n\r\n")[2]
            state = json.loads(body, parse_constant=pytest.fail)
            stamps.append(state["now_ns"])
            assert state["streams"]["0"]["instruments"] == [{"score": None}]
        assert stamps[0] < stamps[1] <= now_ns()


def test_the_token_is_quoted_and_compared_whole() -> None:
    with served("0.0.0.0", token=TOKEN) as monitor:
        query = monitor.address.partition("/?")[2]
        assert query == f"token={quote(TOKEN, safe='')}"
        cookie = f"trocar-{monitor.port}"
        good = (
            (f"/?{query}", {}),
            ("/state.json", {"Cookie": f"other=1; {cookie}={quote(TOKEN, safe='')}"}),
            ("/state.json?token=wrong", {"Cookie": f"{cookie}={quote(TOKEN, safe='')}"}),
            ("/metrics", {"Authorization": f"Bearer {TOKEN}"}),
        )
        for path, headers in good:
            status, answer = get(monitor, path, **headers)
            assert status == 200, path
            set_cookie = [line for line in answer.split(b"\r\n") if b"Set-Cookie" in line]
            assert len(set_cookie) == (path[1] == "?")
            if set_cookie:
                assert b"; Path=/; HttpOnly; SameSite=Strict" in set_cookie[0]
                assert f"{cookie}={quote(TOKEN, safe='')};".encode() in set_cookie[0]
        bad = (
            ("/state.json", {}),
            (f"/state.json?token={quote(TOKEN[:-1], safe='')}", {}),
            ("/", {"Authorization": f"Bearer {TOKEN}x"}),
            ("/", {"Cookie": f"trocar={quote(TOKEN, safe='')}"}),
            ("/", {"Authorization": "Bearer "}),
        )
        for path, headers in bad:
            assert get(monitor, path, **headers)[0] == 401, path
        # An address is nobody's name: with a token it may be any of this machine.
        assert get(monitor, f"/?{query}", Host="192.168.1.7")[0] == 200
        assert get(monitor, f"/?{query}", Host="attacker.example")[0] == 421


@pytest.mark.parametrize(("token", "told"), [("short", "5 characters"), ("a" * 12 + "\n", "contr")])
def test_weak_and_impossible_tokens_are_refused(token: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Monitor("0.0.0.0", 0, token=token)


def test_a_request_that_does_not_end_is_ended_by_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "REQUEST_DEADLINE_S", 0.4)
    with served() as monitor:
        with socket.create_connection(("127.0.0.1", monitor.port), timeout=30) as slow:
            # One byte at a time, never a pause that would be too long alone.
            ended = threading.Event()

            def drip() -> None:
                with suppress(OSError):
                    slow.sendall(b"GET / HTTP/1.1\r\nX: ")
                    while not ended.is_set():
                        slow.sendall(b"a")
                        time.sleep(0.05)

            dripping = threading.Thread(target=drip)
            dripping.start()
            assert everything(slow) == b""
            ended.set()
            dripping.join()
        with socket.create_connection(("127.0.0.1", monitor.port), timeout=30) as long:
            with suppress(OSError):
                long.sendall(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n")
            assert everything(long) == b""
        assert get(monitor)[0] == 200


def test_silent_clients_use_up_nothing_and_keep_nobody_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So long that the deadline does not help here.
    monkeypatch.setattr(connections, "REQUEST_DEADLINE_S", 90.0)
    with served() as monitor:
        before = len(os.listdir("/proc/self/fd"))
        silent = []
        for _ in range(252):
            client = socket.create_connection(("127.0.0.1", monitor.port), timeout=30)
            client.sendall(b"GET /state.json HT")
            silent.append(client)
        assert get(monitor)[0] == 200
        # This process holds both ends: 252 clients, and few on the server's side.
        ends = time.monotonic() + 30
        most = before + 252 + connections.MAX_WAITING + 4
        while len(os.listdir("/proc/self/fd")) > most and time.monotonic() < ends:
            time.sleep(0.02)
        assert len(os.listdir("/proc/self/fd")) <= most
        for client in silent:
            client.close()


def test_an_allowed_client_is_not_ended_by_silent_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_STREAMS", 1)
    with served() as monitor:
        watcher = socket.create_connection(("127.0.0.1", monitor.port), timeout=30)
        watcher.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"multipart" in watcher.recv(4096)
        assert get(monitor, "/stream")[0] == 503, "one stream is all that may be watched"
        silent = [
            socket.create_connection(("127.0.0.1", monitor.port), timeout=30)
            for _ in range(2 * connections.MAX_WAITING)
        ]
        assert get(monitor)[0] == 200
        watcher.settimeout(30)
        assert b"Content-Length: 0" in watcher.recv(4096), "an empty part: it is alive"
        for client in (watcher, *silent):
            client.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_has_brackets_and_takes_ipv4_too() -> None:
    with served("::1") as monitor:
        assert monitor.address == f"http://[::1]:{monitor.port}/"
        assert monitor.token is None
        request = f"GET / HTTP/1.1\r\nHost: [::1]:{monitor.port}\r\n\r\n".encode()
        assert b" 200 " in send(monitor, request, host="::1").split(b"\r")[0]
    with served("::", token=TOKEN) as monitor:
        assert get(monitor, Authorization=f"Bearer {TOKEN}")[0] == 200


def test_an_address_that_cannot_be_used_is_explained() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SinkError, match="cannot serve the page on 127") as error:
            Monitor("127.0.0.1", taken.getsockname()[1])
        assert "--serve 127.0.0.1:0" in error.value.remedy
    with pytest.raises(SinkError, match="cannot serve the page on 192") as error:
        Monitor("192.0.2.1", 0, token=TOKEN)
    assert "no address of this machine" in error.value.remedy
    with pytest.raises(SinkError) as error:
        Monitor("no-such-name.invalid", 0, token=TOKEN)
    assert "has no address" in error.value.remedy


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate, its key, another key and the key with a passphrase."""
    folder = tmp_path_factory.mktemp("pem")
    made = ("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out")
    try:
        for name in ("key.pem", "other.pem"):
            subprocess.run([*made, folder / name], check=True, capture_output=True)
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-key", folder / "key.pem", "-days", "2"),
                *("-subj", "/CN=localhost", "-out", folder / "cert.pem"),
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        subprocess.run(
            [
                *("openssl", "pkey", "-in", folder / "key.pem", "-aes256"),
                *("-passout", "pass:secret", "-out", folder / "locked.pem"),
            ],
            check=True, capture_output=True,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("no openssl")
    return folder


def test_tls_serves_the_page_and_ends_silent_handshakes(
    pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"certificate": pem / "cert.pem", "key": pem / "key.pem"}
    with served("0.0.0.0", token=TOKEN, **files) as monitor:
        assert monitor.address.startswith("https://")
        context = ssl.create_default_context(cafile=pem / "cert.pem")
        silent = [
            socket.create_connection(("127.0.0.1", monitor.port), timeout=30)
            for _ in range(connections.MAX_WAITING + 3)
        ]
        plain = socket.create_connection(("127.0.0.1", monitor.port), timeout=30)
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(
                f"GET / HTTP/1.1\r\nHost: localhost\r\n"
                f"Cookie: trocar-{monitor.port}={quote(TOKEN, safe='')}\r\n\r\n".encode()
            )
            answer = everything(client)
        assert b" 200 " in answer.split(b"\r")[0]
        assert b"; Secure\r\n" in answer
        assert everything(silent[0]) == b"", "the oldest handshake made room"
        assert b"HTTP" not in send(monitor, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for one in silent:
            one.close()
    monkeypatch.setattr(connections, "REQUEST_DEADLINE_S", 0.3)
    with (
        served("127.0.0.1", **files) as monitor,
        socket.create_connection(("127.0.0.1", monitor.port), timeout=30) as client,
    ):
        client.sendall(b"\x16\x03\x01")
        assert everything(client) == b""


@pytest.mark.parametrize(
    ("certificate", "key", "told", "remedy"),
    [
        ("cert.pem", "other.pem", "does not belong", "this certificate was made"),
        ("cert.pem", "none.pem", "cannot read the key .*No such file", "--serve-key"),
        ("none.pem", "key.pem", "cannot read the certificate", "--serve-cert"),
        ("key.pem", "key.pem", "no certificate and key", "two PEM files"),
        ("cert.pem", "cert.pem", "no certificate and key", "two PEM files"),
        ("cert.pem", "locked.pem", "has a passphrase", "openssl pkey"),
        ("cert.pem", None, "a certificate without its key", "--serve-key together"),
        (None, "key.pem", "a key without its certificate", "--serve-key together"),
    ],
)
def test_certificates_that_cannot_be_used_are_explained(
    pem: Path, certificate: str | None, key: str | None, told: str, remedy: str
) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        Monitor(
            "127.0.0.1",
            0,
            certificate=None if certificate is None else pem / certificate,
            key=None if key is None else pem / key,
        )
    assert remedy in error.value.remedy
