from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import (
    decode_image,
    decode_images,
    decode_unchanged,
    encode_picture,
    list_images,
    read_image,
    write_picture,
)


@pytest.fixture
def picture(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (24, 40, 3), np.uint8)


def test_a_png_comes_back_as_it_was(tmp_path: Path, picture: np.ndarray) -> None:
    write_picture(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    write_picture(tmp_path / "g.png", picture[..., 0])
    grey = read_image(tmp_path / "g.png")
    np.testing.assert_array_equal(grey, np.repeat(picture[..., :1], 3, 2))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_truncated_picture_is_refused_by_name(picture: np.ndarray, suffix: str) -> None:
    data = encode_picture(picture, suffix)
    with pytest.raises(DataError, match=r"frame\d is truncated: .* after \d+ bytes"):
        decode_image(data[: len(data) // 2], source="frame7")
    with pytest.raises(DataError, match="truncated"):
        decode_unchanged(data[: len(data) // 2], source="frame7")


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be decoded"):
        decode_image(b"no picture", source="x")
    with pytest.raises(DataError, match="cannot be decoded"):
        decode_image(b"", source="x")
    (tmp_path / "e.png").touch()
    with pytest.raises(DataError, match="0 bytes"):
        read_image(tmp_path / "e.png")
    with pytest.raises(DataError, match="cannot read"):
        read_image(tmp_path / "missing.png")


@pytest.mark.parametrize("channels", [3, 4])
def test_depth_and_channels_are_kept(rng: np.random.Generator, channels: int) -> None:
    values = rng.integers(0, 65536, (5, 6, channels), np.uint16)
    swap = cv2.COLOR_RGB2BGR if channels == 3 else cv2.COLOR_RGBA2BGRA
    data = bytes(cv2.imencode(".png", cv2.cvtColor(values, swap))[1])
    back = decode_unchanged(data, source="x")
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back, values)


def test_an_unknown_suffix_is_refused_and_leaves_nothing(tmp_path: Path, picture) -> None:
    with pytest.raises(DataError, match=r"cannot encode a picture as '\.nothing'"):
        write_picture(tmp_path / "a.nothing", picture)
    assert not list(tmp_path.iterdir())


def test_jpeg_quality_and_png_compression_are_heeded(picture: np.ndarray) -> None:
    flat = np.zeros((64, 64, 3), np.uint8)
    assert len(encode_picture(flat, ".png", compression=0)) > len(
        encode_picture(flat, ".png", compression=9)
    )
    assert len(encode_picture(picture, ".jpg", quality=20)) < len(
        encode_picture(picture, ".jpg", quality=95)
    )


@pytest.mark.parametrize(
    ("suffix", "options"), [("tif", {}), ("gif", {}), ("webp", {"lossless": True}), ("png", {})]
)
def test_several_pictures_in_one_file_are_all_read_or_refused(
    tmp_path: Path, suffix: str, options: dict
) -> None:
    path = tmp_path / f"stack.{suffix}"
    pages = [Image.fromarray(np.full((8, 9, 3), 40 * i + 20, np.uint8)) for i in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    assert [p[0, 0, 1] for p in decode_images(path.read_bytes(), source="x")] == [20, 60, 100]
    with pytest.raises(DataError, match=r"stack\.\w+ holds 3 pictures, expected one"):
        read_image(path)
    pages[0].save(path)
    assert read_image(path).shape == (8, 9, 3)


def test_pictures_are_listed_by_their_numbers(tmp_path: Path) -> None:
    names = ["f1.png", "f2.png", "f10.png", "f010.png", "a/9.png", "a/11.png", ".h/1.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listed = [str(p.relative_to(tmp_path)) for p in list_images(tmp_path)]
    assert listed == ["a/9.png", "a/11.png", "f1.png", "f2.png", "f010.png", "f10.png"]
