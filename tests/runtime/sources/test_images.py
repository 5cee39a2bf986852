"""Folders of images: order, and images that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trocar.contract.errors import SourceError
from trocar.contract.media.pictures import encode_picture, write_picture
from trocar.runtime.sources.images import ImageFolder


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 32, 3)).astype(np.uint8)


def test_images_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for index in (2, 0, 1):
        write_picture(tmp_path / f"{index}.png", noise(index))
    (tmp_path / ".hidden.png").write_bytes(b"")
    frames = list(ImageFolder(tmp_path, fps=10.0).frames())
    assert [np.array_equal(f.image, noise(i)) for i, f in enumerate(frames)] == [True] * 3
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_truncated_image_is_an_error_of_the_source(tmp_path: Path, suffix: str) -> None:
    data = encode_picture(noise(0), suffix)
    (tmp_path / f"cut{suffix}").write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=f"cut{suffix} is truncated") as caught:
        list(ImageFolder(tmp_path).frames())
    assert caught.value.remedy


def test_numbers_without_padding_and_files_of_several_images(tmp_path: Path) -> None:
    for index in (1, 2, 10, 11):
        write_picture(tmp_path / f"f{index}.png", noise(index))
    pages = [Image.fromarray(noise(seed)) for seed in (3, 4)]
    pages[0].save(tmp_path / "f3.tif", save_all=True, append_images=pages[1:])
    frames = list(ImageFolder(tmp_path).frames())
    order = [next(s for s in range(12) if np.array_equal(f.image, noise(s))) for f in frames]
    assert order == [1, 2, 3, 4, 10, 11]
    assert [frame.index for frame in frames] == list(range(6))
