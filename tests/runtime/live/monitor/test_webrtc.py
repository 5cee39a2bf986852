"""The live page by WebRTC, with aiortc's own client: pictures and numbers in step, limits, end."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import urllib.error
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from live_pages import driven
from numbered_events import event_of
from numbered_videos import number_in

pytest.importorskip("aiortc", reason="no aiortc (pip install 'trocar[webrtc]')")

from rtc_client import Client, on_loopback, post

from trocar.runtime.live.monitor import peers
from trocar.runtime.live.monitor.feed import Feed
from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.privacy.guard import FrameGuard
from trocar.runtime.sources.base import Verdict

FRAMES = 300


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    on_loopback(monkeypatch)


def playing(period_s: float = 0.02, **options: Any) -> AbstractContextManager[tuple[Monitor, Feed]]:
    """A page whose pictures carry the numbers 0 to 1023, again and again."""
    return driven(lambda number: event_of(number % 1024), period_s=period_s, **options)


def test_three_hundred_pictures_are_in_step_with_their_numbers() -> None:
    async def look(monitor: Monitor) -> Client:
        client = Client()
        try:
            await client.connect(monitor)
            assert await client.until(lambda: len(client.frames) >= FRAMES)
        finally:
            await client.close()
        return client

    with playing() as (monitor, feed):
        client = asyncio.run(look(monitor))
        assert feed._views[None].watchers in (0, 1)
    seen = set()
    for picture, told in client.frames:
        result = told["result"]
        (one,) = result["instruments"]
        number = number_in(picture)
        assert (result["frame"], result["result_frame"], int(one["box"][0])) == (number,) * 3
        assert told["captured_ns"] == number
        seen.add(told["number"])
    assert len(seen) == len(client.frames) >= FRAMES
    assert client.unreadable == 0
    assert sorted(seen) == [told["number"] for _, told in client.frames]
    # One socket, at the address of the page; no other machine is asked for anything.
    candidates = set(re.findall(r"a=candidate:\S+ 1 udp \d+ (\S+ \d+ .*\b)", client.answer))
    (candidate,) = candidates
    assert re.fullmatch(r"127\.0\.0\.1 \d+ typ host", candidate)
    assert "VP8" in client.answer
    assert "H264" not in client.answer


def test_a_selection_of_what_is_drawn_is_held_as_long_as_its_peer() -> None:
    async def look(monitor: Monitor, feed: Feed) -> None:
        client = Client()
        await client.connect(monitor, show="none")
        assert await client.until(lambda: len(client.frames) > 3)
        assert () in feed._views
        await client.close()
        assert await client.until(lambda: () not in feed._views)

    with playing() as (monitor, feed):
        asyncio.run(look(monitor, feed))


def test_no_more_peers_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "MAX_PEERS", 2)

    async def look(monitor: Monitor, feed: Feed) -> None:
        clients = [Client() for _ in range(3)]
        for client in clients[:2]:
            await client.connect(monitor)
        with pytest.raises(urllib.error.HTTPError, match="503") as caught:
            await clients[2].connect(monitor)
        caught.value.close()
        assert await clients[0].until(lambda: all(len(one.frames) > 3 for one in clients[:2]))
        await clients[0].close()
        assert await clients[1].until(lambda: feed._views[None].watchers == 1)
        again = Client()
        await again.connect(monitor)
        assert await again.until(lambda: len(again.frames) > 3)
        for client in (*clients[1:], again):
            await client.close()

    with playing() as (monitor, feed):
        asyncio.run(look(monitor, feed))


def test_who_does_not_connect_gives_the_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "CONNECT_DEADLINE_S", 0.5)

    async def look(monitor: Monitor, feed: Feed) -> None:
        client = Client()
        await asyncio.to_thread(post, monitor, {"sdp": await client.offer()})
        (peer,) = monitor._peers._peers
        gathering = peer._connection.sctp.transport.transport.iceGatherer._connection
        assert gathering.stun_server is None
        assert gathering.turn_server is None
        assert await client.until(lambda: not monitor._peers._peers)
        assert feed._views[None].watchers == 0
        await client.close()

    with playing() as (monitor, feed):
        asyncio.run(look(monitor, feed))
        for _ in range(peers.MAX_PEERS):
            assert monitor._peers._places.acquire(blocking=False)


def test_offers_that_break_are_refused_and_leave_nothing() -> None:
    video = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
    data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
    texts = [video + data, "nonsense\r\n" + video + data, video + "a=rtpmap:96 \0\r\n" + data]
    with playing() as (monitor, feed):
        for text in texts:
            with pytest.raises(urllib.error.HTTPError, match="400") as caught:
                post(monitor, {"sdp": text})
            caught.value.close()
        assert feed._views[None].watchers == 0
        assert monitor._peers._peers == set()
        for _ in range(peers.MAX_PEERS):
            assert monitor._peers._places.acquire(blocking=False)


def test_the_run_ends_with_peers_connected() -> None:
    async def look(monitor: Monitor, feed: Feed) -> None:
        clients = [Client(), Client()]
        for client in clients:
            await client.connect(monitor)
        assert await clients[0].until(lambda: all(len(one.frames) > 3 for one in clients))
        await asyncio.to_thread(monitor.stop)
        # They are told, and do not find out by waiting.
        states = [one.connection for one in clients]
        assert await clients[0].until(
            lambda: all(one.connectionState in ("closed", "failed") for one in states)
        )
        assert feed._views[None].watchers == 0
        for client in clients:
            await client.close()

    with playing() as (monitor, feed):
        asyncio.run(look(monitor, feed))
        names = [thread.name for thread in threading.enumerate()]
        assert "trocar-webrtc" not in names
        assert monitor.state()["webrtc"] is False


def test_a_covered_picture_leaves_covered(
    pages: Callable[..., AbstractContextManager[Any]], kit: ModuleType
) -> None:
    judge = SimpleNamespace(judge=lambda image: Verdict(outside=True))

    async def look(monitor: Monitor) -> Client:
        client = Client()
        await client.connect(monitor, show="none")
        assert await client.until(lambda: len(client.frames) >= 10)
        await client.close()
        return client

    with pages(FrameGuard(judge, mode="black")) as (monitor, stream):
        assert kit.until(lambda: stream.counts.processed > 3)
        covered = asyncio.run(look(monitor))
    for picture, told in covered.frames:
        assert told["result"]["outside"] is True
        assert told["result"]["instruments"] == []
        # Above the line of the state there is nothing.
        assert picture[:240].max() < 24
    with pages() as (monitor, stream):
        assert kit.until(lambda: stream.counts.processed > 3)
        open_ones = asyncio.run(look(monitor))
    assert all(picture[:240].max() > 100 for picture, _ in open_ones.frames), "the scene is bright"


def test_a_token_and_the_name_are_needed() -> None:
    async def look(monitor: Monitor) -> None:
        client = Client()
        data = {"sdp": await client.offer()}
        for headers, status in (
            ({}, "401"),
            ({"Authorization": "Bearer a wrong token"}, "401"),
            ({"Authorization": f"Bearer {monitor.token}", "Host": "attacker.example"}, "421"),
            ({"Authorization": f"Bearer {monitor.token}", "Sec-Fetch-Site": "cross-site"}, "403"),
        ):
            with pytest.raises(urllib.error.HTTPError, match=status) as caught:
                await asyncio.to_thread(post, monitor, data, **headers)
            caught.value.close()
        wanted = {"Authorization": f"Bearer {monitor.token}"}
        assert (await asyncio.to_thread(post, monitor, data, **wanted))["type"] == "answer"
        await client.close()

    with playing(token="a token of the test") as (monitor, _):
        asyncio.run(look(monitor))
        assert json.dumps(monitor.state()["webrtc"]) == "true"
