"""The live page: what it serves, to whom, and how it looks in a real browser."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.telemetry.prometheus import CONTENT_TYPE


def get(monitor: Monitor, path: str, **headers: str) -> Any:
    base = monitor.address.partition("/?")[0].rstrip("/")
    request = urllib.request.Request(base + path, headers=headers)
    return urllib.request.urlopen(request, timeout=30)


def test_serves_page_state_metrics_and_pictures(
    page: tuple[Monitor, LiveStream], kit: ModuleType
) -> None:
    monitor, _stream = page
    # What the page shows is a snapshot of some moments ago: wait for one that holds a result.
    assert kit.until(lambda: "infer" in monitor.feeds["0"].snapshot().get("stages", {}))
    assert kit.until(lambda: b'stage="infer"' in get(monitor, "/metrics").read())
    with get(monitor, "/") as answer:
        assert b"<title>Trocar live</title>" in answer.read()
    for path in ("/page.js", "/page.css", "/watch.js"):
        with get(monitor, path) as answer:
            assert len(answer.read()) > 200
    with get(monitor, "/state.json") as answer:
        state = json.load(answer)["streams"]["0"]
    assert state["state"] in ("LIVE", "STALE", "DEGRADED")
    assert state["counts"]["read"] >= state["counts"]["shown"] > 0
    assert {i["class"] for i in state["instruments"]} <= {"grasper", "scissors"}
    assert state["stages"]["infer"]["p50"] > 0
    with get(monitor, "/metrics") as answer:
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        text = answer.read().decode()
    samples = {
        (sample.name, sample.labels.get("stage"), sample.labels.get("quantile")): sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["trocar_frames_read_total", None, None].labels == {"stream": "camera"}
    assert samples["trocar_stage_seconds", "infer", "0.99"].value > 0
    assert ("trocar_stage_seconds_count", "display", None) in samples
    with get(monitor, "/picture.jpg") as answer:
        image = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (360, 480, 3)
    for path in ("/../server.py", "/static/page.js", "/stream?n=9", "/state.js"):
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            get(monitor, path)
        caught.value.close()


def test_sixteen_clients_and_one_that_never_reads(
    page: tuple[Monitor, LiveStream], kit: ModuleType
) -> None:
    monitor, stream = page
    port = int(monitor.address.rpartition(":")[2].partition("/")[0])
    lazy = socket.create_connection(("127.0.0.1", port))
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    lazy.sendall(b"GET /stream?n=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    counts = [0] * 16

    def look(index: int) -> None:
        with get(monitor, "/stream?n=0") as answer:
            ends = time.monotonic() + 60.0
            while counts[index] < 5 and time.monotonic() < ends:
                counts[index] += answer.read(4096).count(b"--trocarframe")

    clients = [threading.Thread(target=look, args=(i,), daemon=True) for i in range(16)]
    before = stream.counts.processed
    for client in clients:
        client.start()
    for client in clients:
        client.join(timeout=90)
    lazy.close()
    assert min(counts) >= 5
    assert kit.until(lambda: stream.counts.processed > before)
