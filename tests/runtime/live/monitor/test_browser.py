"""The live page in a real browser: how it looks, and what it says when it is not live."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, Browser
from grey_pictures import written

from trocar.contract.media.clock import now_ns
from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.live.stream import LiveStream

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")

STATE = "document.getElementById('state').textContent"
WARNING = "document.getElementById('warning').innerText"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


def test_looks_right_and_says_when_the_connection_is_dead(
    page: tuple[Monitor, LiveStream], kit: ModuleType, browser: Browser
) -> None:
    monitor, stream = page
    assert kit.until(lambda: stream.counts.processed > 20)
    browser.open(monitor.address)
    seen: dict[str, bool] = {}

    def right() -> bool:
        image = picture_of(browser)
        picture, top, chart = image[80:700, 30:950], image[:60], image[100:, 960:]
        seen.update(
            {
                "the scene's red tissue": share(picture, 2, 1, 40) > 0.3,
                "the state's badge": share(top, 0, 2, 60) + share(top, 2, 0, 90) > 0.002,
                "the chart's blue line": share(chart, 0, 2, 60) > 2e-4,
            }
        )
        return all(seen.values())

    assert kit.until(right), seen
    assert browser.until("document.getElementById('warning').hidden"), browser.evaluate(WARNING)
    assert browser.evaluate("location.search") == ""
    monitor.stop()
    assert browser.until(f"{STATE} === 'NO CONNECTION'")
    assert "The picture is old" in browser.evaluate(WARNING)
    image = picture_of(browser)
    assert share(image[80:600, 60:900], 2, 1, 40) < 0.3, "the old picture has no colours"


class FakeStream:
    """What the page asks of a stream, with counts and states that the test sets."""

    def __init__(self) -> None:
        self.source = SimpleNamespace(name="camera")
        self.health = SimpleNamespace(state="LIVE", reasons=(), changes=[])
        self.latest = None
        self.counts: Any = SimpleNamespace(
            read=0, written=0, dropped=0, processed=0, missed=0, failed=0, damaged=0
        )
        self.captured = self.shown = self.analysed = SimpleNamespace(rate=25.0, idle_s=0.0)
        self.newest = None
        self.checked_ns = now_ns()
        self.stages = SimpleNamespace(summary=dict)
        self.sink_workers: list[Any] = []

    def check(self) -> None:
        """The watchdog of the test stamps `checked_ns` itself."""


def test_says_that_the_picture_or_the_state_stands_still(browser: Browser) -> None:
    monitor = Monitor("::1", 0)
    feed, stream = monitor.feed("camera"), FakeStream()
    feed.update(stream)  # type: ignore[arg-type]
    frozen, unchecked, stop = threading.Event(), threading.Event(), threading.Event()

    def drive() -> None:
        image = np.full((90, 160, 3), 120, np.uint8)
        while not stop.is_set():
            stream.counts.written += 1
            if not frozen.is_set():
                feed.write(event(image))
            if not unchecked.is_set():
                stream.checked_ns = now_ns()
            time.sleep(0.04)

    driver = threading.Thread(target=drive)
    monitor.start()
    driver.start()
    try:
        browser.open(monitor.address)
        assert browser.until(f"{STATE} === 'LIVE'")
        frozen.set()
        assert browser.until(f"{STATE} === 'PICTURE STANDS STILL'")
        assert "while frames go on" in browser.evaluate(WARNING)
        frozen.clear()
        assert browser.until(f"{STATE} === 'LIVE'"), "it is taken back"
        unchecked.set()
        assert browser.until(f"{STATE} === 'STATE IS OLD'")
    finally:
        stop.set()
        driver.join()
        monitor.stop()


def test_the_switches_choose_what_is_drawn(browser: Browser) -> None:
    boxes = "[...document.querySelectorAll('#show input')]"
    # Whether the middle of the picture has the colour of the instrument.
    tinted = (
        "((p) => Math.abs(p[0] - p[2]) > 20)"
        "(document.getElementById('view').getContext('2d').getImageData(80, 60, 1, 1).data)"
    )
    with written(("masks", "boxes")) as (monitor, _):
        browser.open(monitor.address)
        assert browser.until(f"{boxes}.length === 6")
        shown = browser.evaluate(f"{boxes}.filter((box) => box.checked).map((box) => box.value)")
        assert shown == ["masks", "boxes"]
        assert browser.until(tinted)
        browser.evaluate(f"{boxes}[0].click()")
        assert browser.until(f"!{tinted}")
        browser.evaluate(f"{boxes}[0].click()")
        assert browser.until(tinted)


def event(image: np.ndarray) -> Any:
    return SimpleNamespace(
        fresh=False, result=None, visible=False, status="", overlay=lambda: image,
        frame=SimpleNamespace(captured_ns=now_ns(), index=0, body=None),
        painter=SimpleNamespace(show=("masks",)),
    )  # fmt: skip


def share(image: np.ndarray, more: int, less: int, by: int) -> float:
    """Share of pixels in which one channel (BGR) is above another by so much."""
    return float((image[..., more].astype(int) - image[..., less] > by).mean())


def picture_of(browser: Browser) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(browser.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image)
