"""Regions of a label map on a frame: tint, contour and a dark line round the contour.

    painter = RegionPainter((250, 120, 0), opacity=0.42)
    painter.paint(picture, mask, line=4, halo=2)

A frame has a few milliseconds for all drawing. A region is therefore drawn in tiles: an oblique
instrument fills little of its bounding box.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.runtime.draw.colours import BLACK, Colour

TILE_ROWS = 64
"""Rows of the picture that are painted at a time."""

_WIDE_TILE = 480
_TILE_GAP = 96
"""Tiles wider than this are divided at gaps of so many columns, in pixels of the picture."""


class _Tile(NamedTuple):
    """Pixels ``[y0, y1) x [x0, x1)`` of the picture."""

    x0: int
    y0: int
    x1: int
    y1: int


class _Limits(NamedTuple):
    """Levels of the mean over ``k x k`` pixels of a mask of 0 and 255.

    Near a straight edge the mean is a linear function of the distance from it. From ``dark`` to
    ``low`` lies the dark line, from ``low`` to ``high`` the contour.
    """

    k: int
    dark: int
    low: int
    high: int

    @classmethod
    def of(cls, line: int, halo: int) -> _Limits:
        k = line + 2 * halo + 2 + (line + 1) % 2
        # A pixel beside a straight edge has one of the means n / k; the limits lie between them.
        first, last = (k - line + 1) // 2, (k + line + 1) // 2
        dark, low, high = (int(255 * (n + 0.5) / k) for n in (first - halo, first, last))
        return cls(k, dark + 1, low + 1, high)


class RegionPainter:
    """Tints the regions of one class and outlines them.

    Args:
        colour: RGB.
        opacity: Opacity of the tint, 0..1.
        tint: Whether regions are tinted.
        contour: Whether regions are outlined.
    """

    def __init__(
        self, colour: Colour, opacity: float, *, tint: bool = True, contour: bool = True
    ) -> None:
        self._colour = colour
        self._opacity = opacity
        self._tint = tint
        self._contour = contour
        self._solid: dict[Colour, NDArray[np.uint8]] = {}

    def paint(
        self, picture: NDArray[np.uint8], mask: NDArray[np.uint8], *, line: int, halo: int = 0
    ) -> None:
        """Draws the regions of a mask.

        Args:
            picture: ``[H, W, 3]`` uint8 RGB, changed in place.
            mask: ``[h, w]`` 0 or 255; covers the whole picture.
            line: Width of the contour in pixels; it lies on the edge.
            halo: Width of the dark line outside the contour in pixels.
        """
        height, width = picture.shape[:2]
        if mask.shape[0] > height or mask.shape[1] > width:
            size = min(width, mask.shape[1]), min(height, mask.shape[0])
            mask = cast("NDArray[np.uint8]", cv2.resize(mask, size, interpolation=cv2.INTER_AREA))
        box = cv2.boundingRect(mask)
        if not box[2]:
            return
        limits = _Limits.of(line, halo)
        reach = limits.k // 2 + 1
        smooth, left, top = _enlarged(mask, box, (height, width), reach)
        for tile in _tiles(mask, box, (height, width), reach):
            # Pixels beside the tile, for the mean.
            y0, x0 = max(0, tile.y0 - reach - top), max(0, tile.x0 - reach - left)
            around = smooth[y0 : tile.y1 + reach - top, x0 : tile.x1 + reach - left]
            rows = slice(tile.y0 - top - y0, tile.y1 - top - y0)
            columns = slice(tile.x0 - left - x0, tile.x1 - left - x0)
            target = picture[tile.y0 : tile.y1, tile.x0 : tile.x1]
            self._paint_tile(target, around, rows, columns, limits)

    def _paint_tile(
        self,
        target: NDArray[np.uint8],
        smooth: NDArray[np.uint8],
        rows: slice,
        columns: slice,
        limits: _Limits,
    ) -> None:
        _, solid = cv2.threshold(smooth, 127, 255, cv2.THRESH_BINARY)
        block = self._block(self._colour, target.shape)
        if not self._contour:
            mixed = cv2.addWeighted(target, 1 - self._opacity, block, self._opacity, 0)
            cv2.copyTo(mixed, solid[rows, columns], target)
            return
        mean = cv2.blur(solid, (limits.k, limits.k), borderType=cv2.BORDER_REPLICATE)
        near, inside = mean[rows, columns], solid[rows, columns]
        # All of a region that is thinner than its contour is contour.
        level = cv2.max(near, np.minimum(inside, np.uint8(limits.low)))
        _, body = cv2.threshold(level, limits.low - 1, 0, cv2.THRESH_TOZERO)
        _, dark = cv2.threshold(near, limits.dark - 1, 0, cv2.THRESH_TOZERO)
        if self._tint:
            mixed = cv2.addWeighted(target, 1 - self._opacity, block, self._opacity, 0)
            cv2.copyTo(self._block(BLACK, target.shape), dark, target)
            cv2.copyTo(mixed, body, target)
        else:
            cv2.threshold(dark, limits.low - 1, 0, cv2.THRESH_TOZERO_INV, dark)
            cv2.copyTo(self._block(BLACK, target.shape), dark, target)
        cv2.threshold(body, limits.high, 0, cv2.THRESH_TOZERO_INV, body)
        cv2.copyTo(block, body, target)

    def _block(self, colour: Colour, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """A block of one colour, ``[h, w, 3]``."""
        block = self._solid.get(colour)
        if block is None or block.shape[1] < shape[1]:
            block = np.full((TILE_ROWS, shape[1], 3), colour, np.uint8)
            self._solid[colour] = block
        return block[: shape[0], : shape[1]]


def _tiles(
    mask: NDArray[np.uint8], box: Sequence[int], size: tuple[int, int], reach: int
) -> Iterator[_Tile]:
    """Tiles of the picture that hold everything within ``reach`` pixels of the regions."""
    height, width = size
    sy, sx = height / mask.shape[0], width / mask.shape[1]
    _, top, _, high = box
    first = max(0, int((top - 1) * sy) - reach)
    last = min(height, int((top + high + 1) * sy) + reach + 1)
    for y0 in range(first, last, TILE_ROWS):
        y1 = min(last, y0 + TILE_ROWS)
        r0 = max(0, int((y0 - reach) / sy) - 1)
        r1 = min(mask.shape[0], int((y1 + reach) / sy) + 2)
        for c0, c1 in _runs(mask[r0:r1], max(2, int(_TILE_GAP / sx)), int(_WIDE_TILE / sx)):
            x0, x1 = int((c0 - 1) * sx) - reach, int((c1 + 1) * sx) + reach + 1
            yield _Tile(max(0, x0), y0, min(width, x1), y1)


def _runs(rows: NDArray[np.uint8], gap: int, wide: int) -> list[tuple[int, int]]:
    """Half-open runs of columns that hold a region; wide ones are divided at gaps."""
    x, _, w, _ = cv2.boundingRect(rows)
    if w <= wide:
        return [(x, x + w)] if w else []
    used = np.flatnonzero(cv2.reduce(rows[:, x : x + w], 0, cv2.REDUCE_MAX)[0])
    breaks = np.flatnonzero(used[1:] - used[:-1] > gap)
    starts = [0, *(used[breaks + 1].tolist())]
    ends = [*(used[breaks].tolist()), w - 1]
    return [(x + start, x + end + 1) for start, end in zip(starts, ends, strict=True)]


def _enlarged(
    mask: NDArray[np.uint8], box: Sequence[int], size: tuple[int, int], reach: int
) -> tuple[NDArray[np.uint8], int, int]:
    """The part of a mask that holds regions, interpolated to the picture's scale.

    Returns:
        ``[h, w]`` 0..255, and the column and row of the picture at which it begins.
    """
    sy, sx = size[0] / mask.shape[0], size[1] / mask.shape[1]
    x, y, w, h = box
    margin_x, margin_y = 2 + int(2 * reach / sx), 2 + int(2 * reach / sy)
    x0, y0 = max(0, x - margin_x), max(0, y - margin_y)
    x1, y1 = min(mask.shape[1], x + w + margin_x), min(mask.shape[0], y + h + margin_y)
    left, top = round(x0 * sx), round(y0 * sy)
    wide, high = max(1, round(x1 * sx) - left), max(1, round(y1 * sy) - top)
    smooth = cv2.resize(mask[y0:y1, x0:x1], (wide, high))
    return cast("NDArray[np.uint8]", smooth), left, top
