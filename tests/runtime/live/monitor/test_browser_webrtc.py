"""The live page by WebRTC in a real browser: in step, and when it does not connect."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from browser import CHROMIUM, Browser
from numbered_events import event_of

pytest.importorskip("aiortc", reason="no aiortc (pip install 'trocar[webrtc]')")

from trocar.runtime.live.monitor import peers, server
from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.sinks.base import FrameEvent

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")

FRAMES = 1000

# Reads, at each picture that is shown, its number from the canvas, and compares it with what the
# page writes into its table: the instrument has its tip there.
# The patience of the page is no matter here: a starved machine would fall back to JPEG.
WATCH = """(() => {
  WAITS.picture = 600000;
  window.seen = { frames: new Set(), wrong: [], direct: 0 };
  const usual = present;
  present = (result, number, captured, ...rest) => {
    usual(result, number, captured, ...rest);
    const view = document.getElementById("view"), step = Math.floor(view.width / 10);
    const row = view.getContext("2d").getImageData(0, view.height / 2, view.width, 1).data;
    let shown = 0;
    for (let bit = 0; bit < 10; bit++)
      if (row[4 * Math.floor((bit + 0.5) * step) + 1] > 128) shown += 1 << bit;
    const told = document.querySelector("#instruments tbody tr td:nth-child(4)").textContent;
    if (told !== shown + ", 0" || result.frame !== shown || captured !== shown)
      window.seen.wrong.push([shown, told, result.frame, captured]);
    if (direct && !reading) { window.seen.direct++; window.seen.frames.add(number); }
  };
  return true;
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


@contextmanager
def playing(**size: int) -> Iterator[Monitor]:
    monitor = Monitor("127.0.0.1", 0)
    feed = monitor.feed("camera")
    stop = threading.Event()

    def drive() -> None:
        number = 0
        while not stop.wait(0.03):
            feed.write(with_tip(number % 1024, **size))
            number += 1

    driver = threading.Thread(target=drive)
    monitor.start()
    driver.start()
    try:
        yield monitor
    finally:
        stop.set()
        driver.join()
        monitor.stop()


def with_tip(number: int, **size: int) -> FrameEvent:
    """A numbered event whose instrument has its tip at the number."""
    event = event_of(number, **size)
    assert event.result is not None
    (one,) = event.result.instruments
    return replace(
        event, result=replace(event.result, instruments=(replace(one, tips=((number, 0),)),))
    )


def test_a_thousand_pictures_are_in_step_in_chromium(browser: Browser) -> None:
    with playing(height=480, width=640) as monitor:
        browser.open(monitor.address)
        assert browser.evaluate(WATCH)
        assert browser.until(f"window.seen.frames.size >= {FRAMES}", 240), browser.evaluate(
            "[window.seen.direct, window.seen.wrong, direct && direct.peer.connectionState]"
        )
        assert browser.evaluate("window.seen.wrong") == []


def test_pictures_come_as_jpeg_where_webrtc_ends(browser: Browser) -> None:
    with playing() as monitor:
        browser.open(monitor.address)
        assert browser.evaluate(WATCH)
        assert browser.until("window.seen.direct > 20", 120)
        browser.evaluate("WAITS.picture = 4000")
        assert browser.until("!direct || window.seen.direct > 40", 120)
        monitor._peers.stop()
        assert browser.until("!direct && reading", 120)
        before = browser.evaluate("watch.number")
        assert browser.until(f"watch.number > {before} + 20")
        assert browser.evaluate("window.seen.wrong") == []


def test_pictures_come_as_jpeg_where_webrtc_does_not_connect(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Neither knows where the other one is, as behind a tunnel or a firewall.
    told = server._json
    monkeypatch.setattr(
        server, "_json", lambda value: told(value).replace(r"\r\na=candidate:", r"\r\na=x-")
    )
    monkeypatch.setattr(
        peers, "own_candidates", lambda sdp, address: sdp.replace("a=candidate:", "a=x-")
    )
    with playing() as monitor:
        browser.open(monitor.address)
        assert browser.evaluate(WATCH)
        browser.evaluate("WAITS.picture = 4000")
        assert browser.until("retry > 0", 60), "it was tried, and given up"
        before = browser.evaluate("watch.number")
        assert browser.until(f"reading && watch.number > {before} + 20")
        assert browser.evaluate("window.seen.direct") == 0
        assert browser.evaluate("window.seen.wrong") == []
