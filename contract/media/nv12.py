"""NV12 pictures as decoders give them: a plane of luma, one of chroma at half size, and a colour.

    picture = Nv12Picture(luma=luma, chroma=chroma, colour="bt709-limited")
    picture.rgb                      # [H, W, 3] uint8, converted when it is first read

The integers of the conversion are those of ``runtime/cpp/src/frame.cpp``: both languages give the
same bytes. They are the coefficients of ITU-R BT.601, BT.709 and BT.2020 (non-constant luminance)
times 65536.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import ArgumentError

COLOURS = (
    "bt709-limited",
    "bt601-limited",
    "bt709-full",
    "bt601-full",
    "bt2020-limited",
    "bt2020-full",
)
"""Colour matrix and range, in the order of ``trocar_yuv`` in ``trocar.h``."""

# Luma's factor, luma of black, then V in red, U and V in green, U in blue; times 65536.
_FACTORS: Mapping[str, tuple[int, int, int, int, int, int]] = {
    "bt709-limited": (76309, 16, 117489, 13975, 34925, 138438),
    "bt601-limited": (76309, 16, 104597, 25675, 53279, 132201),
    "bt709-full": (65536, 0, 103206, 12276, 30679, 121609),
    "bt601-full": (65536, 0, 91881, 22553, 46802, 116130),
    "bt2020-limited": (76309, 16, 110014, 12277, 42626, 140363),
    "bt2020-full": (65536, 0, 96639, 10784, 37444, 123299),
}
_CHROMA_ZERO = 128
_REMEDY = (
    "pass luma as uint8 [H, W] and chroma as uint8 [ceil(H/2), ceil(W/2), 2], U before V, and name "
    f"the colour: one of {', '.join(COLOURS)}"
)


class Nv12Picture:
    """One picture of NV12.

    Args:
        luma: ``[H, W]`` uint8; rows may lie apart.
        chroma: ``[ceil(H/2), ceil(W/2), 2]`` uint8, U and V.
        colour: One of `COLOURS`.
        convert: Makes the RGB picture; ``None`` for `rgb_from_nv12`.

    Raises:
        ArgumentError: Planes of another type or shape, or an unknown colour.
    """

    def __init__(
        self,
        *,
        luma: NDArray[np.uint8],
        chroma: NDArray[np.uint8],
        colour: str,
        convert: Callable[[], NDArray[np.uint8]] | None = None,
    ) -> None:
        _check(luma, chroma, colour)
        self.luma = luma
        self.chroma = chroma
        self.colour = colour
        self._convert = convert
        self._rgb: NDArray[np.uint8] | None = None
        self._lock = threading.Lock()

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(H, W, 3)``, as of the RGB picture."""
        height, width = self.luma.shape
        return height, width, 3

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """``[H, W, 3]`` uint8 RGB; converted once, by the thread that reads it first."""
        with self._lock:
            if self._rgb is None:
                self._rgb = (
                    rgb_from_nv12(self.luma, self.chroma, self.colour)
                    if self._convert is None
                    else self._convert()
                )
            return self._rgb


Picture: TypeAlias = NDArray[np.uint8] | Nv12Picture
"""A picture as RGB ``[H, W, 3]`` uint8, or as NV12."""


def rgb_of(picture: Picture) -> NDArray[np.uint8]:
    """The RGB of a picture, ``[H, W, 3]`` uint8."""
    return picture.rgb if isinstance(picture, Nv12Picture) else picture


