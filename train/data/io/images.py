"""Reads raw masks, with palette indices, small bit depths and alpha as in the file.

mask = read_raw_mask(Path("mask.png"))   # [H, W] uint8
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import (
    PNG_SIGNATURE,
    check_whole,
    decode_unchanged,
    not_a_picture,
    read_bytes,
)

_GREY, _PALETTE = 0, 3  # colour types of the PNG header


@dataclass(frozen=True, kw_only=True)
class RawMask:
    """A mask as stored in its file.

    Attributes:
        values: ``[H, W]`` uint8 grey values or palette indices, ``[H, W, 3]`` RGB or
            ``[H, W, 4]`` RGBA.
        palette: ``[N, 3]`` uint8 colours of a palette image's indices; ``None`` for others.
    """

    values: NDArray[np.uint8]
    palette: NDArray[np.uint8] | None = None


def read_raw_mask(path: Path) -> RawMask:
    """Reads a mask without interpreting it; the channels are in the order RGB(A).

    Palette images give their indices, and images of 1, 2 or 4 bits their original values; OpenCV
    would scale them to 0..255.

    Raises:
        DataError: The file is missing, truncated, no image, or holds values above 255.
    """
    data = read_bytes(path)
    check_whole(data, source=str(path))
    if data[:8] == PNG_SIGNATURE and len(data) > 25 and data[25] == _PALETTE:
        return _palette_mask(path, data)
    decoded = decode_unchanged(data, source=str(path))
    if decoded.dtype != np.uint8:
        top = int(decoded.max())
        if top > 255:
            raise DataError(
                f"{path} has values up to {top}, expected 0 to 255",
                remedy="save the mask with 8 bits per pixel",
            )
        decoded = decoded.astype(np.uint8)
    if data[:8] == PNG_SIGNATURE and data[25] == _GREY and data[24] < 8:
        decoded = decoded // np.uint8(255 // ((1 << data[24]) - 1))
    return RawMask(values=np.ascontiguousarray(decoded, np.uint8))


def _palette_mask(path: Path, data: bytes) -> RawMask:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            colours = np.asarray(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
            return RawMask(values=np.array(picture, np.uint8), palette=colours)
    except (OSError, SyntaxError, ValueError) as error:
        raise not_a_picture(str(path)) from error
