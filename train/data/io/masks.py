"""Converts raw masks to class ids; values that belong to no class are an error.

ids = ids_from_table(read_raw_mask(path), table, path=path)   # [H, W] uint8, 255 = ignored
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import DataError
from trocar.train.data.io.images import RawMask

Colour = tuple[int, int, int]
MAX_CHANNEL_SPREAD = 24
"""Difference of channels up to which a picture saved as JPEG counts as grey."""
MANY_VALUES = 3
"""Unknown values of one mask above which it may be a smoothed one."""


def ids_from_table(raw: RawMask, table: ClassTable, *, path: Path) -> NDArray[np.uint8]:
    """Reads a mask by its class table: grey values are ids, colours are the table's colours.

    A palette image is read by colour if the table has all colours in use, otherwise by index. An
    opaque alpha channel is dropped.

    Raises:
        DataError: A value or colour belongs to no class (the text has the pixels of each), or a
            part of the mask is transparent.
    """
    if raw.palette is not None:
        used = np.unique(raw.values)
        known = {row.colour for row in table}
        if all(_colour(raw.palette[i]) in known for i in used if i < len(raw.palette)):
            return ids_from_colours(
                raw.palette[raw.values], {row.colour: row.id for row in table}, path=path
            )
        return ids_from_values(raw.values, identity(table), path=path)
    values = opaque(raw.values, path=path)
    if values.ndim == 2:
        if int(values.max(initial=0)) < len(table):  # nothing to look up
            return values
        return ids_from_values(values, identity(table), path=path)
    single = as_single_channel(values)
    means_white = any(row.colour == (255, 255, 255) for row in table)
    if means_white and single is not None and set(np.unique(single)) <= {0, 255}:
        single = None  # Black and white of a colour mask, not "ignored".
    if single is not None and int(single[single != IGNORE_INDEX].max(initial=0)) < len(table):
        return ids_from_values(single, identity(table), path=path)
    return ids_from_colours(values, {row.colour: row.id for row in table}, path=path)


def identity(table: ClassTable) -> dict[int, int]:
    """The map of mask values for masks that hold class ids; 255 is ignored."""
    return {**{row.id: row.id for row in table}, IGNORE_INDEX: IGNORE_INDEX}


def ids_from_values(
    values: NDArray[np.uint8], codes: Mapping[int, int], *, path: Path
) -> NDArray[np.uint8]:
    """Maps grey values to class ids.

    Args:
        values: ``[H, W]`` uint8.
        codes: Class id (or 255) by grey value.
        path: The mask's file, for messages.

    Raises:
        DataError: A value is not among the codes.
    """
    lut = np.zeros(256, np.uint8)
    known = np.zeros(256, np.uint8)
    for value, class_id in codes.items():
        lut[value], known[value] = class_id, 1
    # OpenCV's table look-up is much faster than NumPy's; only the message needs counts.
    if not cv2.LUT(values, known).all():
        counts = np.bincount(values.ravel(), minlength=256)
        unknown = np.flatnonzero((counts > 0) & (known == 0))
        listed = [f"{value} ({counts[value]} pixels)" for value in unknown]
        expected = ", ".join(str(v) for v in sorted(codes))
        raise _unknown(path, "values", listed, expected, smoothed=len(unknown) > MANY_VALUES)
    return np.asarray(cv2.LUT(values, lut), np.uint8)


def ids_from_nearest(raw: RawMask, codes: Mapping[int, int], *, path: Path) -> NDArray[np.uint8]:
    """Maps grey values to the class of the nearest coded value; the lower one at equal distance.

    For masks saved as JPEG or resized with smoothing, whose values lie around the coded ones.

    Args:
        raw: The mask; its channels must be equal but for the small errors of JPEG's colours.
        codes: Class id (or 255) by grey value.
        path: The mask's file, for messages.

    Raises:
        DataError: The mask is coloured.
    """
    values = opaque(raw.values, path=path)
    if values.ndim == 3:
        spread = int((values.max(2).astype(np.int16) - values.min(2)).max(initial=0))
        if spread > MAX_CHANNEL_SPREAD:
            raise DataError(
                f"{path} is coloured (channels differ by up to {spread}), expected grey values",
                remedy="leave nearest out of dataset.toml, or save the masks as grey PNG",
            )
        values = values[..., 0]
    known = np.array(sorted(codes), np.int16)
    nearest = known[np.abs(np.arange(256)[:, None] - known[None]).argmin(1)]
    table = np.array([codes[int(value)] for value in nearest], np.uint8)
    return np.asarray(cv2.LUT(np.ascontiguousarray(values), table), np.uint8)


def ids_from_colours(
    values: NDArray[np.uint8], codes: Mapping[Colour, int], *, path: Path
) -> NDArray[np.uint8]:
    """Maps RGB colours to class ids.

    Args:
        values: ``[H, W, 3]`` uint8 RGB.
        codes: Class id (or 255) by colour.
        path: The mask's file, for messages.

    Raises:
        DataError: A colour is not among the codes.
    """
    packed = _packed(values)
    keys = np.array([(r << 16) | (g << 8) | b for r, g, b in codes], np.int32)
    ids = np.array(list(codes.values()), np.uint8)
    order = np.argsort(keys)
    keys, ids = keys[order], ids[order]
    place = np.minimum(np.searchsorted(keys, packed), len(keys) - 1)
    missing = keys[place] != packed
    if missing.any():
        colours, counts = np.unique(packed[missing], return_counts=True)
        ranked = sorted(zip(counts.tolist(), colours.tolist(), strict=True), reverse=True)
        listed = [f"{_unpacked(colour)} ({count} pixels)" for count, colour in ranked]
        raise _unknown(path, "colours", listed, ", ".join(str(c) for c in codes))
    return np.asarray(ids[place], np.uint8)


def opaque(values: NDArray[np.uint8], *, path: Path) -> NDArray[np.uint8]:
    """Drops an alpha channel that is 255 everywhere.

    Raises:
        DataError: A part of the mask is transparent, so its value is not known.
    """
    if values.ndim == 2 or values.shape[2] == 3:
        return values
    clear = int((values[..., -1] != 255).sum())
    if clear:
        raise DataError(
            f"{path} has an alpha channel and {clear} of its pixels are not opaque",
            remedy="save the mask without transparency",
        )
    return values[..., :-1] if values.shape[2] == 4 else values[..., 0]


def as_single_channel(values: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The grey values of an RGB image whose channels are all equal; ``None`` for another."""
    if values.ndim == 2:
        return values
    first = values[..., 0]
    if (first == values[..., 1]).all() and (first == values[..., 2]).all():
        return np.ascontiguousarray(first)
    return None


