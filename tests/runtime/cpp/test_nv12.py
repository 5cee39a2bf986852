"""NV12 frames go to a bundle's second graph in C++, and give Python's bytes."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import compare_languages as compare
import numpy as np
import pytest
from native_planes import run_planes
from numpy.typing import NDArray
from nv12_bundles import changed_golden, make_nv12_bundle
from tiny_bundle import tiny_frame

from trocar.contract.media.nv12 import COLOURS, Nv12Picture, nv12_from_rgb
from trocar.runtime.session import Session


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_nv12_bundle(tmp_path_factory.mktemp("nv12") / "tiny.trocar")


def assert_equal(got: Any, python: Session, picture: Nv12Picture | NDArray[np.uint8]) -> None:
    expected = python.run(picture)
    assert expected.labels is not None
    assert expected.confidence is not None
    np.testing.assert_array_equal(got["labels"], expected.labels)
    np.testing.assert_array_equal(got["confidence"], expected.confidence.astype(np.float32))
    compare.assert_same(got["instruments"], expected.instruments)


@pytest.mark.parametrize("size", [(120, 160), (121, 161), (1, 1), (3, 2), (480, 853)])
def test_planes_give_pythons_bytes(
    cpp: ModuleType, native: Any, python: Session, size: tuple[int, int]
) -> None:
    assert native.info.takes_nv12 == 1
    for colour in COLOURS:
        picture = nv12_from_rgb(tiny_frame(*size), colour)
        assert_equal(run_planes(cpp, native, picture)[0], python, picture)


def test_rows_may_lie_apart_and_batches_have_colours(
    cpp: ModuleType, native: Any, python: Session
) -> None:
    pictures = []
    for index, colour in enumerate(COLOURS):
        packed = nv12_from_rgb(tiny_frame(95, 121, shift=3 * index), colour)
        luma, chroma = np.zeros((95, 128), np.uint8), np.zeros((48, 64, 2), np.uint8)
        luma[:, :121], chroma[:, :61] = packed.luma, packed.chroma
        pictures.append(Nv12Picture(luma=luma[:, :121], chroma=chroma[:, :61], colour=colour))
    for got, picture in zip(run_planes(cpp, native, *pictures), pictures, strict=True):
        assert_equal(got, python, picture)
    # The next call may not use the planes of this one.
    for picture in reversed(pictures):
        assert_equal(run_planes(cpp, native, picture)[0], python, picture)


def test_the_planes_really_go_to_the_second_graph(
    cpp: ModuleType, native: Any, library: str, bundle: Path, onnxruntime_library: str
) -> None:
    """Converted to RGB the same planes give other confidences, and some other labels."""
    converts = cpp.Session(library, str(bundle), library=onnxruntime_library, threads=1, no_nv12=1)
    assert converts.info.takes_nv12 == 0
    picture = nv12_from_rgb(tiny_frame(375, 502), "bt601-limited")
    ours, theirs = run_planes(cpp, native, picture)[0], run_planes(cpp, converts, picture)[0]
    assert (ours["confidence"] != theirs["confidence"]).any()
    assert (ours["labels"] == theirs["labels"]).mean() > 0.99
    expected = native.run(picture.rgb)[0]
    np.testing.assert_array_equal(theirs["labels"], expected["labels"])
    converts.close()


def test_rgb_goes_to_the_first_graph(native: Any, python: Session) -> None:
    frame = tiny_frame(95, 121)
    assert_equal(native.run(frame)[0], python, frame)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride": 120}, "frame.stride is 120, a row needs 121 bytes"),
        ({"chroma_stride": 121}, "frame.chroma_stride is 121, a row needs 122 bytes"),
        ({"yuv": 6}, "frame.yuv is 6, expected 0..5"),
        ({"yuv": -1}, "frame.yuv is -1, expected 0..5"),
        ({"data": 0}, "frame.data is NULL"),
    ],
)
def test_planes_that_cannot_be_read_are_refused(
    cpp: ModuleType, native: Any, changes: dict[str, int], message: str
) -> None:
    picture = nv12_from_rgb(tiny_frame(95, 121), "bt709-limited")
    with pytest.raises(cpp.TrocarFailure, match=message):
        run_planes(cpp, native, picture, **changes)


def test_tightly_packed_planes_of_odd_width_need_no_strides(
    cpp: ModuleType, native: Any, python: Session
) -> None:
    picture = nv12_from_rgb(tiny_frame(95, 121), "bt709-limited")
    both = np.concatenate([picture.luma.ravel(), picture.chroma.ravel()])
    got = run_planes(
        cpp, native, picture, data=both.ctypes.data, stride=0, chroma=0, chroma_stride=0
    )
    assert_equal(got[0], python, picture)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"luma": None}, "nv12.npz holds no NV12 frame: its luma is missing"),
        ({"chroma": np.zeros((3, 4, 2), np.uint8)}, r"its chroma is \|u1 \[3, 4, 2\], expected"),
        ({"colour": np.array([6], np.uint8)}, "nv12.npz holds no NV12 frame: its colour is 6"),
        ({"colour": np.array([3], np.uint8)}, "converted to other colours than by the exporter"),
        ({"labels": np.zeros((64, 80), np.uint8)}, "NV12.* differs from the exporter"),
    ],
)
def test_a_golden_frame_that_does_not_fit_is_refused(
    cpp: ModuleType,
    library: str,
    bundle: Path,
    onnxruntime_library: str,
    tmp_path: Path,
    arrays: dict[str, Any],
    message: str,
) -> None:
    path = changed_golden(bundle, tmp_path / "b.trocar", **arrays)
    with pytest.raises(cpp.TrocarFailure, match=message):
        cpp.Session(library, str(path), library=onnxruntime_library)
    shutil.rmtree(path)
