"""The size that the header of a picture states, read before anything is decoded.

stated_size(Path("frame.png").read_bytes())   # (1920, 1080): width and height
"""

from __future__ import annotations

import struct

from trocar.contract.errors import DataError

MAX_PIXELS = 1 << 28
"""Most pixels of one picture: 16384x16384, 800 MB as RGB."""
_DEFLATE = 1040  # The method of PNG packs at most 1032 bytes into one.
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_TIFF_SIZE = {256: 0, 257: 1}


def check_size(data: bytes, *, source: str) -> None:
    """Refuses a picture that states more pixels than memory or its data can hold.

    Args:
        data: The file's bytes.
        source: Its name, for errors.

    Raises:
        DataError: The size is more than `MAX_PIXELS`, or a PNG's data are too few for it.
    """
    size = stated_size(data)
    if size is None:
        return
    pixels = size[0] * size[1]
    if pixels > MAX_PIXELS:
        raise DataError(
            f"{source} states {size[0]}x{size[1]} pixels, expected {MAX_PIXELS} at most",
            remedy="copy the file again, or save the picture smaller",
        )
    if data[:4] == b"\x89PNG" and pixels > 8 * _DEFLATE * len(data):
        raise DataError(
            f"{source} states {size[0]}x{size[1]} pixels, its {len(data)} bytes cannot hold them",
            remedy="copy the file again",
        )


def stated_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of PNG, JPEG, BMP, GIF or TIFF; ``None`` if it is not found."""
    try:
        if data[:4] == b"\x89PNG":
            return struct.unpack(">II", data[16:24])
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
        if data[:2] == b"BM":
            width, height = struct.unpack("<ii", data[18:26])
            return abs(width), abs(height)
        if data[:4] == b"GIF8":
            return struct.unpack("<HH", data[6:10])
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff(data, "<" if data[:2] == b"II" else ">")
    except struct.error:  # The header breaks off; the decoder says so.
        return None
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        at += 2 + length if data[at + 1] != 0xFF else 1
    return None


def _tiff(data: bytes, order: str) -> tuple[int, int] | None:
    (start,) = struct.unpack(f"{order}I", data[4:8])
    (count,) = struct.unpack(f"{order}H", data[start : start + 2])
    size = [0, 0]
    for number in range(min(count, 256)):
        entry = data[start + 2 + 12 * number : start + 14 + 12 * number]
        tag, kind = struct.unpack(f"{order}HH", entry[:4])
        if tag in _TIFF_SIZE:
            format_, end = ("H", 10) if kind == 3 else ("I", 12)
            size[_TIFF_SIZE[tag]] = struct.unpack(f"{order}{format_}", entry[8:end])[0]
    return (size[0], size[1]) if all(size) else None
