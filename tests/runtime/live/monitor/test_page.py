"""The live page: what it serves, to whom, and how it looks in a real browser."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from trocar.contract.errors import ConfigError, SinkError
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live.monitor.server import Monitor
from trocar.runtime.live.run import LiveRun
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.session import Session
from trocar.runtime.telemetry.prometheus import CONTENT_TYPE, prometheus_text
from trocar.runtime.temporal.presence import Presence
from trocar.runtime.temporal.tracking import Tracker


@pytest.fixture
def page(tiny_bundle: Path, kit: ModuleType) -> Iterator[tuple[Monitor, LiveStream]]:
    """A page with a camera behind it that runs for as long as the test does."""
    monitor = Monitor("127.0.0.1", 0)
    camera = kit.Camera(frames=100_000, fps=40, size=(360, 480))
    with Session.open(tiny_bundle, threads=1, spinning=False) as session:
        processor = FrameProcessor(session, post_processors=[Tracker(), Presence(session.classes)])
        stream = LiveStream(
            camera, processor, painter=Painter(session.classes), sinks=[monitor.feed("camera")],
        )  # fmt: skip
        run = LiveRun(session, [stream])
        monitor.start()
        run.start()
        stop = threading.Event()

        def report(run: LiveRun) -> None:
            monitor.feeds["0"].update(stream)
            monitor.set_metrics(prometheus_text(run.metrics()))

        watcher = threading.Thread(target=run.wait, kwargs={"stop": stop, "report": report})
        watcher.start()
        try:
            yield monitor, stream
        finally:
            stop.set()
            watcher.join(timeout=60)
            monitor.stop()
            run.stop()


def get(monitor: Monitor, path: str, **headers: str) -> Any:
    base = monitor.address.partition("/?")[0].rstrip("/")
    request = urllib.request.Request(base + path, headers=headers)
    return urllib.request.urlopen(request, timeout=30)


def test_serves_page_state_metrics_and_pictures(
    page: tuple[Monitor, LiveStream], kit: ModuleType
) -> None:
    monitor, _stream = page
    # What the page shows is a snapshot of some moments ago: wait for one that holds a result.
    assert kit.until(lambda: "infer" in monitor.feeds["0"].state.get("stages", {}))
    assert kit.until(lambda: b'stage="infer"' in get(monitor, "/metrics").read())
    with get(monitor, "/") as answer:
        assert b"<title>Trocar live</title>" in answer.read()
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    for path in ("/page.js", "/page.css", "/state.js"):
        with get(monitor, path) as answer:
            assert len(answer.read()) > 200
    with get(monitor, "/state.json") as answer:
        state = json.load(answer)["0"]
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
    for path in ("/../server.py", "/static/page.js", "/stream?n=9"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(monitor, path)


def test_other_addresses_need_the_token() -> None:
    monitor = Monitor("0.0.0.0", 0)
    monitor.start()
    try:
        assert monitor.token is not None
        port = monitor.address.rpartition(":")[2].partition("/")[0]
        base = f"http://127.0.0.1:{port}"
        for path in ("/", "/state.json", "/stream", "/metrics", "/?token=wrong"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(base + path, timeout=30)
        with urllib.request.urlopen(f"{base}/?token={monitor.token}", timeout=30) as answer:
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
            assert "HttpOnly" in answer.headers["Set-Cookie"]
        for headers in ({"Cookie": cookie}, {"Authorization": f"Bearer {monitor.token}"}):
            request = urllib.request.Request(base + "/state.json", headers=headers)
            assert urllib.request.urlopen(request, timeout=30).status == 200
    finally:
        monitor.stop()


def test_a_taken_port_and_a_weak_token_are_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SinkError, match="cannot serve the page"):
            Monitor("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigError, match="5 characters"):
        Monitor("0.0.0.0", 0, token="short")


def test_sixteen_clients_and_one_that_never_reads(
    page: tuple[Monitor, LiveStream], kit: ModuleType
) -> None:
    monitor, stream = page
    port = int(monitor.address.rpartition(":")[2].partition("/")[0])
    lazy = socket.create_connection(("127.0.0.1", port))
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    lazy.sendall(b"GET /stream?n=0 HTTP/1.1\r\nHost: x\r\n\r\n")
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


CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")
def test_looks_right_in_a_browser(
    page: tuple[Monitor, LiveStream], kit: ModuleType, tmp_path: Path
) -> None:
    monitor, stream = page
    assert kit.until(lambda: stream.counts.processed > 20)
    seen: dict[str, bool] = {}
    # A busy machine may be looked at in a bad moment: it gets three.
    for patience in (0, 0, 500):
        image = screenshot(monitor.address, tmp_path, patience)
        picture, top, chart = image[80:700, 30:950], image[:60], image[100:, 960:]
        seen = {
            "the scene's red tissue": share(picture, 2, 1, 40) > 0.3,
            "the state's badge": share(top, 1, 2, 60) + share(top, 2, 0, 90) > 0.002,
            "the chart's blue line": share(chart, 0, 2, 60) > 2e-4,
        }  # fmt: skip
        if all(seen.values()):
            break
    assert all(seen.values()), seen


def share(image: np.ndarray, more: int, less: int, by: int) -> float:
    """Share of pixels in which one channel (BGR) is above another by so much."""
    return float((image[..., more].astype(int) - image[..., less] > by).mean())


def screenshot(address: str, folder: Path, patience_ms: int) -> np.ndarray:
    event = folder / f"page{patience_ms}.png"
    command = [
        *(str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--disable-dev-shm-usage", "--window-size=1360,960", f"--user-data-dir={folder / 'u'}"),
        *(f"--virtual-time-budget={patience_ms}" if patience_ms else "--no-first-run",),
        *(f"--screenshot={event}", address),
    ]
    subprocess.run(command, check=False, capture_output=True, timeout=150)
    image = cv2.imread(str(event))
    assert image is not None, "Chromium made no screenshot"
    assert image.shape == (960, 1360, 3)
    return np.asarray(image)
