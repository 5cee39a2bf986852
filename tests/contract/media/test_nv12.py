"""NV12 pictures: their conversion is FFmpeg's, the planes are the decoder's, faults are named."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numbered_videos import write as write_numbered
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError
from trocar.contract.media.nv12 import (
    COLOURS,
    Nv12Picture,
    colour_matrix,
    nv12_from_rgb,
    rgb_from_nv12,
    rgb_of,
    sampled,
)
from trocar.contract.media.video.conversion import nv12_from_frame, rgb_from_frame
from trocar.contract.media.video.decoder import VideoDecoder

MATRICES = {"bt709": 1, "bt601": 5, "bt2020": 9}


def planes(height: int, width: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Any luma, and chroma that stays inside the colours that RGB has."""
    draw = np.random.default_rng(seed)
    luma = draw.integers(0, 256, (height, width)).astype(np.uint8)
    chroma = draw.integers(100, 156, (-(-height // 2), -(-width // 2), 2)).astype(np.uint8)
    return luma, chroma


def ffmpeg_frame(luma: NDArray[np.uint8], chroma: NDArray[np.uint8], colour: str) -> Any:
    """A frame of PyAV as a decoder of 4:2:0 gives it."""
    matrix, limits = colour.split("-")
    height, width = luma.shape
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, values in zip(frame.planes, (luma, chroma[..., 0], chroma[..., 1]), strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : values.shape[1]] = values
        plane.update(rows.tobytes())
    frame.colorspace = MATRICES[matrix]
    frame.color_range = 2 if limits == "full" else 1
    return frame


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_is_converted_as_ffmpeg_does(colour: str) -> None:
    luma, _ = planes(48, 64)
    # One chroma value: FFmpeg may interpolate chroma, this conversion repeats it.
    for u, v in ((128, 128), (100, 150), (150, 110)):
        chroma = np.broadcast_to(np.array([u, v], np.uint8), (24, 32, 2)).copy()
        own = rgb_from_nv12(luma, chroma, colour).astype(int)
        theirs = rgb_from_frame(ffmpeg_frame(luma, chroma, colour)).astype(int)
        # FFmpeg's fast conversion loses up to three levels.
        assert np.abs(own - theirs).max() <= 3


@pytest.mark.parametrize("colour", COLOURS)
def test_the_matrix_says_what_the_integers_do(colour: str) -> None:
    luma, chroma = planes(6, 8)
    matrix = colour_matrix(colour).astype(np.float64)
    wide = chroma.repeat(2, axis=0).repeat(2, axis=1)
    yuv1 = np.concatenate([luma[..., None], wide, np.ones((6, 8, 1))], axis=2)
    exact = np.clip(yuv1 @ matrix.T, 0, 255)
    assert np.abs(rgb_from_nv12(luma, chroma, colour) - exact).max() <= 0.51


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (1, 1), (5, 4)])
def test_rgb_goes_there_and_back(size: tuple[int, int]) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (*size, 1)).astype(np.uint8).repeat(3, axis=2)
    for colour in COLOURS:
        picture = nv12_from_rgb(grey, colour)
        assert picture.shape == (*size, 3)
        assert np.abs(picture.rgb.astype(int) - grey).max() <= 2


@pytest.mark.parametrize("size", [(30, 40), (31, 41)])
def test_sampled_pixels_are_those_of_the_converted_picture(size: tuple[int, int]) -> None:
    luma, chroma = planes(*size)
    picture = Nv12Picture(luma=luma, chroma=chroma, colour="bt709-limited")
    rows, columns = slice(2, None, 5), slice(1, None, 3)
    np.testing.assert_array_equal(sampled(picture, rows, columns), picture.rgb[rows, columns])
    np.testing.assert_array_equal(sampled(picture.rgb, rows, columns), picture.rgb[rows, columns])


@pytest.mark.parametrize(
    ("height", "matrix"), [(719, "bt601"), (720, "bt709"), (1080, "bt709"), (576, "bt601")]
)
def test_untagged_video_is_bt709_from_720_lines_on(height: int, matrix: str) -> None:
    frame = av.VideoFrame(64, height, "yuv420p")
    for plane, value in zip(frame.planes, (120, 100, 160), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    picture = nv12_from_frame(frame)
    assert picture is not None
    assert picture.colour == f"{matrix}-limited"
    own = rgb_from_nv12(picture.luma, picture.chroma, picture.colour).astype(int)
    assert np.abs(own - rgb_from_frame(frame)).max() <= 3


def test_the_decoder_gives_its_own_planes(tmp_path: Path) -> None:
    """Also where rows lie apart; RGB is FFmpeg's conversion, made when it is read."""
    for number, size in enumerate([(96, 160), (96, 126)]):
        path = tmp_path / f"{number}.mp4"
        write_numbered(path, range(2), size=size)
        with VideoDecoder(str(path)) as decoder:
            frame = next(decoder.frames())
            picture = frame.nv12
            assert picture is not None
            reference = frame.picture.reformat(format="nv12").to_ndarray()
            np.testing.assert_array_equal(picture.luma, reference[: size[0]])
            np.testing.assert_array_equal(
                picture.chroma.reshape(size[0] // 2, -1), reference[size[0] :]
            )
            np.testing.assert_array_equal(picture.rgb, frame.image)
            assert picture.rgb is rgb_of(picture)


@pytest.mark.parametrize(
    "settings", [{"pixels": "yuv444p"}, {"pixels": "yuv420p10le", "codec": "libx265"}]
)
def test_other_pixels_are_no_nv12(tmp_path: Path, settings: dict[str, str]) -> None:
    path = tmp_path / "a.mp4"
    write_numbered(path, range(1), **settings)
    with VideoDecoder(str(path)) as decoder:
        frame = next(decoder.frames())
        assert frame.nv12 is None
        assert frame.image.shape == (96, 160, 3)


def test_turned_video_is_no_nv12(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_numbered(path, range(1), rotation=90)
    with VideoDecoder(str(path)) as decoder:
        assert next(decoder.frames()).nv12 is None


def test_an_unknown_matrix_is_no_nv12() -> None:
    frame = av.VideoFrame(16, 16, "yuv420p")
    frame.colorspace = 4  # FCC
    assert nv12_from_frame(frame) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "bt470"}, r"colour of NV12 is 'bt470', expected one of bt709-limited"),
        ({"chroma": np.zeros((2, 4, 2), np.uint8)}, r"chroma \[2, 4, 2\], expected .*\[3, 4, 2\]"),
        ({"luma": np.zeros((5, 7, 3), np.uint8)}, r"luma is uint8 \[5, 7, 3\], expected uint8"),
        ({"chroma": np.zeros((3, 4, 2), np.float32)}, "chroma is float32"),
        ({"luma": [[1]]}, "luma is list"),
        ({"luma": np.zeros((0, 7), np.uint8)}, "sides above 0"),
    ],
)
def test_planes_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "luma": np.zeros((5, 7), np.uint8),
        "chroma": np.zeros((3, 4, 2), np.uint8),
        "colour": "bt709-limited",
    }
    Nv12Picture(**given)
    with pytest.raises(ArgumentError, match=message) as caught:
        Nv12Picture(**{**given, **changes})
    assert caught.value.remedy


def test_the_factors_are_exact_in_float32() -> None:
    """So both languages build the same matrix."""
    for colour in COLOURS:
        assert all(
            Fraction(float(value)).denominator <= 65536
            for value in colour_matrix(colour)[:, :3].flat
        )
