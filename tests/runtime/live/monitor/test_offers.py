"""Offers of WebRTC: who is refused, and what of an offer is believed. Needs no aiortc."""

from __future__ import annotations

import json
import socket
import threading

import numpy as np
import pytest
from live_pages import served

from trocar.runtime.live.monitor import connections, peers
from trocar.runtime.live.monitor.peers import Offer, Refused, own_candidates, plain_address
from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.live.monitor.strip import HEIGHT, NUMBERS, number_of, stamped

SDP = (
    "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
)
BODY = json.dumps({"sdp": SDP}).encode()
TOKEN = "a token of the test"


def post(monitor: Monitor, body: bytes = BODY, path: str = "/offer", **headers: str) -> int:
    """Status of an answer; underscores in the names of headers are dashes, empty ones left out."""
    given = {
        "Host": f"127.0.0.1:{monitor.port}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
    with socket.create_connection(("127.0.0.1", monitor.port), timeout=30) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        answer = b""
        while data := client.recv(65536):
            answer += data
    return int(answer.split()[1])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "attacker.example"}, 421),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Origin": "http://attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": ""}, 415),
        ({"Content_Length": ""}, 413),
        ({"Content_Length": "-1"}, 413),
        ({"Content_Length": "65537"}, 413),
        ({"Content_Length": "9" * 30}, 413),
    ],
)
def test_offers_are_checked_as_other_requests(headers: dict[str, str], status: int) -> None:
    with served() as monitor:
        assert post(monitor, **headers) == status


def test_offers_need_the_token() -> None:
    with served(token=TOKEN) as monitor:
        assert post(monitor) == 401
        assert post(monitor, Authorization="Bearer another token") == 401
        assert post(monitor, b"no JSON", Authorization=f"Bearer {TOKEN}") == 400


def test_only_offers_are_posted(monkeypatch: pytest.MonkeyPatch) -> None:
    with served() as monitor:
        assert post(monitor, path="/") == 405
        with socket.create_connection(("127.0.0.1", monitor.port), timeout=30) as client:
            client.sendall(b"GET /offer HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 405 " in client.recv(4096).split(b"\r")[0]
        monkeypatch.setattr(monitor._peers, "_usable", False)
        assert monitor.state()["webrtc"] is False
        assert post(monitor) == 501


def test_a_body_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_DEADLINE_S", 0.3)
    with served() as monitor:
        with socket.create_connection(("127.0.0.1", monitor.port), timeout=30) as client:
            client.sendall(
                b"POST /offer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100\r\n\r\n{"
            )
            assert client.recv(4096) == b""
        assert post(monitor, b"[]") == 400


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xff", "no JSON"),
        (b"[" * 30_000, "no JSON"),
        (b"[]", "all of them text"),
        (b'{"sdp": 3}', "all of them text"),
        (json.dumps({"sdp": SDP, "show": ["masks"]}).encode(), "all of them text"),
        (json.dumps({"sdp": SDP, "show": "mask"}).encode(), "mask"),
        (json.dumps({"sdp": "v=0"}).encode(), "one video and one data channel"),
        (json.dumps({"sdp": SDP + "m=video 9 X 96\r\n"}).encode(), "one video"),
        (json.dumps({"sdp": SDP + "m=audio 9 X 96\r\n"}).encode(), "one video"),
    ],
)
def test_what_is_no_offer(data: bytes, what: str) -> None:
    with pytest.raises(Refused, match=what) as caught:
        Offer.read(data)
    assert caught.value.fault.status == 400


def test_reads_what_is_asked_for() -> None:
    offer = Offer.read(json.dumps({"sdp": SDP, "n": "1", "show": "masks,ids"}).encode())
    assert (offer.sdp, offer.stream, offer.show) == (SDP, "1", ("masks", "ids"))
    assert Offer.read(BODY).show is None


def test_candidates_are_those_of_the_client_alone() -> None:
    lines = [
        "v=0",
        "a=candidate:1 1 udp 2113937151 5a1c.local 50001 typ host generation 0",
        "a=candidate:2 1 UDP 99 192.0.2.99 50002 typ host",
        "a=candidate:3 1 udp 99 192.0.2.99 50002 typ host",
        "a=candidate:4 1 tcp 99 192.0.2.99 9 typ host tcptype active",
        "a=candidate:5 1 udp 99 192.0.2.99 50003 typ srflx raddr 192.0.2.9 rport 50003",
        "a=candidate:6 1 udp 99 192.0.2.99 99999 typ host",
        "a=candidate:nothing",
        *(f"a=candidate:7 1 udp 9 192.0.2.99 {port} typ host" for port in range(100, 200)),
        "a=end-of-candidates",
    ]
    kept = own_candidates("\n".join(lines), "192.0.2.7").splitlines()
    assert kept[:3] == [
        "v=0",
        "a=candidate:1 1 udp 2113937151 192.0.2.7 50001 typ host",
        "a=candidate:2 1 udp 99 192.0.2.7 50002 typ host",
    ]
    assert kept[-1] == "a=end-of-candidates"
    assert len(kept) == 2 + peers._MAX_CANDIDATES
    assert all("192.0.2.7" in line for line in kept if "candidate:" in line)


def test_addresses_are_told_plainly() -> None:
    assert plain_address("::ffff:127.0.0.1") == "127.0.0.1"
    assert plain_address("2001:db8::1") == "2001:db8::1"
    with pytest.raises(Refused, match="one link"):
        plain_address("fe80::1%eth0")


def test_without_aiortc_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    with served() as monitor:
        assert monitor.state()["webrtc"] is False
        before = threading.active_count()
        assert post(monitor) == 501
        assert threading.active_count() <= before + 1


def test_webrtc_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is installed, for which an empty module stands here."""
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: object())
    for webrtc in (True, False):
        monitor = Monitor(port=0, webrtc=webrtc)
        monitor.start()
        try:
            monitor.feed("x")
            assert monitor.state()["webrtc"] is webrtc
            if not webrtc:
                assert post(monitor) == 501
        finally:
            monitor.stop()
    with pytest.raises(Refused, match="switched off"):
        peers.Peers(allowed=False)._running()


@pytest.mark.parametrize("size", [(96, 160), (97, 301), (1, 1), (720, 1280)])
@pytest.mark.parametrize("number", [0, 1, 1000, NUMBERS - 1, NUMBERS + 5])
def test_the_number_stands_above_the_picture(size: tuple[int, int], number: int) -> None:
    rng = np.random.default_rng(number)
    picture = rng.integers(0, 256, (*size, 3), np.uint8)
    sent = stamped(picture, number)
    assert sent.shape[0] % 2 == sent.shape[1] % 2 == 0
    assert np.array_equal(sent[HEIGHT : HEIGHT + size[0], : size[1]], picture)
    assert number_of(sent) == number % NUMBERS
    noisy = np.clip(sent.astype(int) + rng.integers(-80, 81, sent.shape), 0, 255).astype(np.uint8)
    assert number_of(noisy) == number % NUMBERS


def test_a_damaged_number_is_none() -> None:
    sent = stamped(np.zeros((32, 256, 3), np.uint8), 12345)
    assert number_of(sent[:20]) is None
    for bit in range(32):
        damaged = sent.copy()
        row, column = 16 * (bit // 16), 16 * (bit % 16)
        block = damaged[row : row + 16, column : column + 16]
        block[...] = 255 - block
        assert number_of(damaged) is None, bit


def test_an_unknown_stream_is_not_found() -> None:
    with served() as monitor:
        assert post(monitor, json.dumps({"sdp": SDP, "n": "9"}).encode()) == 404
