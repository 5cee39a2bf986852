"""Reads and writes pictures and raw masks, with errors that name the file.

image = read_image(Path("frame.png"))   # [H, W, 3] uint8 RGB
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import write_atomic
from trocar.contract.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# OpenCV before 4.11 knows no other order than BGR; swapping costs as much as reading the file.
_AS_RGB: int = getattr(cv2, "IMREAD_COLOR_RGB", 0)
_GREY, _PALETTE = 0, 3  # colour types of the PNG header


@dataclass(frozen=True, kw_only=True)
class RawMask:
    """A mask as its file holds it.

    Attributes:
        values: ``[H, W]`` uint8 grey values or palette indices, ``[H, W, 3]`` RGB or
            ``[H, W, 4]`` RGBA.
        palette: ``[N, 3]`` uint8 colours of a palette picture's indices; ``None`` for others.
    """

    values: NDArray[np.uint8]
    palette: NDArray[np.uint8] | None = None


def list_images(folder: Path) -> list[Path]:
    """All pictures under a folder, sorted by path; hidden files and ``__MACOSX`` are passed over.

    Raises:
        DataError: The folder cannot be listed.
    """
    try:
        found = [
            file
            for file in folder.rglob("*")
            if file.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(file.relative_to(folder))
        ]
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error}", remedy="check the path") from error
    return sorted(found)


def is_hidden(relative: Path) -> bool:
    """Whether a path lies in a hidden folder or in the leavings of a macOS archive."""
    return any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Reads a picture as ``[H, W, 3]`` uint8 RGB; grey is spread, alpha is dropped.

    Raises:
        DataError: The file is missing, truncated, or no picture.
    """
    data = read_bytes(path)
    _check_end(path, data)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_RGB or cv2.IMREAD_COLOR)
    if decoded is None:
        raise _not_a_picture(path)
    return np.asarray(decoded if _AS_RGB else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def read_raw_mask(path: Path) -> RawMask:
    """Reads a mask without interpreting it; the channels come in the order RGB(A).

    Palette pictures keep their indices, and pictures of 1, 2 or 4 bits their small numbers:
    OpenCV would spread both over 0..255.

    Raises:
        DataError: The file is missing, truncated, no picture, or holds values above 255.
    """
    data = read_bytes(path)
    _check_end(path, data)
    if data[:8] == _PNG and len(data) > 25 and data[25] == _PALETTE:
        return _palette_mask(path, data)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise _not_a_picture(path)
    if decoded.dtype != np.uint8:
        top = int(decoded.max())
        if top > 255:
            raise DataError(
                f"{path} holds values up to {top}; a mask's values must fit 0..255",
                remedy="save the mask with 8 bits a pixel",
            )
        decoded = decoded.astype(np.uint8)
    if data[:8] == _PNG and data[25] == _GREY and data[24] < 8:
        decoded = decoded // np.uint8(255 // ((1 << data[24]) - 1))
    if decoded.ndim == 3:
        code = cv2.COLOR_BGR2RGB if decoded.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        decoded = cv2.cvtColor(decoded, code)
    return RawMask(values=np.ascontiguousarray(decoded))


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Writes ``[H, W]`` grey or ``[H, W, 3]`` RGB as PNG, whole or not at all.

    Raises:
        OSError: The disk is full or not writable.
    """
    write_atomic(path, encode(picture, ".png"))


def encode(picture: NDArray[np.uint8], suffix: str) -> bytes:
    """Encodes ``[H, W]`` grey or ``[H, W, 3]`` RGB uint8 as the format of a file suffix."""
    shown = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    good, data = cv2.imencode(suffix, shown)
    if not good:
        raise DataError(f"cannot encode a picture as {suffix}", remedy="use .png or .jpg")
    return bytes(data)


def read_bytes(path: Path) -> bytes:
    """Reads a whole file.

    Raises:
        DataError: It is missing, unreadable or empty.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"cannot read {path}: {reason}", remedy="check the path and its permissions"
        ) from error
    if not data:
        raise DataError(f"{path} is empty (0 bytes)", remedy="copy or download the file again")
    return data


def _palette_mask(path: Path, data: bytes) -> RawMask:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            colours = np.asarray(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
            return RawMask(values=np.array(picture, np.uint8), palette=colours)
    except (OSError, SyntaxError, ValueError) as error:
        raise _not_a_picture(path) from error


def _check_end(path: Path, data: bytes) -> None:
    # Decoders fill what is missing of a truncated picture with grey and say nothing.
    cut = (data[:8] == _PNG and b"IEND" not in data[-16:]) or (
        data[:3] == _JPEG and b"\xff\xd9" not in data[-4096:]
    )
    if cut:
        raise DataError(
            f"{path} is truncated: its end marker is missing after {len(data)} bytes",
            remedy="copy or download the file again",
        )


def _not_a_picture(path: Path) -> DataError:
    return DataError(
        f"{path} cannot be decoded as a picture", remedy="save it as PNG or JPEG, or remove it"
    )
