"""Whether a video file ends before its own structure does.

missing_bytes(Path("video.mp4"))     # 0 for a whole file

A container that is written to its end states the size of its last part. Where that part reaches
beyond the end of the file, the file was cut. Frame counts and durations are not looked at: edit
lists, sound that outlasts the picture and gaps make them differ from the number of frames in whole
files. Formats without such a structure (MPEG-TS, MPEG-PS, raw streams) cannot be judged this way.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")


def why_cut(path: Path) -> str:
    """What a file lacks that ends too early, in words; empty for whole files.

    An MP4 or MOV file without an index was never ended by its recorder, or was cut before it.

    Raises:
        OSError: The file cannot be read.
    """
    lacking = missing_bytes(path)
    if lacking:
        return f"{lacking} bytes are missing at its end"
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(12)[4:8] in _MP4_FIRST_BOXES and b"moov" not in _boxes(file, size)[0]:
            return "it ends before its index (moov)"
    return ""


def missing_bytes(path: Path) -> int:
    """Bytes by which the last part of an MP4, MOV or Matroska file reaches beyond its end.

    Returns:
        0 for whole files and for formats that state no sizes.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        file.seek(0)
        if head[4:8] in _MP4_FIRST_BOXES:
            return max(0, _boxes(file, size)[1] - size)
        if head[:4] == _EBML:
            return _missing_of_segment(file, size)
    return 0


def _boxes(file: BinaryIO, size: int) -> tuple[set[bytes], int]:
    """Types of the top-level boxes of ISO/IEC 14496-12, and where the last one ends.

    A box has 4 bytes of size, 4 of type, and 8 of size where the first size is 1.
    """
    position = 0
    found: set[bytes] = set()
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        found.add(header[4:8])
        if length < 8:  # 0: to the end of the file. Others: no box, whatever follows the last one.
            return found, 0
        position += length
    return found, position


def _missing_of_segment(file: BinaryIO, size: int) -> int:
    """The EBML header, then a segment whose size is known when the writer came to its end."""
    file.seek(4)
    length = _ebml_number(file)
    if length is None:
        return 0
    file.seek(length, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    length = _ebml_number(file)
    return 0 if length is None else max(0, file.tell() + length - size)


def _ebml_number(file: BinaryIO) -> int | None:
    """A variable-length size (RFC 8794, section 4); ``None`` where it is unknown: all bits set."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + file.read(width - 1), "big")
    return None if value == (1 << (7 * width)) - 1 else value
