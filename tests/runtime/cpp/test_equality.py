"""The same bundles and frames give the same answers in Python and C++."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import classifier_bundle as bundles
import compare_languages as compare
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from trocar.runtime.session import Session

SIZES = [(64, 80), (96, 120), (63, 79), (1, 1), (1, 7), (480, 854), (1080, 1920), (101, 37)]


@pytest.fixture(scope="module")
def python(tiny_bundle: Path) -> Iterator[Session]:
    with Session.open(tiny_bundle, threads=1) as session:
        yield session


@pytest.fixture(scope="module")
def native(
    cpp: ModuleType, library: str, tiny_bundle: Path, onnxruntime_library: str
) -> Iterator[Any]:
    session = cpp.Session(library, str(tiny_bundle), library=onnxruntime_library, threads=1)
    yield session
    session.close()


def assert_equal(got: dict[str, Any], python: Session, frame: NDArray[np.uint8]) -> None:
    expected = python.run(frame)
    assert expected.labels is not None
    np.testing.assert_array_equal(got["labels"], expected.labels)
    assert expected.confidence is not None
    np.testing.assert_array_equal(got["confidence"], expected.confidence.astype(np.float32))
    compare.assert_same(got["instruments"], expected.instruments)


def test_info(native: Any, python: Session) -> None:
    info = native.info
    assert (info.network_height, info.network_width) == (64, 80)
    assert (info.task, info.class_count, info.golden) == (0, 3, 1)
    assert info.name.decode() == python.manifest.name
    assert (info.backend, info.device, info.precision) == (b"onnxruntime", b"cpu", b"fp32")
    assert info.library.startswith(b"ONNX Runtime 1.")


@pytest.mark.parametrize("size", SIZES)
def test_frames_of_any_size(
    native: Any, python: Session, tiny: ModuleType, size: tuple[int, int]
) -> None:
    for shift in (0, 7):
        frame = tiny.tiny_frame(*size, shift=shift)
        assert_equal(native.run(frame)[0], python, frame)


def test_instruments_are_found(native: Any, tiny: ModuleType) -> None:
    assert len(native.run(tiny.tiny_frame(480, 854))[0]["instruments"]) == 2


def test_every_sample_frame(native: Any, python: Session, samples: Path) -> None:
    files = sorted((samples / "cholec_instance_seg_sample").rglob("*.png"))
    assert len(files) >= 10
    for file in files:
        frame = np.ascontiguousarray(cv2.imread(str(file), cv2.IMREAD_COLOR)[..., ::-1])
        assert_equal(native.run(frame)[0], python, frame)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_batches(native: Any, python: Session, tiny: ModuleType, count: int) -> None:
    frames = [tiny.tiny_frame(90, 110, shift=5 * i) for i in range(count)]
    for got, frame in zip(native.run(*frames), frames, strict=True):
        assert_equal(got, python, frame)


def test_rows_with_padding_and_bottom_up(native: Any, python: Session, tiny: ModuleType) -> None:
    frame = tiny.tiny_frame(96, 120)
    padded = np.zeros((96, 131, 3), np.uint8)
    padded[:, :120] = frame
    assert_equal(native.run(padded[:, :120])[0], python, frame)
    turned = np.ascontiguousarray(frame[::-1])
    assert_equal(native.run(turned[::-1])[0], python, frame)


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ("bgr", cv2.COLOR_RGB2BGR),
        ("rgba", cv2.COLOR_RGB2RGBA),
        ("bgra", cv2.COLOR_RGB2BGRA),
    ],
)
def test_formats(native: Any, python: Session, tiny: ModuleType, form: str, code: int) -> None:
    frame = tiny.tiny_frame(97, 121)
    assert_equal(native.run(cv2.cvtColor(frame, code), form=form)[0], python, frame)


def test_grey(native: Any, python: Session, rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, (50, 61)).astype(np.uint8)
    assert_equal(native.run(grey, form="gray")[0], python, np.repeat(grey[..., None], 3, axis=2))


# Matrix of FFmpeg, whether the range is full, and the integers of trocar_yuv in its order.
YUV = [
    ("bt709", False, (76309, 16, 117489, 13975, 34925, 138438)),
    ("bt601", False, (76309, 16, 104597, 25675, 53279, 132201)),
    ("bt709", True, (65536, 0, 103206, 12276, 30679, 121609)),
    ("bt601", True, (65536, 0, 91881, 22553, 46802, 116130)),
    ("bt2020", False, (76309, 16, 110014, 12277, 42626, 140363)),
    ("bt2020", True, (65536, 0, 96639, 10784, 37444, 123299)),
]


def ffmpeg_rgb(nv12: NDArray[np.uint8], matrix: str, given: str) -> NDArray[np.uint8]:
    """FFmpeg's conversion, rounded as the standards say; its fast one makes 253 of white."""
    graph = av.filter.Graph()
    height, width = nv12.shape[0] * 2 // 3, nv12.shape[1]
    source = graph.add_buffer(width=width, height=height, format="nv12", time_base=Fraction(1, 25))
    flags = "accurate_rnd+full_chroma_int+bitexact"
    scale = graph.add(
        "scale", f"in_color_matrix={matrix}:in_range={given}:out_range=pc:flags={flags}"
    )
    form, sink = graph.add("format", "pix_fmts=rgb24"), graph.add("buffersink")
    source.link_to(scale)
    scale.link_to(form)
    form.link_to(sink)
    graph.configure()
    frame = av.VideoFrame.from_ndarray(nv12, format="nv12")
    frame.pts = 0
    source.push(frame)
    result: NDArray[np.uint8] = sink.pull().to_ndarray()
    return result


