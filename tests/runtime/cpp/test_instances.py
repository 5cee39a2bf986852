"""Instance models give the same instruments and masks in Python and C++."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import compare_languages as compare
import instance_files as files
import numpy as np
import pytest
from instance_bundles import instance_bundle
from tiny_bundle import re_exported

from trocar.contract.bundle import GOLDEN, open_bundle, write_bundle
from trocar.contract.errors import TrocarError
from trocar.runtime.golden import read_golden
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.session import Session
from trocar.runtime.sources.base import Frame
from trocar.runtime.temporal.tracking import Tracker

SIZES = [(48, 64), (90, 120), (133, 71), (240, 427)]
LOCATIONS: list[dict[str, Any]] = [
    {},
    {"min_pixels": 40, "max_instruments": 3, "min_relative_area": 0.3, "strip_depth": 0.1},
    {"mask_outside_view": True, "classes": ["scissors"], "max_regions": 9, "min_score": 0.7},
]


@pytest.fixture(scope="module", params=range(3))
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("instances") / "m.trocar"
    extra = {"resize": "letterbox"} if request.param == 1 else {}
    return instance_bundle(folder, location=LOCATIONS[request.param], max_instances=6, **extra)


def test_the_task_is_stated(native: Any) -> None:
    assert native.info.task == 2
    assert native.info.golden == 1


def test_instruments_masks_and_counts_are_equal(native: Any, python: Session) -> None:
    found = fragments = 0
    for seed in range(6):
        for size in SIZES:
            frame = files.instance_frame(seed, *size)
            got, expected = native.run(frame)[0], python.run(frame)
            np.testing.assert_array_equal(got["labels"], expected.labels)
            compare.assert_same(got["instruments"], expected.instruments)
            assert got["result"].instance_count == expected.instance_count
            for index, one in enumerate(expected.instruments):
                assert got["instruments"][index].instance == one.instance
                mask = native.mask(got, index)
                assert one.mask is not None
                np.testing.assert_array_equal(mask == 255, one.mask.full())
                fragments += int((one.mask.full() != (expected.instances == one.instance)).any())
            found += len(expected.instruments)
    assert found >= 24
    assert fragments or python.options.min_pixels < 40


def test_crossing_instruments_of_one_class_are_equal_and_keep_their_tracks(
    cpp: ModuleType, library: str, onnxruntime_library: str, tmp_path: Path
) -> None:
    path = instance_bundle(
        tmp_path / "m.trocar", data=files.channel_file(), form="detections", max_instances=4
    )
    native = cpp.Session(library, str(path), library=onnxruntime_library, threads=1)
    tracker, tracks = Tracker(), []
    with Session.open(path, threads=1) as python:
        for step in range(12):
            frame = files.crossing_frame(step)
            got, expected = native.run(frame)[0], python.run(frame)
            compare.assert_same(got["instruments"], expected.instruments)
            for index, one in enumerate(expected.instruments):
                assert one.mask is not None
                np.testing.assert_array_equal(native.mask(got, index) == 255, one.mask.full())
            shown = Frame(image=frame, index=step, time=step / 25, captured_ns=0)
            result = tracker.apply(shown, replace(expected, time=step / 25))
            tracks.append({one.instance: one.track_id for one in result.instruments})
            # Two of one class; the upper one cuts the other in two until it has passed.
            assert {one.class_id for one in result.instruments} == {1}
    native.close()
    assert all(len(track) == 2 for track in tracks)
    assert all(track == tracks[1] for track in tracks[1:])


def test_masks_at_the_size_of_the_frame(native: Any, python: Session) -> None:
    frame = files.instance_frame(1, 100, 130)
    got, expected = native.run(frame, full=True)[0], python.run(frame)
    # Of two equally near pixels OpenCV chooses the other one in places.
    rows = (2 * np.arange(100) + 1) * files.HEIGHT // 200
    columns = (2 * np.arange(130) + 1) * files.WIDTH // 260
    for index, one in enumerate(expected.instruments):
        assert one.mask is not None
        large = one.mask.full()[rows][:, columns]
        np.testing.assert_array_equal(native.mask(got, index) == 255, large)
        assert (large == one.mask.at_frame_size()).mean() > 0.99


def test_inside_a_field_of_view(cpp: ModuleType, native: Any, python: Session) -> None:
    frame = files.instance_frame(2, 120, 160)
    view = FieldOfView(x=80.0, y=61.0, radius=58.0)
    given = native.frame(frame, "rgb")
    given.view = (ctypes.c_double * 3)(view.x, view.y, view.radius)
    result, held = native.room(given, 64, False)
    native.call("run", native.handle, ctypes.byref(given), ctypes.c_uint32(1), ctypes.byref(result))
    compare.assert_same(
        held["instruments"][: result.instrument_count], python.run(frame, view=view).instruments
    )


def test_a_batch(native: Any, python: Session) -> None:
    frames = [files.instance_frame(seed, 80, 100) for seed in range(3)]
    for got, frame in zip(native.run(*frames), frames, strict=True):
        compare.assert_same(got["instruments"], python.run(frame).instruments)


def test_a_mask_that_there_is_not_is_refused(cpp: ModuleType, native: Any) -> None:
    run = native.run(files.instance_frame(0))[0]
    with pytest.raises(cpp.TrocarFailure, match="was requested") as caught:
        native.mask(run, len(run["instruments"]))
    assert caught.value.code == 15
    run["result"].instrument_map = None
    with pytest.raises(cpp.TrocarFailure, match="no instrument map"):
        native.mask(run, 0)


def changed_golden(bundle: Path, out: Path, change: str) -> Path:
    """The bundle with another golden frame."""
    opened = open_bundle(bundle)
    contents = {name: opened.read(name) for name in opened.manifest.files}
    golden = read_golden(contents[GOLDEN], "instances")
    number = int(np.argmax(np.bincount(golden["instances"].ravel())[1:])) + 1
    if change == "class":
        golden["classes"][number - 1] = golden["classes"][number - 1] % 3 + 1
    elif change == "score":
        golden["scores"][number - 1] -= 0.02
    elif change == "mask":
        golden["instances"] = np.roll(golden["instances"], 9, axis=0)
    elif change == "missing":
        golden["instances"][golden["instances"] == number] = 0
    elif change == "nothing":
        golden["margin"][:] = 0
    elif change == "shape":
        golden["classes"] = golden["classes"][:-1]
    elif change == "beyond":
        golden["instances"][0, 0] = 200
    buffer = out.parent / f"{change}.npz"
    np.savez(buffer, **golden)
    contents[GOLDEN] = buffer.read_bytes()
    write_bundle(out, opened.manifest, contents)
    return out


@pytest.mark.parametrize(
    ("change", "code"),
    [("class", 8), ("score", 8), ("mask", 8), ("missing", 8), ("nothing", 4), ("shape", 4),
     ("beyond", 4)],
)  # fmt: skip
def test_a_golden_frame_that_differs_has_one_status(
    cpp: ModuleType,
    library: str,
    onnxruntime_library: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    change: str,
    code: int,
) -> None:
    shared = tmp_path_factory.getbasetemp() / "golden_of_instances.trocar"
    if not shared.exists():
        instance_bundle(shared)
    wrong = changed_golden(shared, tmp_path / "wrong.trocar", change)
    with pytest.raises(TrocarError) as caught:
        Session.open(wrong)
    assert caught.value.code == code
    with pytest.raises(cpp.TrocarFailure) as refused:
        cpp.Session(library, str(wrong), library=onnxruntime_library, threads=1)
    assert refused.value.code == code


def test_a_bundle_that_says_another_task_is_refused_alike(
    cpp: ModuleType, library: str, onnxruntime_library: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    import shutil

    wrong = Path(shutil.copytree(tiny_bundle, tmp_path / "wrong.trocar"))
    re_exported(wrong, task="instances")
    with pytest.raises(TrocarError) as caught:
        Session.open(wrong)
    with pytest.raises(cpp.TrocarFailure) as refused:
        cpp.Session(library, str(wrong), library=onnxruntime_library, threads=1)
    assert caught.value.code == refused.value.code == 4
