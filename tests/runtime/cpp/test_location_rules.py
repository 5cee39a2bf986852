"""The rules that decide what an instrument is: C++ gives the same result, with the same options."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import compare_languages as compare
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.location import LEGACY, LocationOptions
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.instruments import locate
from trocar.runtime.session import Session

TABLE = ClassTable(
    (
        ClassRow(id=0, name="background", colour=(0, 0, 0)),
        ClassRow(id=1, name="shaft", colour=(1, 0, 0), instrument=True, part="shaft"),
        ClassRow(id=2, name="wrist", colour=(2, 0, 0), instrument=True, part="wrist"),
        ClassRow(id=3, name="claspers", colour=(3, 0, 0), instrument=True, part="claspers"),
        ClassRow(id=4, name="hook", colour=(4, 0, 0), instrument=True),
    )
)
NEW = LocationOptions()
FINE = {"min_area": 0.0, "min_pixels": 1, "min_relative_area": 0.0, "min_score": 0.0}
CHANGES: dict[str, dict[str, Any]] = {
    "manifest": {},
    "fine": FINE,
    "fragments": {**FINE, "max_gap": 4.0, "max_angle": 40.0, "max_width_ratio": 5.0},
    "strips": {**FINE, "strip_depth": 0.2, "border": 5, "view_border": 0.1, "max_gap": 0.0},
    "few": {**FINE, "max_instruments": 3, "min_score": 0.5, "max_regions": 9},
    "unsure": {**FINE, "min_score": 0.9, "relative_score": 0.97},
    "specks": {**FINE, "min_relative_area": 0.3, "classes": ["hook"]},
    "parts": {**FINE, "join_parts": False, "mask_outside_view": False},
    "tips": {**FINE, "tip_parts": ["wrist"], "else_tip_parts": ["claspers"], "shaft_parts": []},
}


class Opened:
    """One C++ session for each of `CHANGES`, on a bundle whose manifest states the defaults."""

    def __init__(self, cpp: ModuleType, library: str, bundle: Path, onnxruntime: str) -> None:
        self.cpp, self.bundle = cpp, bundle
        self.open = lambda **options: cpp.Session(
            library, str(bundle), library=onnxruntime, threads=1, **options
        )
        self.sessions = {
            name: self.open(location=json.dumps(changes)) for name, changes in CHANGES.items()
        }


@pytest.fixture(scope="module")
def opened(
    cpp: ModuleType,
    library: str,
    tiny: ModuleType,
    onnxruntime_library: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Opened]:
    path = tiny.make_tiny_bundle(tmp_path_factory.mktemp("rules") / "parts.trocar", classes=3)
    tiny.re_exported(path, classes=TABLE, location=NEW)
    made = Opened(cpp, library, path, onnxruntime_library)
    yield made
    for session in made.sessions.values():
        session.close()


def scene(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Instruments of parts with gaps across them, strips along the border, rings and specks."""
    labels = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        start = np.array([rng.random() * width, 0 if rng.random() < 0.5 else height - 1])
        end = np.array([rng.random() * width, rng.random() * height])
        thick = int(rng.integers(2, max(3, height // 8)))
        joint = start + 0.7 * (end - start)
        parts = (1, 3) if rng.random() < 0.6 else (1, 2) if rng.random() < 0.5 else (4, 4)
        for (a, b), label in zip(((start, joint), (joint, end)), parts, strict=True):
            cv2.line(labels, a.astype(int).tolist(), b.astype(int).tolist(), label, thick)
    for _ in range(int(rng.integers(0, 5))):
        a, b = rng.integers(0, width, 2), rng.integers(0, height, 2)
        wide = int(rng.integers(1, max(2, height // 15)))
        cv2.line(labels, (int(a[0]), int(b[0])), (int(a[1]), int(b[1])), 0, wide)
    if rng.random() < 0.5:
        labels[:, : int(rng.integers(1, 1 + width // 12))] = 1
    if rng.random() < 0.3:
        centre = (width // 2, height // 2)
        cv2.circle(labels, centre, int(0.48 * min(height, width)), 1, 2)
    for _ in range(int(rng.integers(0, 30))):
        y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
        labels[y : y + 3, x : x + 4] = int(rng.integers(1, 5))
    return labels


def case(seed: int) -> tuple[NDArray[np.uint8], Any, tuple[int, int], Any]:
    rng = np.random.default_rng(seed)
    height, width = int(rng.integers(20, 200)), int(rng.integers(20, 200))
    labels = scene(rng, height, width)
    confidence = rng.random((height, width), np.float32) if seed % 3 else None
    frame = (int(rng.integers(30, 2200)), int(rng.integers(30, 3000)))
    view = (frame[1] * 0.48, frame[0] * 0.5, min(frame) * 0.5) if seed % 2 else None
    return labels, confidence, frame, view


@pytest.mark.parametrize("name", CHANGES)
def test_every_rule_gives_the_same_result(opened: Opened, name: str) -> None:
    options = NEW.changed(CHANGES[name], source="test")
    for seed in range(60):
        labels, confidence, frame, view = case(seed)
        python = locate(
            labels,
            confidence,
            TABLE,
            frame,
            options,
            view=None if view is None else FieldOfView(x=view[0], y=view[1], radius=view[2]),
        )
        found = compare.locate(
            opened.cpp, opened.sessions[name], labels, confidence, frame, view=view or (0, 0, 0)
        )
        compare.assert_same(found, python)


def test_each_rule_changes_something_in_these_scenes(opened: Opened) -> None:
    """The comparison above is no empty exercise."""

    def found(**changes: Any) -> list[Any]:
        options = NEW.changed({**FINE, **changes}, source="test")
        results = []
        for seed in range(60):
            labels, confidence, frame, view = case(seed)
            circle = None if view is None else FieldOfView(x=view[0], y=view[1], radius=view[2])
            results.append(locate(labels, confidence, TABLE, frame, options, view=circle))
        return results

    plain = found()
    for changes in (
        {"max_gap": 0.0}, {"max_angle": 1.0}, {"max_width_ratio": 1.1}, {"strip_depth": 0.0},
        {"min_score": 0.5}, {"min_relative_area": 0.3}, {"max_instruments": 2}, {"max_regions": 5},
        {"mask_outside_view": False}, {"join_parts": False}, {"else_tip_parts": []},
        {"tip_parts": []}, {"shaft_parts": []}, {"border": 6}, {"view_border": 0.2},
        {"classes": ["hook"]},
    ):  # fmt: skip
        assert found(**changes) != plain, changes


def test_a_bundle_without_options_does_what_version_0_1_did(
    cpp: ModuleType, library: str, tiny: ModuleType, onnxruntime_library: str, tmp_path: Path
) -> None:
    path = tiny.make_tiny_bundle(tmp_path / "old.trocar", classes=3)
    tiny.re_exported(path, classes=TABLE)
    assert '"location"' not in (path / "manifest.json").read_text()
    with closing(cpp.Session(library, str(path), library=onnxruntime_library)) as session:
        for seed in range(20):
            labels, confidence, frame, _ = case(seed)
            found = compare.locate(cpp, session, labels, confidence, frame)
            compare.assert_same(found, locate(labels, confidence, TABLE, frame, LEGACY))


def test_a_run_with_a_view_gives_labels_inside_it(opened: Opened, tiny: ModuleType) -> None:
    frame = tiny.tiny_frame(96, 120)
    view = FieldOfView(x=50.0, y=40.0, radius=35.0)
    with Session.open(opened.bundle) as session:
        python = session.run(frame, view=view)
        whole = session.run(frame)
    assert python.labels is not None
    assert np.count_nonzero(python.labels) < np.count_nonzero(whole.labels)
    session = opened.sessions["manifest"]
    given = session.frame(frame, "rgb")
    given.view[:] = [view.x, view.y, view.radius]
    result, held = session.room(given, 64, False)
    session.call("run", session.handle, opened.cpp.c.byref(given), opened.cpp.c.c_uint32(1),
                 opened.cpp.c.byref(result))  # fmt: skip
    np.testing.assert_array_equal(held["labels"], python.labels)
    compare.assert_same(held["instruments"][: result.instrument_count], python.instruments)


def test_single_options_override_the_manifest_and_the_text(opened: Opened) -> None:
    labels, _, _, _ = case(4)
    changes = {"min_pixels": 3, "max_instruments": 2, "classes": ["hook"], "min_area": 0.0}
    for given in (
        {"min_pixels": 3, "max_instruments": 2, "classes": " hook ", "min_area": -1.0},
        {"location": json.dumps({**changes, "max_instruments": 9}), "max_instruments": 2},
    ):
        with closing(opened.open(**given)) as session:
            found = compare.locate(opened.cpp, session, labels, None, (480, 640))
        expected = locate(labels, None, TABLE, (480, 640), NEW.changed(changes, source="test"))
        compare.assert_same(found, expected)
        assert expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"location": '{"min_area": -0.1}'}, "min_area is -0.1, expected 0 to 1"),
        ({"location": '{"mina_rea": 0.1}'}, "'mina_rea' is not known"),
        ({"location": '{"max_regions": 1.5}'}, "max_regions is not a whole number"),
        ({"location": '{"tip_parts": ["shaft"]}'}, "shaft is a shaft part and a tip part"),
        (
            {"location": '{"tip_parts": ["claspr"]}'},
            "'claspr' is not known, expected some of shaft, wrist",
        ),
        ({"location": "["}, "the text is not JSON"),
        ({"location": "[]"}, "the text is not a JSON object"),
        ({"classes": "hok"}, "'hok' is not known, expected some of instrument, hook"),
        ({"min_score": float("nan")}, "options.min_score is nan"),
        ({"min_score": 1.5}, "expected at most 1"),
        ({"max_instruments": 70000}, "max_instruments is 70000, expected 0 to 65536"),
    ],
)
def test_wrong_options_are_refused(opened: Opened, options: dict[str, Any], words: str) -> None:
    with pytest.raises(opened.cpp.TrocarFailure, match="→ ") as caught:
        opened.open(**options)
    assert caught.value.code == 15
    assert words in str(caught.value)
