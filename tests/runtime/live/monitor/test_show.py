"""What a client of the live page chooses to see: for itself alone, and no more than the limit."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest
from grey_pictures import GREY, grey_event, grey_painter, written

from trocar.runtime.draw.show import PARTS
from trocar.runtime.live.monitor import feed as feeds
from trocar.runtime.live.monitor.feed import Feed
from trocar.runtime.live.monitor.server import Monitor


def picture(monitor: Monitor, query: str = "") -> np.ndarray:
    with urllib.request.urlopen(f"{monitor.address}picture.jpg?n=0{query}", timeout=30) as answer:
        data = np.frombuffer(answer.read(), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def changed(image: np.ndarray) -> float:
    """Share of the pixels that were drawn on."""
    return float((np.abs(image.astype(int) - GREY) > 25).any(axis=2).mean())


def test_a_client_gets_its_own_selection_and_nobody_else_does() -> None:
    with written(("masks", "contours")) as (monitor, feed):
        usual = picture(monitor)
        assert changed(usual) > 0.1
        assert changed(picture(monitor, "&show=none")) == 0
        masks, tips = picture(monitor, "&show=masks"), picture(monitor, "&show=tips,labels")
        assert changed(usual) > changed(masks) > changed(tips) > 0.01
        assert np.abs(picture(monitor).astype(int) - usual).max() < 3, "the others see no change"
        with urllib.request.urlopen(f"{monitor.address}state.json", timeout=30) as answer:
            assert json.load(answer)["streams"]["0"]["show"] == ["masks", "contours"]
        ends = time.monotonic() + 20
        while len(feed._views) > 1 and time.monotonic() < ends:
            time.sleep(0.01)
        assert list(feed._views) == [None], "a selection ends with its last client"


def test_an_unknown_part_is_explained() -> None:
    with written(("masks",)) as (monitor, _):
        for query in ("&show=mask", "&show=none,masks", "&show=%2e%2e%2f"):
            with pytest.raises(urllib.error.HTTPError) as caught:
                picture(monitor, query)
            with caught.value as refused:
                assert refused.code == 400
                assert "masks,contours,boxes,labels,tips,ids" in refused.read().decode()


def test_no_more_selections_than_the_limit_are_drawn() -> None:
    with written(("masks",)) as (monitor, feed), contextlib.ExitStack() as held:
        for part in ("contours", "boxes", "labels", "tips"):
            assert held.enter_context(feed.asked((part,)))
        assert held.enter_context(feed.asked(("tips",))), "the same one costs nothing more"
        with pytest.raises(urllib.error.HTTPError) as caught:
            picture(monitor, "&show=ids")
        with caught.value as refused:
            assert refused.code == 503
        assert changed(picture(monitor)) > 0.05, "the run's own is always there"
    assert len(feeds.Feed("camera")._views) == 1


def test_the_selection_of_the_run_is_not_drawn_twice() -> None:
    feed, one = Feed("camera"), grey_event(grey_painter(("masks",)))
    with feed.asked(("masks",)), feed.watched(show=("masks",)):
        feed.write(one)
        assert feed._views["masks",].painter is None
        found = feed.wait(-1, 0.0, show=("masks",))
    assert found is not None
    assert found.captured_ns == one.frame.captured_ns


def test_a_client_is_not_woken_by_the_pictures_of_another() -> None:
    feed, painter = Feed("camera"), grey_painter(PARTS)
    feed.write(grey_event(painter))
    with feed.asked(("ids",)):
        started = time.monotonic()
        threading.Timer(0.02, feed.write, [grey_event(painter)]).start()
        assert feed.wait(1, 0.0) is None
        found = feed.wait(-1, 5.0, show=("ids",))
    assert found is not None
    assert time.monotonic() - started < 5.0
