"""Files inside zip archives, read without unpacking them.

image = read_archived_image(Path("repairs.zip"), "seq_5/frame001.png")   # [H, W, 3] uint8 RGB
"""

from __future__ import annotations

import functools
import os
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import decode_image

_REMEDY = "copy or download the archive again"


def member_names(path: Path) -> list[str]:
    """Names of the files in an archive, in its own order.

    Raises:
        DataError: There is no such file, or it is not a zip archive.
    """
    return _archive(path, os.getpid()).namelist()


def read_member(path: Path, member: str) -> bytes:
    """Reads one file of an archive.

    Raises:
        DataError: The archive or the file in it cannot be read.
    """
    try:
        return _archive(path, os.getpid()).read(member)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {member} in {path}: {error}", remedy=_REMEDY) from error


def read_archived_image(path: Path, member: str) -> NDArray[np.uint8]:
    """Reads one image of an archive as ``[H, W, 3]`` uint8 RGB.

    Raises:
        DataError: The archive or the file in it cannot be read, or it is not a complete image.
    """
    data = read_member(path, member)
    try:
        return decode_image(data, source=f"{member} in {path}")
    except DataError as error:
        raise DataError(error.message, remedy=_REMEDY) from error


@functools.lru_cache(maxsize=16)
def _archive(path: Path, _process: int) -> zipfile.ZipFile:
    # A forked worker opens the archive again: a copied file object would share its position.
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read as a zip archive: {error}", remedy=_REMEDY
        ) from error
