"""Out-of-body models and covered frames: C equals Python, to the byte, and fails safe."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import classifier_bundle
import cv2
import numpy as np
import pytest
from body_film import FILM, make_body_bundle, scene
from numpy.typing import NDArray
from tiny_bundle import make_tiny_bundle

from trocar.runtime.privacy.body import OUTSIDE, UNSURE, open_body_classifier
from trocar.runtime.privacy.cover import covered

NOT_JUDGED, INSIDE, OUT, NOT_SURE, FAILED = range(5)
OFF, BLUR, BLACK = range(3)
Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("body")
    return str(make_tiny_bundle(folder / "model.trocar")), str(
        make_body_bundle(folder / "body.trocar")
    )


@pytest.fixture
def opened(
    cpp: ModuleType, library: str, onnxruntime_library: str, models: tuple[str, str]
) -> Iterator[Callable[..., Any]]:
    sessions = []

    def open_with(**options: Any) -> Any:
        given = {"out_of_body": models[1], "library": onnxruntime_library, **options}
        sessions.append(cpp.Session(library, models[0], threads=1, **given))
        return sessions[-1]

    yield open_with
    for session in sessions:
        session.close()


def cover(cpp: ModuleType, session: Any, picture: Picture, form: str, result: Any) -> Picture:
    """The picture after `trocar_session_cover`."""
    picture = picture.copy()
    frame = session.frame(picture, form)
    reference = None if result is None else ctypes.byref(result)
    session.call("cover", session.handle, ctypes.byref(frame), reference)
    return picture


@pytest.mark.parametrize("privacy", [OFF, BLUR, BLACK])
def test_a_film_is_judged_and_covered_as_in_python(
    cpp: ModuleType, opened: Callable[..., Any], models: tuple[str, str], privacy: int
) -> None:
    session = opened(privacy=privacy)
    told = []
    with open_body_classifier(models[1]) as body:
        for number, kind in enumerate(FILM):
            picture = scene(kind, number)
            verdict = body.judge(picture)
            run = session.run(picture)[0]
            told.append(run["result"].body)
            reasons = {"": INSIDE, OUTSIDE: OUT, UNSURE: NOT_SURE}
            assert told[-1] == reasons[verdict.reason]
            after = cover(cpp, session, picture, "rgb", run["result"])
            hides = verdict.outside and privacy != OFF
            mode = "blur" if privacy == BLUR else "black"
            np.testing.assert_array_equal(after, covered(mode, picture) if hides else picture)
            if hides:
                assert not run["labels"].any()
                assert not run["map"].any()
                assert len(run["instruments"]) == 0
                assert run["result"].instrument_total == 0
    assert {INSIDE, OUT, NOT_SURE} == set(told)


@pytest.mark.parametrize("size", [(97, 161), (9, 300), (1, 1), (480, 640), (121, 35)])
def test_a_cover_is_equal_for_all_sizes(
    cpp: ModuleType, opened: Callable[..., Any], size: tuple[int, int]
) -> None:
    picture = np.random.default_rng(4).integers(0, 256, (*size, 3)).astype(np.uint8)
    after = cover(cpp, opened(privacy=BLUR), picture, "rgb", None)
    np.testing.assert_array_equal(after, covered("blur", picture))


@pytest.mark.parametrize("size", [(48, 64), (24, 32), (9, 300), (5, 3), (480, 640), (23, 31)])
def test_a_verdict_is_of_the_picture_that_python_judges(
    opened: Callable[..., Any], models: tuple[str, str], size: tuple[int, int]
) -> None:
    """The certainty of this model changes by 0.1 % for one grey level of the mean."""
    random = np.random.default_rng(1)
    session = opened()
    with open_body_classifier(models[1]) as body:
        for red in (106, 110, 112, 114, 118, 140):
            picture = np.clip(random.normal((red, 92, 70), 9, (*size, 3)), 0, 255).astype(np.uint8)
            assert (session.run(picture)[0]["result"].body == INSIDE) is not body.judge(
                picture
            ).outside


def test_all_formats_are_covered(cpp: ModuleType, opened: Callable[..., Any]) -> None:
    picture = scene("outside", 3)
    for privacy, mode in ((BLUR, "blur"), (BLACK, "black")):
        session = opened(privacy=privacy)
        wanted = covered(mode, picture)
        grey = picture[..., 1].copy()
        for form, given, expected in (
            ("bgr", picture[..., ::-1], wanted[..., ::-1]),
            ("gray", grey, covered(mode, np.repeat(grey[..., None], 3, 2))[..., 0]),
        ):
            after = cover(cpp, session, np.ascontiguousarray(given), form, None)
            np.testing.assert_array_equal(after, expected)
        alpha = picture[..., 2:] // 2
        after = cover(cpp, session, np.concatenate([picture, alpha], 2), "rgba", None)
        np.testing.assert_array_equal(after[..., :3], wanted)
        # The shape may stand in the transparency.
        assert (after[..., 3] == 255).all()
        planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
        height, width = picture.shape[:2]
        planes[height:] = planes[height:].reshape(2, -1).transpose().reshape(height // 2, width)
        after = cover(cpp, session, planes, "nv12", None)
        luma, colour = after[:height], after[height:].reshape(height // 2, width // 2, 2)
        assert luma.std() < planes[:height].std() / 3
        if mode == "black":
            assert (luma == 16).all()
            assert (colour == 128).all()
        else:
            np.testing.assert_allclose(luma.mean(), planes[:height].mean(), atol=2)


@pytest.mark.parametrize("privacy", [BLUR, BLACK])
def test_the_last_colours_of_an_odd_frame_are_covered(
    cpp: ModuleType, opened: Callable[..., Any], privacy: int
) -> None:
    random = np.random.default_rng(2)
    luma = random.integers(0, 256, (23, 31)).astype(np.uint8)
    chroma = random.integers(0, 256, (12, 16, 2)).astype(np.uint8)
    chroma[-1], chroma[:, -1] = 255, 255
    planes = np.concatenate([luma.ravel(), chroma.ravel()])
    frame = cpp.make(
        cpp.Frame, format=cpp.FORMATS["nv12"], width=31, height=23, data=planes.ctypes.data
    )
    session = opened(privacy=privacy)
    session.call("cover", session.handle, ctypes.byref(frame), None)
    colours = planes[luma.size :].reshape(12, 16, 2)
    if privacy == BLACK:
        assert (colours == 128).all()
    else:
        assert (colours[-1] < 255).any()
        assert (colours[:, -1] < 255).any()


def test_without_a_verdict_a_frame_is_covered(cpp: ModuleType, opened: Callable[..., Any]) -> None:
    """A run that fails leaves no verdict of the frame before."""
    session = opened(privacy=BLACK)
    inside, small = scene("inside", 1), scene("inside", 1)[:40]
    frames = (cpp.Frame * 2)(session.frame(inside, "rgb"), session.frame(small, "rgb"))
    results = (cpp.Result * 2)(*(cpp.make(cpp.Result, body=INSIDE) for _ in range(2)))
    for count, form in ((2, 0), (1, 77)):
        frames[0].format = form
        results[0].body = results[1].body = INSIDE
        with pytest.raises(cpp.TrocarFailure):
            session.call("run", session.handle, frames, ctypes.c_uint32(count), results)
        if form == 77:
            assert results[0].body == NOT_JUDGED
    assert not cover(cpp, session, inside, "rgb", results[0]).any()
    assert not cover(cpp, session, inside, "rgb", None).any()
    # An older program's result has no room for a verdict.
    old = cpp.make(cpp.Result, body=INSIDE)
    old.size = cpp.Result.body.offset
    assert not cover(cpp, session, inside, "rgb", old).any()


def test_a_model_that_gives_no_number_has_seen_the_outside(
    cpp: ModuleType, opened: Callable[..., Any], tmp_path: Path
) -> None:
    broken = str(make_body_bundle(tmp_path / "b.trocar", nan_above=200))
    session = opened(out_of_body=broken, privacy=BLACK)
    assert session.run(scene("inside", 0))[0]["result"].body == INSIDE
    bright = np.full((48, 64, 3), (255, 0, 0), np.uint8)
    run = session.run(bright)[0]
    assert run["result"].body == FAILED
    assert not cover(cpp, session, bright, "rgb", run["result"]).any()
    with open_body_classifier(broken) as body:
        assert body.judge(bright).failed


def test_without_a_model_nothing_is_judged_and_nothing_covered(
    cpp: ModuleType, opened: Callable[..., Any]
) -> None:
    session = opened(out_of_body=None)
    picture = scene("outside", 0)
    run = session.run(picture)[0]
    assert run["result"].body == NOT_JUDGED
    assert run["labels"].any()
    np.testing.assert_array_equal(cover(cpp, session, picture, "rgb", run["result"]), picture)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"out_of_body": None, "privacy": BLUR}, 15, "needs a model"),
        ({"privacy": 3}, 15, "privacy is 3"),
        ({"privacy": -1}, 15, "privacy is -1"),
        ({"body_certainty": 1.5}, 15, "body_certainty"),
        ({"body_certainty": float("nan")}, 15, "body_certainty"),
        ({"out_of_body": "segmentation"}, 4, "is a segmentation model"),
        ({"out_of_body": "other names"}, 4, "forceps"),
        ({"out_of_body": "nowhere"}, 4, "nowhere"),
    ],
)
def test_what_is_no_out_of_body_model_is_refused(
    cpp: ModuleType,
    opened: Callable[..., Any],
    models: tuple[str, str],
    tmp_path: Path,
    options: dict[str, Any],
    code: int,
    words: str,
) -> None:
    places = {
        "segmentation": lambda: models[0],
        "other names": lambda: str(classifier_bundle.make_classifier_bundle(tmp_path / "c.trocar")),
    }
    name = options.get("out_of_body")
    if name in places:
        options = {**options, "out_of_body": places[name]()}
    with pytest.raises(cpp.TrocarFailure, match=words) as caught:
        opened(**options)
    assert caught.value.code == code
