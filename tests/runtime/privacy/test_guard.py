"""Pictures from outside the body are covered before anything sees them; doubt covers too."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from body_film import FILM, FINE, fineness, leaks, make_body_bundle, scene
from live_runs import SlowModel, analysed

from trocar.contract.errors import BundleError, ConfigError
from trocar.runtime.draw.overlay import Painter
from trocar.runtime.live.monitor.feed import Feed
from trocar.runtime.live.run import LiveRun
from trocar.runtime.live.stream import LiveStream
from trocar.runtime.pipeline.frame_processor import FrameProcessor
from trocar.runtime.privacy.body import (
    FAILED,
    OUTSIDE,
    UNSURE,
    BodyClassifier,
    open_body_classifier,
)
from trocar.runtime.privacy.cover import covered
from trocar.runtime.privacy.guard import LATE, FrameGuard
from trocar.runtime.privacy.options import PrivacyOptions
from trocar.runtime.session import Session
from trocar.runtime.sinks.base import FrameEvent
from trocar.runtime.sinks.records import Callback, JsonLines, PngFolder
from trocar.runtime.sinks.video import VideoSink
from trocar.runtime.sources.base import Frame, Verdict


def frame_of(kind: str, number: int = 0) -> Frame:
    return Frame(image=scene(kind, number), index=number, time=number / 25, captured_ns=0)


@pytest.mark.parametrize("size", [(96, 160), (160, 96), (7, 5), (1, 300)])
def test_a_cover_has_the_size_of_its_picture_and_no_detail(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert not covered("black", image).any()
    assert covered("black", image).shape == image.shape
    blurred = covered("blur", image)
    assert blurred.shape == image.shape
    assert blurred.std() < image.std() / 3


def test_what_is_blurred_is_gone_and_not_hidden() -> None:
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (54, 96, 3), np.uint8), (960, 540))
    # The same picture with every cell of the grid turned over: all means are as before.
    other = image.reshape(6, 90, 960, 3)[:, ::-1].reshape(image.shape)
    assert np.abs(other.astype(int) - image).mean() > 30
    difference = np.abs(covered("blur", other).astype(int) - covered("blur", image))
    assert difference.max() <= 1


def test_what_the_model_is_not_sure_of_is_outside(body: BodyClassifier) -> None:
    assert body.judge(scene("inside", 3)) == Verdict(outside=False)
    assert body.judge(scene("outside", 3)) == Verdict(outside=True, reason=OUTSIDE)
    assert body.judge(scene("unsure", 3)) == Verdict(outside=True, reason=UNSURE)


def test_a_model_that_fails_has_seen_a_picture_from_outside(
    body: BodyClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = body.judge(np.zeros((3, 3), np.uint8))  # no picture
    monkeypatch.setattr(
        body._session._backend, "infer", lambda frames: {"scores": np.full((1, 2), np.nan)}
    )
    for verdict in (broken, body.judge(scene("inside", 0))):
        assert verdict.outside
        assert verdict.failed
        assert verdict.reason.startswith(FAILED)
    guard = FrameGuard(body, mode="black")
    assert not guard.apply(frame_of("inside")).image.any()
    assert guard.notes == (
        "1 of 1 frames count as outside the body, and are black; the out-of-body model failed on 1 "
        "of them",
    )


def test_what_is_not_judged_in_time_is_outside(body: BodyClassifier) -> None:
    hangs, answered = threading.Event(), threading.Event()

    class Slow:
        def judge(self, image: np.ndarray) -> Verdict:
            hangs.wait(30)
            answered.set()
            return body.judge(image)

    guard = FrameGuard(Slow(), mode="blur", limit_ms=20)
    for number in range(3):
        late = guard.apply(frame_of("inside", number))
        assert late.body == Verdict(outside=True, reason=LATE, covered=True)
        assert fineness(late.image) < FINE / 2
    hangs.set()
    answered.wait(30)
    # A verdict that comes too late is of its own frame, never of the one that waits now.
    guard._limit_ms = 30_000
    assert guard.apply(frame_of("outside", 3)).covered
    inside = guard.apply(frame_of("inside", 4))
    assert inside.body == Verdict(outside=False)
    assert np.array_equal(inside.image, scene("inside", 4))
    assert (guard.judged, guard.outside, guard.late) == (5, 4, 3)
    guard.close()


def test_without_privacy_pictures_stay_as_they_are(body: BodyClassifier) -> None:
    frame = frame_of("outside")
    judged = FrameGuard(body, mode="off").apply(frame)
    assert judged.image is frame.image
    assert judged.body == Verdict(outside=True, reason=OUTSIDE)
    assert not judged.covered


class Film:
    """`FILM` again and again, as a camera."""

    name, fps, total, live = "film", 100.0, None, True

    def __init__(self) -> None:
        self.closed = False

    def frames(self):  # type: ignore[no-untyped-def]
        number = 0
        while not self.closed:
            time.sleep(1 / self.fps)
            frame = frame_of(FILM[number % len(FILM)], number)
            yield replace(frame, captured_ns=time.monotonic_ns())
            number += 1

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("mode", ["blur", "black"])
def test_no_picture_of_a_live_run_leaves_uncovered(
    mode: str, session: Session, body: BodyClassifier, kit: ModuleType, tmp_path: Path
) -> None:
    pictures: list[np.ndarray] = []
    fresh: list[FrameEvent] = []
    drawn: list[bool] = []

    def take(event: FrameEvent) -> None:
        pictures.extend([event.frame.image, event.overlay()])
        if event.frame.covered:
            drawn.append(event.visible)

    feed = Feed("film")
    sinks = [
        VideoSink(tmp_path / "out.mp4", live=True),
        PngFolder(tmp_path / "frames"),
        PngFolder(tmp_path / "masks", masks=True),
        JsonLines(tmp_path / "out.jsonl", live=True),
        Callback(take),
        Callback(fresh.append, every_frame=False, name="fresh"),
        feed,
    ]
    # Two of thirty verdicts fail: they cover, too.
    model = SlowModel(body._session, fail=lambda call: call % 30 in (3, 4))
    guard = FrameGuard(BodyClassifier(model), mode=mode, limit_ms=2000)  # type: ignore[arg-type]
    stream = LiveStream(
        Film(),
        FrameProcessor(session),
        painter=Painter(session.classes),
        sinks=sinks,  # type: ignore[arg-type]
        guard=guard,
    )
    feed.update(stream)
    run = LiveRun(session, [stream])
    pages: list[np.ndarray] = []
    ended = threading.Event()

    def watch() -> None:
        number = -1
        while not ended.is_set():
            picture = feed.wait(number, 0.5)
            if picture is not None:
                number = picture.number
                decoded = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
                pages.append(decoded[..., ::-1])

    newest: list[np.ndarray] = []

    def look(run: LiveRun) -> None:
        if stream.newest is not None:
            newest.append(stream.newest.image)
        if analysed(2 * len(FILM))([stream]):
            enough.set()

    enough = threading.Event()
    page = threading.Thread(target=watch)
    page.start()
    run.start()
    run.wait(stop=enough, seconds=60, report=look)
    (summary,) = run.stop()
    ended.set()
    page.join()
    assert enough.is_set()
    files = [
        cv2.imread(str(path))[..., ::-1] for path in sorted((tmp_path / "frames").glob("*.png"))
    ]
    kinds = {
        "video": kit.read_video(tmp_path / "out.mp4"),
        "frames": files,
        "callback": pictures,
        "fresh": [event.frame.image for event in fresh],
        "page": pages,
        "newest": newest,
    }
    for name, taken in kinds.items():
        assert taken, name
        assert not any(leaks(picture) for picture in taken), name
    # The test can see a pattern: what is inside still has its own, in every kind of output.
    for name in ("video", "frames", "callback", "fresh", "page"):
        assert any(fineness(picture) > FINE for picture in kinds[name]), name
    assert drawn
    assert not any(drawn), "no mask of an earlier frame lies on a covered picture"
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {line["outside"] for line in lines} == {True, False}
    assert not any(line["instruments"] for line in lines if line["outside"])
    outside = {line["frame"] for line in lines if line["outside"]}
    masks = {int(path.stem): path for path in (tmp_path / "masks").glob("*.png")}
    assert not any(cv2.imread(str(masks[n]), 0).any() for n in outside if n in masks)
    told = [change for change in stream.health.changes if OUTSIDE in change.reasons]
    assert any(change.state == "DEGRADED" for change in told)
    counts = summary.counts
    assert counts.read == counts.written + counts.dropped
    assert any("count as outside the body" in note for note in summary.notes)


def test_a_bundle_without_inside_is_no_out_of_body_model(tiny_bundle: Path, tmp_path: Path) -> None:
    other = make_body_bundle(tmp_path / "other.trocar", names=("theatre", "ward"))
    for bundle, names in ((tiny_bundle, "segmentation model"), (other, "theatre, ward")):
        with pytest.raises(BundleError, match=names) as raised:
            open_body_classifier(bundle)
        assert "trocar train classifier" in raised.value.remedy


def test_covering_needs_a_model() -> None:
    with pytest.raises(ConfigError, match="--privacy blur needs a model"):
        PrivacyOptions(mode="blur")
    with pytest.raises(ConfigError, match="expected one of off, blur, black"):
        PrivacyOptions(mode="grey")
