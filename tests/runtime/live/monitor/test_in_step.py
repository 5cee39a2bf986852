"""The picture of the page and its numbers are of one frame."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numbered_events import event_of
from numbered_videos import number_in

from trocar.runtime.live.monitor.feed import MAX_INSTRUMENTS, drawn_result
from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.sources.base import Verdict

FRAMES = 1000


def parts(answer: Any) -> Iterator[tuple[dict[str, str], bytes]]:
    """Headers and body of each part of the stream."""
    while answer.readline():
        head = {}
        while line := answer.readline().decode().strip():
            name, _, value = line.partition(": ")
            head[name] = value
        yield head, answer.read(int(head["Content-Length"]))
        answer.readline()


def test_a_thousand_pictures_carry_the_numbers_of_their_own_frames() -> None:
    monitor = Monitor("127.0.0.1", 0)
    feed = monitor.feed("camera")
    monitor.start()
    received = threading.Semaphore(0)
    ended = threading.Event()

    def play() -> None:
        for number in range(FRAMES):
            feed.write(event_of(number))
            while not received.acquire(timeout=0.5) and not ended.is_set():
                # The client came after this picture was offered.
                feed.write(event_of(number))

    player = threading.Thread(target=play)
    seen = set()
    try:
        with urllib.request.urlopen(f"{monitor.address}stream", timeout=60) as answer:
            player.start()
            for head, body in parts(answer):
                if not body:
                    continue
                result = json.loads(head["X-Result"])
                image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
                number = number_in(image)
                (one,) = result["instruments"]
                told = (result["frame"], result["result_frame"], int(one["box"][0]))
                assert told == (number, number, number)
                assert head["X-Captured-Ns"] == str(number)
                if number not in seen:
                    seen.add(number)
                    received.release()
                if len(seen) == FRAMES:
                    break
    finally:
        ended.set()
        monitor.stop()
        player.join(timeout=60)
    assert len(seen) == FRAMES


def test_what_is_not_drawn_is_not_told() -> None:
    plain = json.loads(drawn_result(event_of(3)))
    assert plain["instruments"][0]["box"] == [3, 0, 12, 9]
    assert "outside" not in plain
    hidden = json.loads(drawn_result(event_of(3, visible=False, status="STALE   no mask\nnew")))
    assert hidden == {
        "frame": 3, "status": "STALE   no mask\nnew", "result_frame": None, "instruments": [],
    }  # fmt: skip
    assert "\n" not in drawn_result(event_of(3, status="a\nb ü"))
    assert drawn_result(event_of(3, status="a\nb ü")).isascii()
    event = event_of(3)
    outside = replace(event.frame, body=Verdict(outside=True, covered=True))
    assert json.loads(drawn_result(event_of(3, frame=outside)))["outside"] is True
    assert event.result is not None
    many = tuple(replace(event.result.instruments[0], area=float(i)) for i in range(200))
    told = json.loads(drawn_result(event_of(3, result=replace(event.result, instruments=many))))
    assert [one["area"] for one in told["instruments"]] == [200.0 - i for i in range(50, 0, -1)]
    assert len(told["instruments"]) == MAX_INSTRUMENTS
