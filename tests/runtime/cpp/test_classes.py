"""A classifier's classes beside the graph: same scores, same refusals in Python and C++."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import classifier_bundle as bundles
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from trocar.contract.bundle import open_bundle
from trocar.contract.errors import TrocarError
from trocar.runtime.session import Session

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with four classes of its own and two enrolled ones."""
    made: Path = bundles.make_classifier_bundle(
        tmp_path_factory.mktemp("classes") / "c.trocar", enrolled=2
    )
    return made


def about_with(**changes: Any) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        about = json.loads(arrays["about"].tobytes()) | changes
        text = json.dumps({key: value for key, value in about.items() if value is not ...})
        arrays["about"] = np.frombuffer(text.encode(), np.uint8)

    return change


def array_with(name: str, value: Any) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value(arrays[name])

    return change


CASES: dict[str, tuple[int, Callable[[Arrays], None]]] = {
    "whole": (0, lambda arrays: None),
    "not changed": (4, about_with(changed=False)),
    "names swapped": (5, about_with(names=["a", "b", "c", "d", "e", "f"])),
    "another table": (5, about_with(classes=[{"id": 0, "name": "a"}])),
    "a table that is a number": (4, about_with(classes=3)),
    "about is missing": (4, array_with("about", None)),
    "about is no JSON": (4, array_with("about", lambda a: a[:-4])),
    "names are missing": (4, about_with(names=...)),
    "names are a text": (4, about_with(names="abcdef")),
    "a name is a number": (4, about_with(names=["a", "b", "c", "d", "e", 6])),
    "a name repeats": (4, about_with(names=["a", "b", "c", "d", "e", "a"])),
    "a name too few": (4, about_with(names=["a", "b", "c", "d", "e"])),
    "an origin too few": (4, about_with(trained=[True] * 5)),
    "an origin is a number": (4, about_with(trained=[True] * 5 + [1])),
    "a photograph too few": (4, about_with(digests=[""] * 5)),
    "a photograph is null": (4, about_with(digests=[""] * 5 + [None])),
    "changed is missing": (4, about_with(changed=...)),
    "changed is a number": (4, about_with(changed=1)),
    "previous is missing": (4, about_with(previous=...)),
    "previous is null": (4, about_with(previous=None)),
    "features are missing": (4, array_with("features", None)),
    "features in one row": (4, array_with("features", lambda a: a.ravel())),
    "features of one row too few": (4, array_with("features", lambda a: a[:-1])),
    "owners are missing": (4, array_with("owners", None)),
    "a row of no class": (4, array_with("owners", lambda a: a + 1)),
    "a row of a negative class": (4, array_with("owners", lambda a: a - 1)),
    "centroids of one class too few": (4, array_with("input_centroids", lambda a: a[:-1])),
    "centroids are one number": (4, array_with("input_centroids", lambda a: a[0, 0])),
    "centroids of too few numbers": (9, array_with("input_centroids", lambda a: a[:, :5])),
    "no centroids": (4, array_with("input_centroids", None)),
}


def with_state(enrolled: Path, out: Path, data: bytes) -> Path:
    shutil.copytree(enrolled, out)
    (out / "classes-x.npz").write_bytes(data)
    document = json.loads((out / "manifest.json").read_text())
    document["extra"]["classification"]["state"] = "classes-x.npz"
    document["files"]["classes-x.npz"] = hashlib.sha256(data).hexdigest()
    (out / "manifest.json").write_text(json.dumps(document))
    return out


def codes(cpp: ModuleType, library: str, onnxruntime: str, bundle: Path) -> tuple[int, int]:
    got = python = 0
    try:
        Session.open(bundle, threads=1).close()
    except TrocarError as error:
        python = error.code
    try:
        cpp.Session(library, str(bundle), library=onnxruntime, threads=1).close()
    except cpp.TrocarFailure as error:
        got = error.code
    return got, python


@pytest.mark.parametrize("case", CASES)
def test_same_code(
    case: str, cpp: ModuleType, library: str, onnxruntime_library: str, enrolled: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    code, change = CASES[case]
    bundle = open_bundle(enrolled)
    state = str(bundle.manifest.extra["classification"]["state"])
    with np.load(io.BytesIO(bundle.read(state))) as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    path = with_state(enrolled, tmp_path / "b.trocar", buffer.getvalue())
    assert codes(cpp, library, onnxruntime_library, path) == (code, code)


@pytest.mark.parametrize("data", [b"", b"PK", b"nothing of the kind"])
def test_a_state_that_is_no_archive(
    data: bytes, cpp: ModuleType, library: str, onnxruntime_library: str, enrolled: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = with_state(enrolled, tmp_path / "b.trocar", data)
    assert codes(cpp, library, onnxruntime_library, path) == (4, 4)


@pytest.mark.parametrize("added", [0, 2])
def test_strides_formats_and_every_sample_frame(
    added: int, cpp: ModuleType, library: str, onnxruntime_library: str, tmp_path: Path,
    samples: Path,
) -> None:  # fmt: skip
    path = bundles.make_classifier_bundle(tmp_path / "c.trocar", enrolled=added)
    native = cpp.Session(library, str(path), library=onnxruntime_library, threads=1)
    files = sorted((samples / "cholec_instance_seg_sample").rglob("*.png"))
    files += sorted((samples / "surgical_tools").rglob("*.jpg"))[::20]
    assert len(files) > 60
    with Session.open(path, threads=1) as python:
        for number, file in enumerate(files):
            image: Any = cv2.imread(str(file), cv2.IMREAD_COLOR)
            rgb = np.ascontiguousarray(image[..., ::-1])
            expected = python.infer(rgb[None])
            wide = np.zeros((rgb.shape[0], rgb.shape[1] + 5, 3), np.uint8)
            wide[:, : rgb.shape[1]] = rgb
            padded = wide[:, : rgb.shape[1]]
            turned = np.ascontiguousarray(rgb[::-1])[::-1]
            views = [(rgb, "rgb"), (image, "bgr"), (padded, "rgb"), (turned, "rgb")]
            for frame, form in views if number < 12 else views[:1]:
                (got,) = native.run(frame, form=form)
                for name in ("scores", "embedding"):
                    np.testing.assert_array_equal(got[name], expected[name][0])
    native.close()