@pytest.mark.parametrize("yuv", range(len(YUV)))
def test_nv12(native: Any, python: Session, yuv: int) -> None:
    """The integers of trocar.h's NV12, written a second time, and FFmpeg's own conversion."""
    matrix, full, (luma, black, red_v, green_u, green_v, blue_u) = YUV[yuv]
    draw = np.random.default_rng(yuv)
    # Any luma; four areas of even chroma, because FFmpeg interpolates it and trocar.h does not.
    plane = draw.integers(0, 256, (96, 120)).astype(np.uint8)
    y = plane.astype(np.int64)
    u, v = (np.kron(draw.integers(90, 166, (2, 2)), np.ones((24, 30), int)) for _ in range(2))
    nv12 = np.concatenate([plane, np.stack([u, v], axis=2).reshape(48, 120).astype(np.uint8)])
    big_u, big_v = (np.kron(p.astype(np.int64) - 128, np.ones((2, 2), np.int64)) for p in (u, v))
    base = luma * (y - black) + 32768
    parts = [base + red_v * big_v, base - green_u * big_u - green_v * big_v, base + blue_u * big_u]
    rgb = np.clip(np.stack(parts, axis=2) >> 16, 0, 255).astype(np.uint8)
    assert_equal(native.run(np.ascontiguousarray(nv12), form="nv12", yuv=yuv)[0], python, rgb)
    expected = ffmpeg_rgb(nv12, matrix, "pc" if full else "tv")
    inner = np.kron(np.ones((2, 2), bool), np.pad(np.ones((32, 44), bool), 8))
    apart = np.abs(expected.astype(int) - rgb.astype(int))[inner]
    assert apart.max() <= 2


@pytest.mark.parametrize("size", [(64, 80), (480, 854), (1080, 1920), (30, 40)])
def test_labels_at_frame_size(native: Any, tiny: ModuleType, size: tuple[int, int]) -> None:
    frame = tiny.tiny_frame(*size)
    small = native.run(frame)[0]["labels"]
    large = native.run(frame, full=True)[0]["labels"]
    rows = (2 * np.arange(size[0]) + 1) * 64 // (2 * size[0])
    columns = (2 * np.arange(size[1]) + 1) * 80 // (2 * size[1])
    np.testing.assert_array_equal(large, small[rows][:, columns])
    # OpenCV chooses the other one of two equally near pixels in places; nothing else differs.
    theirs = cv2.resize(small, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    assert (large == theirs).mean() > 0.99


@pytest.mark.parametrize("half", [False, True])
def test_classification(
    cpp: ModuleType,
    library: str,
    onnxruntime_library: str,
    tmp_path: Path,
    rng: np.random.Generator,
    half: bool,
) -> None:
    path = bundles.make_classifier_bundle(tmp_path / "c.trocar", half=half)
    native = cpp.Session(library, str(path), library=onnxruntime_library, threads=1)
    assert (native.info.task, native.info.score_count, native.info.embedding_count) == (1, 4, 6)
    with Session.open(path, threads=1) as python:
        for size in ((24, 32), (37, 51), (1, 1)):
            frames = [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for _ in range(3)]
            outputs = python.infer(np.stack(frames))
            for i, got in enumerate(native.run(*frames)):
                for name in ("scores", "embedding"):
                    np.testing.assert_array_equal(got[name], outputs[name][i].astype(np.float32))
                assert len(got["instruments"]) == 0
    native.close()


def test_enrolled_classes(
    cpp: ModuleType,
    library: str,
    onnxruntime_library: str,
    tmp_path: Path,
    rng: np.random.Generator,
) -> None:
    path = bundles.make_classifier_bundle(tmp_path / "c.trocar", enrolled=3)
    native = cpp.Session(library, str(path), library=onnxruntime_library, threads=1)
    assert (native.info.score_count, native.info.class_count) == (7, 7)
    with Session.open(path, threads=1) as python:
        for count in (1, 2):
            frames = [rng.integers(0, 256, (24, 32, 3)).astype(np.uint8) for _ in range(count)]
            outputs = python.infer(np.stack(frames))
            for _ in range(2):
                for i, got in enumerate(native.run(*frames)):
                    np.testing.assert_array_equal(got["scores"], outputs["scores"][i])
    native.close()


def test_a_classifier_without_embedding(
    cpp: ModuleType, library: str, onnxruntime_library: str, tmp_path: Path
) -> None:
    path = bundles.make_classifier_bundle(tmp_path / "c.trocar", embedding=False)
    native = cpp.Session(library, str(path), library=onnxruntime_library, threads=1)
    assert (native.info.score_count, native.info.embedding_count) == (4, 0)
    native.close()


def test_a_bare_model_file(
    native: Any, cpp: ModuleType, library: str, tiny_bundle: Path, onnxruntime_library: str,
    python: Session, tiny: ModuleType,
) -> None:  # fmt: skip
    bare = cpp.Session(library, str(tiny_bundle / "model.onnx"), library=onnxruntime_library)
    assert bare.info.golden == 0
    frame = tiny.tiny_frame(90, 110)
    assert_equal(bare.run(frame)[0], python, frame)
    bare.close()


def test_too_short_an_array_keeps_the_first(native: Any, python: Session, tiny: ModuleType) -> None:
    frame = tiny.tiny_frame(96, 120)
    got = native.run(frame, capacity=1)[0]["instruments"]
    compare.assert_same(got, python.run(frame).instruments[:1])
