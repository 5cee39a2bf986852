"""Location on label maps of every kind: C++ gives Python's numbers to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import compare_languages as compare
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trocar.contract.classes import ClassRow, ClassTable
from trocar.contract.errors import ArgumentError
from trocar.contract.location import LEGACY
from trocar.runtime.locate.field_of_view import FieldOfView
from trocar.runtime.locate.instruments import locate

TABLE = ClassTable(
    (
        ClassRow(id=0, name="background", colour=(0, 0, 0)),
        ClassRow(id=1, name="hook", colour=(1, 0, 0), instrument=True),
        ClassRow(id=2, name="shaft", colour=(2, 0, 0), instrument=True, type="g", part="shaft"),
        ClassRow(id=3, name="liver", colour=(3, 0, 0)),
        ClassRow(id=4, name="wrist", colour=(4, 0, 0), instrument=True, type="g", part="wrist"),
        ClassRow(id=5, name="jaw", colour=(5, 0, 0), instrument=True, type="g", part="jaw"),
        ClassRow(id=6, name="clip", colour=(6, 0, 0), instrument=True, type="clip"),
    )
)


class Located:
    """One C++ session for each choice of thresholds, on a bundle with the table above."""

    def __init__(self, cpp: ModuleType, library: str, bundle: Path, onnxruntime: str) -> None:
        self.cpp = cpp
        self.open = lambda **options: cpp.Session(
            library, str(bundle), library=onnxruntime, threads=1, **options
        )
        self.default = self.open()
        self.fine = self.open(min_area=-1.0, min_pixels=1)


@pytest.fixture(scope="module")
def located(
    cpp: ModuleType,
    library: str,
    tiny: ModuleType,
    onnxruntime_library: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Located]:
    path = tiny.make_tiny_bundle(tmp_path_factory.mktemp("table") / "parts.trocar", classes=3)
    tiny.re_exported(path, classes=TABLE)
    made = Located(cpp, library, path, onnxruntime_library)
    yield made
    made.default.close()
    made.fine.close()


def check(
    located: Located,
    labels: NDArray[np.uint8],
    confidence: NDArray[np.float32] | None,
    frame_size: tuple[int, int],
    *,
    view: tuple[float, float, float] | None = None,
    fine: bool = True,
) -> int:
    options = replace(LEGACY, min_area=0.0, min_pixels=1) if fine else LEGACY
    python = locate(
        labels,
        confidence,
        TABLE,
        frame_size,
        options,
        view=None if view is None else FieldOfView(x=view[0], y=view[1], radius=view[2]),
    )
    session = located.fine if fine else located.default
    found = compare.locate(
        located.cpp, session, labels, confidence, frame_size, view=view or (0, 0, 0)
    )
    compare.assert_same(found, python)
    return len(python)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    kinds=st.integers(1, 7),
    frame=st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    round_view=st.booleans(),
    noisy=st.booleans(),
)
def test_noise(
    located: Located,
    seed: int,
    height: int,
    width: int,
    kinds: int,
    frame: tuple[int, int],
    round_view: bool,
    noisy: bool,
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, kinds, (height, width)).astype(np.uint8)
    if not noisy:
        labels = cv2.medianBlur(labels, 3)
    confidence = rng.random((height, width), np.float32)
    view = (frame[1] * 0.5, frame[0] * 0.45, min(frame) * 0.6) if round_view else None
    check(located, labels, confidence, frame, view=view)


def drawing(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Bars from the border with shafts, wrists and open or closed jaws; some cross or touch."""
    labels = np.zeros((height, width), np.uint8)
    if rng.random() < 0.5:
        cv2.circle(labels, (width // 2, height // 2), height // 4, 3, -1)
    for _ in range(int(rng.integers(1, 5))):
        side = rng.random()
        start = np.array([rng.random() * width, 0 if side < 0.5 else height - 1])
        if side > 0.7:
            start = np.array([0 if side < 0.85 else width - 1, rng.random() * height])
        end = np.array([rng.random() * width, rng.random() * height])
        thick = int(rng.integers(2, max(3, height // 10)))
        wrist = start + 0.7 * (end - start)
        parts = [2, 4, 5] if rng.random() < 0.7 else [1, 1, 1] if rng.random() < 0.7 else [6, 6, 6]
        for (a, b), label in zip(((start, wrist), (wrist, end)), parts, strict=False):
            cv2.line(labels, a.astype(int).tolist(), b.astype(int).tolist(), label, thick)
        direction = (end - start) / (np.linalg.norm(end - start) + 1e-6)
        normal = np.array([-direction[1], direction[0]])
        for sign in (-1, 1):
            tip = end + direction * height * 0.15 + sign * normal * height * rng.random() * 0.1
            cv2.line(
                labels,
                end.astype(int).tolist(),
                tip.astype(int).tolist(),
                parts[2],
                max(1, thick // 3),
            )
    return labels


@pytest.mark.parametrize("seed", range(120))
def test_drawn_instruments(located: Located, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = int(rng.integers(40, 300)), int(rng.integers(40, 300))
    labels = drawing(rng, height, width)
    confidence = rng.random((height, width), np.float32) if seed % 3 else None
    frame = (int(rng.integers(30, 2200)), int(rng.integers(30, 3000)))
    view = (frame[1] * 0.48, frame[0] * 0.5, min(frame) * 0.5) if seed % 4 == 0 else None
    check(located, labels, confidence, frame, view=view, fine=seed % 2 == 0)


def test_drawings_show_every_case(located: Located) -> None:
    """The maps above are no empty exercise: tips, both jaws, entries and joined rows occur."""
    seen: dict[str, int] = {}
    for seed in range(120):
        rng = np.random.default_rng(seed)
        labels = drawing(rng, int(rng.integers(40, 300)), int(rng.integers(40, 300)))
        for one in locate(labels, None, TABLE, (480, 640), LEGACY):
            seen[f"tips{len(one.tips)}"] = seen.get(f"tips{len(one.tips)}", 0) + 1
            seen[f"class{one.class_id}"] = seen.get(f"class{one.class_id}", 0) + 1
            seen[f"entry{one.entry is not None}"] = seen.get(f"entry{one.entry is not None}", 0) + 1
    assert {"tips1", "tips2", "class1", "class2", "class6", "entryTrue"} <= set(seen), seen


def test_touching_instruments_come_apart_alike(located: Located) -> None:
    labels = np.zeros((120, 160), np.uint8)
    labels[30:45, :80] = 2
    labels[25:60, 70:95] = 5
    labels[40:56, 90:] = 2
    assert check(located, labels, None, (480, 640), fine=False) == 2


def test_every_sample_label_map(located: Located, samples: Path) -> None:
    maps = sorted((samples / "cholec_instance_seg_sample").rglob("*semantic*/*.png"))
    if not maps:
        pytest.skip("the sample has no rendered maps")
    found = 0
    for file in maps:
        image: Any = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        labels = np.searchsorted(np.unique(image), image).astype(np.uint8) % 7
        for size in ((image.shape[0], image.shape[1]), (256, 320), (255, 319)):
            small = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST)
            found += check(located, small, None, (480, 854))
    assert found > len(maps)


def test_rows_with_a_stride(located: Located) -> None:
    rng = np.random.default_rng(5)
    wide = drawing(rng, 100, 150)
    part = wide[:, :101]
    found = compare.locate(located.cpp, located.default, part, None, (200, 202))
    compare.assert_same(found, locate(np.ascontiguousarray(part), None, TABLE, (200, 202), LEGACY))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_confidence_that_is_not_finite_is_refused_alike(located: Located, value: float) -> None:
    labels = drawing(np.random.default_rng(5), 100, 150)
    confidence = np.ones(labels.shape, np.float32)
    confidence[70, 149] = value
    with pytest.raises(ArgumentError, match="confidence holds a value that is not") as python:
        locate(labels, confidence, TABLE, (200, 300), LEGACY)
    with pytest.raises(located.cpp.TrocarFailure, match="confidence holds a value that") as native:
        compare.locate(located.cpp, located.default, labels, confidence, (200, 300))
    assert native.value.code == python.value.code