def grey(raw: RawMask, *, path: Path) -> NDArray[np.uint8]:
    """Grey values ``[H, W]`` of a mask that should be grey; equal channels are joined.

    Raises:
        DataError: It is coloured or partly transparent.
    """
    single = as_single_channel(opaque(raw.values, path=path))
    if single is None:
        raise DataError(
            f"{path} is coloured, expected grey values", remedy="download the mask again"
        )
    return single


def check_size(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], *, image_path: Path, mask_path: Path
) -> None:
    """Raises an error for a mask whose size is not that of its image.

    Raises:
        DataError: The sizes differ.
    """
    if image.shape[:2] != mask.shape[:2]:
        ih, iw = image.shape[:2]
        mh, mw = mask.shape[:2]
        raise DataError(
            f"{mask_path} is {mw}x{mh}, its image {image_path.name} is {iw}x{ih}",
            remedy="save the mask at the size of its image",
        )


def _unknown(
    path: Path, what: str, listed: list[str], expected: str, *, smoothed: bool = False
) -> DataError:
    shown = ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
    return DataError(
        f"{path} has {what} that no class has: {shown}; expected {expected}",
        remedy="add the classes to the class table, or map the values in dataset.toml"
        + (" with nearest = true, if the masks are smoothed or JPEG" if smoothed else ""),
    )


def _packed(values: NDArray[np.uint8]) -> NDArray[np.int32]:
    wide = values.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _unpacked(value: int) -> Colour:
    return (value >> 16, (value >> 8) & 255, value & 255)


def _colour(row: NDArray[np.uint8]) -> Colour:
    return (int(row[0]), int(row[1]), int(row[2]))
