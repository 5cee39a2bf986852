"""Messages of OpenIGTLink, protocol version 1, which every implementation reads.

    parts = image_message("TrocarImage", np.zeros((480, 640, 3), np.uint8), stamp_ns=0)

A message is a list of buffers, so that pictures are not copied to make one.
The world of these messages is that of the frame: 1 mm is one pixel, and the centre of the top-left
pixel is the origin. Right in the picture is left of the patient (-R) and down is posterior (-A), so
that an axial view of 3D Slicer shows the picture upright. Source: the specification at
http://openigtlink.org/developers/spec.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from fastcrc.crc64 import ecma_182
from numpy.typing import NDArray

Buffer = bytes | memoryview
"""A part of a message."""

MAX_TEXT = 65535
"""Bytes of the text of a STRING message."""

_HEADER = struct.Struct(">H12s20sQQQ")
_IMAGE = struct.Struct(">HBBBB3H12f3H3H")
_UINT8, _LITTLE_ENDIAN, _RAS = 3, 2, 1
_UTF8 = 106


def image_message(name: str, pixels: NDArray[np.uint8], *, stamp_ns: int) -> list[Buffer]:
    """An IMAGE message: one slice in the plane S = 0.

    Args:
        name: Device name, at most 20 bytes of ASCII.
        pixels: ``[H, W]`` or ``[H, W, C]`` uint8, sides up to 65535.
        stamp_ns: Nanoseconds since 1970, UTC.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    head = _IMAGE.pack(
        *(1, channels, _UINT8, _LITTLE_ENDIAN, _RAS, width, height, 1),
        # Columns of the matrix: i, j, k, and the centre of the image (not of its first pixel).
        *(-1, 0, 0, 0, -1, 0, 0, 0, 1, -(width - 1) / 2, -(height - 1) / 2, 0),
        *(0, 0, 0, width, height, 1),
    )
    data = np.ascontiguousarray(pixels).reshape(-1).data
    return _message("IMAGE", name, [head, data], stamp_ns=stamp_ns)


def transform_message(name: str, matrix: NDArray[np.float64], *, stamp_ns: int) -> list[Buffer]:
    """A TRANSFORM message.

    Args:
        name: Device name, at most 20 bytes of ASCII.
        matrix: ``[3, 4]``: rotation and position in mm.
        stamp_ns: Nanoseconds since 1970, UTC.
    """
    return _message("TRANSFORM", name, [matrix.T.astype(">f4").tobytes()], stamp_ns=stamp_ns)


def string_message(name: str, text: str, *, stamp_ns: int) -> list[Buffer]:
    """A STRING message in UTF-8.

    Args:
        name: Device name, at most 20 bytes of ASCII.
        text: At most `MAX_TEXT` bytes.
        stamp_ns: Nanoseconds since 1970, UTC.
    """
    data = text.encode()
    body = struct.pack(">HH", _UTF8, len(data)) + data
    return _message("STRING", name, [body], stamp_ns=stamp_ns)


def _message(kind: str, name: str, body: Sequence[Buffer], *, stamp_ns: int) -> list[Buffer]:
    seconds, rest = divmod(stamp_ns, 1_000_000_000)
    stamp = seconds << 32 | (rest << 32) // 1_000_000_000
    size, checksum = 0, 0
    for part in body:
        size += len(part)
        checksum = ecma_182(part, checksum)
    head = _HEADER.pack(1, kind.encode(), name.encode(), stamp, size, checksum)
    return [head, *body]
