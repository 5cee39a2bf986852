"""Pictures on disk: the one place that decodes and encodes them, with errors that name the file.

image = read_image(Path("frame.png"))   # [H, W, 3] uint8 RGB
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import write_atomic
from trocar.contract.errors import DataError
from trocar.contract.media.stated_size import check_size
from trocar.contract.text.words import natural_key

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
# OpenCV before 4.11 knows no other order than BGR; swapping costs as much as reading the file.
_READ_AS_RGB: int = getattr(cv2, "IMREAD_COLOR_RGB", 0)


def list_images(folder: Path) -> list[Path]:
    """All pictures under a folder, without hidden files and ``__MACOSX``; none if it is missing.

    The order is that of the paths, numbers in them by their value: ``9.png`` before ``10.png``.
    Links to folders are followed, a folder that several lead to is listed once.

    Raises:
        DataError: The folder cannot be listed.
    """
    files: list[Path] = []
    visited: set[tuple[int, int]] = set()

    def fail(error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            return
        raise DataError(f"cannot list {folder}: {error}", remedy="check the path") from error

    for place, folders, names in os.walk(folder, followlinks=True, onerror=fail):
        # Links may lead back up; a folder that was visited is not visited again.
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        here = Path(place)
        files += [
            here / name
            for name in names
            if Path(name).suffix.lower() in IMAGE_SUFFIXES
            and not is_hidden((here / name).relative_to(folder))
        ]
    return sorted(files, key=natural_key)


def is_hidden(relative: Path) -> bool:
    """Whether a path lies in a hidden folder or in the leavings of a macOS archive."""
    return any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Reads a picture as ``[H, W, 3]`` uint8 RGB; grey is spread, alpha is dropped.

    Raises:
        DataError: The file is missing, truncated, or no picture.
    """
    return decode_image(read_bytes(path), source=str(path))


def decode_image(data: bytes, *, source: str) -> NDArray[np.uint8]:
    """Decodes a picture to ``[H, W, 3]`` uint8 RGB; grey is spread, alpha is dropped.

    Args:
        data: The file's bytes.
        source: Its name, for errors.

    Raises:
        DataError: The data are truncated, no picture, or several pictures in one file.
    """
    if _may_hold_several(data) and len(pages := decode_images(data, source=source)) > 1:
        raise DataError(
            f"{source} holds {len(pages)} pictures, expected one",
            remedy="save each as a file of its own; trocar run takes them as frames of a film",
        )
    decoded = _decoded(data, _READ_AS_RGB or cv2.IMREAD_COLOR, source)
    rgb = decoded if _READ_AS_RGB else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return np.asarray(rgb, np.uint8)


def decode_images(data: bytes, *, source: str) -> list[NDArray[np.uint8]]:
    """Decodes every picture of a file, ``[H, W, 3]`` uint8 RGB each: TIFF pages, animations.

    Raises:
        DataError: The data are truncated, or no picture.
    """
    check_whole(data, source=source)
    check_size(data, source=source)
    good = False
    pages: Sequence[cv2.typing.MatLike] = ()
    try:
        if data:
            good, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError) as error:
        raise not_a_picture(source) from error
    if not good or not len(pages):
        raise not_a_picture(source)
    return [np.asarray(cv2.cvtColor(page, cv2.COLOR_BGR2RGB), np.uint8) for page in pages]


def decode_unchanged(data: bytes, *, source: str) -> NDArray[np.generic]:
    """Decodes a picture as it is: depth kept, ``[H, W]`` or ``[H, W, C]`` in the order RGB(A).

    Raises:
        DataError: The data are truncated, or no picture.
    """
    decoded = _decoded(data, cv2.IMREAD_UNCHANGED, source)
    if decoded.ndim == 3 and decoded.shape[2] in (3, 4):
        code = cv2.COLOR_BGR2RGB if decoded.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        decoded = cv2.cvtColor(decoded, code)
    return np.ascontiguousarray(decoded)


def write_picture(path: Path, picture: NDArray[np.uint8], *, compression: int = 3) -> None:
    """Writes ``[H, W]`` grey or ``[H, W, 3]`` RGB uint8, whole or not at all; the suffix decides.

    Raises:
        DataError: No encoder for the suffix.
        OSError: The disk is full or not writable.
    """
    write_atomic(path, encode_picture(picture, path.suffix, compression=compression))


def encode_picture(
    picture: NDArray[np.uint8], suffix: str, *, compression: int = 3, quality: int = 95
) -> bytes:
    """Encodes ``[H, W]`` grey or ``[H, W, 3]`` RGB uint8 as the format of a file suffix.

    Args:
        picture: Grey or RGB.
        suffix: ``.png``, ``.jpg`` or another that OpenCV writes.
        compression: Of PNG, 0 (fast) to 9 (small).
        quality: Of JPEG, 0 to 100.

    Raises:
        DataError: No encoder for the suffix.
    """
    shown = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    options = {
        ".png": [cv2.IMWRITE_PNG_COMPRESSION, compression],
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, quality],
    }.get(suffix.lower(), [])
    refused = DataError(f"cannot encode a picture as {suffix!r}", remedy="use .png or .jpg")
    try:
        good, data = cv2.imencode(suffix, shown, options)
    except cv2.error as error:
        raise refused from error
    if not good:
        raise refused
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


def not_a_picture(source: str) -> DataError:
    """The error for data that no decoder takes."""
    return DataError(
        f"{source} cannot be decoded as a picture", remedy="save it as PNG or JPEG, or remove it"
    )


def check_whole(data: bytes, *, source: str) -> None:
    """Refuses PNG and JPEG data whose end marker is missing.

    Decoders fill what is missing of a truncated picture with grey and report no error.

    Raises:
        DataError: The end marker is missing.
    """
    png = data[:8] == PNG_SIGNATURE and b"IEND" not in data[-16:]
    jpeg = data[:3] == _JPEG_SIGNATURE and b"\xff\xd9" not in data[-4096:]
    if png or jpeg:
        raise DataError(
            f"{source} is truncated: its end marker is missing after {len(data)} bytes",
            remedy="copy or download the file again",
        )


def _may_hold_several(data: bytes) -> bool:
    """Whether the data are TIFF, GIF, animated PNG or animated WebP; plain PNG and JPEG are not."""
    if data[:4] in (b"II*\0", b"MM\0*") or data[:4] == b"GIF8":
        return True
    if data[:8] == PNG_SIGNATURE:
        return b"acTL" in data[:200]
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP" and b"ANIM" in data[:64]


def _decoded(data: bytes, mode: int, source: str) -> cv2.typing.MatLike:
    check_whole(data, source=source)
    check_size(data, source=source)
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data else None
    except (cv2.error, MemoryError) as error:  # A stated size beyond OpenCV's limit.
        raise not_a_picture(source) from error
    if decoded is None:
        raise not_a_picture(source)
    return np.asarray(decoded)