def sampled(picture: Picture, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """``[h, w, 3]`` uint8 RGB of some rows and columns; no other pixel is converted."""
    if not isinstance(picture, Nv12Picture):
        return picture[rows, columns]
    height, width = picture.luma.shape
    y, x = np.arange(height)[rows], np.arange(width)[columns]
    chroma = picture.chroma[y[:, None] // 2, x // 2]
    return _converted(picture.luma[rows, columns], chroma, picture.colour)


def colour_matrix(colour: str) -> NDArray[np.float32]:
    """``[3, 4]`` float32: RGB 0..255 of a colour is this matrix times ``(Y, U, V, 1)``.

    Raises:
        ArgumentError: The colour is none of `COLOURS`.
    """
    if colour not in _FACTORS:
        raise _unknown(colour)
    luma, black, red_v, green_u, green_v, blue_u = _FACTORS[colour]
    rows = np.array([[luma, 0, red_v], [luma, -green_u, -green_v], [luma, blue_u, 0]], np.float64)
    offset = -rows @ np.array([black, _CHROMA_ZERO, _CHROMA_ZERO], np.float64)
    return np.asarray(np.concatenate([rows, offset[:, None]], axis=1) / 65536, np.float32)


def nv12_inputs(pictures: Sequence[Nv12Picture]) -> dict[str, NDArray[Any]]:
    """Inputs of a graph for NV12, by name: ``luma``, ``chroma`` and ``colour``, batch first.

    Args:
        pictures: One or more, of equal size; their colours may differ.
    """
    one = len(pictures) == 1
    return {
        "luma": np.ascontiguousarray(pictures[0].luma)[None]
        if one
        else np.stack([p.luma for p in pictures]),
        "chroma": np.ascontiguousarray(pictures[0].chroma)[None]
        if one
        else np.stack([p.chroma for p in pictures]),
        "colour": np.stack([colour_matrix(p.colour) for p in pictures]),
    }


def rgb_from_nv12(
    luma: NDArray[np.uint8], chroma: NDArray[np.uint8], colour: str
) -> NDArray[np.uint8]:
    """NV12 as ``[H, W, 3]`` uint8 RGB; each chroma value covers two by two pixels.

    Raises:
        ArgumentError: As `Nv12Picture`.
    """
    _check(luma, chroma, colour)
    height, width = luma.shape
    wide = chroma.repeat(2, axis=0)[:height].repeat(2, axis=1)[:, :width]
    return _converted(luma, wide, colour)


def nv12_from_rgb(rgb: NDArray[np.uint8], colour: str) -> Nv12Picture:
    """An RGB picture as NV12; chroma is the mean of two by two pixels.

    Args:
        rgb: ``[H, W, 3]`` uint8.
        colour: One of `COLOURS`.

    Raises:
        ArgumentError: The colour is none of `COLOURS`.
    """
    matrix = colour_matrix(colour).astype(np.float64)
    values = (rgb.astype(np.float64) - matrix[:, 3]) @ np.linalg.inv(matrix[:, :3]).T
    height, width = rgb.shape[:2]
    even = np.pad(values[..., 1:], ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    chroma = even.reshape(-(-height // 2), 2, -(-width // 2), 2, 2).mean(axis=(1, 3))
    return Nv12Picture(luma=_bytes(values[..., 0]), chroma=_bytes(chroma), colour=colour)


def _converted(
    luma: NDArray[np.uint8], chroma: NDArray[np.uint8], colour: str
) -> NDArray[np.uint8]:
    """``[h, w]`` luma and ``[h, w, 2]`` chroma of the same pixels as RGB."""
    factor, black, red_v, green_u, green_v, blue_u = _FACTORS[colour]
    u = chroma[..., 0].astype(np.int32) - _CHROMA_ZERO
    v = chroma[..., 1].astype(np.int32) - _CHROMA_ZERO
    base = (luma.astype(np.int32) - black) * factor + 32768
    rgb = np.empty((*luma.shape, 3), np.uint8)
    for channel, added in enumerate((red_v * v, -green_u * u - green_v * v, blue_u * u)):
        rgb[..., channel] = np.clip((base + added) >> 16, 0, 255)
    return rgb


def _bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _check(luma: Any, chroma: Any, colour: str) -> None:
    if colour not in _FACTORS:
        raise _unknown(colour)
    for name, plane, ndim in (("luma", luma, 2), ("chroma", chroma, 3)):
        if not isinstance(plane, np.ndarray) or plane.dtype != np.uint8 or plane.ndim != ndim:
            found = (
                f"{plane.dtype} {list(plane.shape)}"
                if isinstance(plane, np.ndarray)
                else type(plane).__name__
            )
            wanted = "[H, W]" if ndim == 2 else "[ceil(H/2), ceil(W/2), 2]"
            raise ArgumentError(f"{name} is {found}, expected uint8 {wanted}", remedy=_REMEDY)
    height, width = luma.shape
    wanted_shape = (-(-height // 2), -(-width // 2), 2)
    if 0 in luma.shape or chroma.shape != wanted_shape:
        raise ArgumentError(
            f"the planes do not fit: luma {list(luma.shape)}, chroma {list(chroma.shape)}, "
            f"expected sides above 0 and chroma {list(wanted_shape)}",
            remedy=_REMEDY,
        )


def _unknown(colour: object) -> ArgumentError:
    return ArgumentError(
        f"the colour of NV12 is {colour!r}, expected one of {', '.join(COLOURS)}",
        remedy="name matrix and range of the video; HD video that states none is bt709-limited, "
        "SD video bt601-limited",
    )
