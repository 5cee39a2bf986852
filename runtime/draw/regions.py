"""Regions of a label map on a frame: tint, contour and a dark line round the contour.

    painter = RegionPainter((250, 120, 0), opacity=0.42)
    painter.paint(picture, mask, line=4, halo=2)

A frame has a few milliseconds for all drawing. A region is therefore drawn in tiles: an oblique
instrument fills little of its bounding box.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        self,
        picture: NDArray[np.uint8],
        mask: NDArray[np.uint8],
        *,
        line: int,
        halo: int = 0,
        corner: tuple[int, int] = (0, 0),
        grid: tuple[int, int] | None = None,
    ) -> None:
        """Draws the regions of a mask.

        Args:
            picture: ``[H, W, 3]`` uint8 RGB, changed in place.
            mask: ``[h, w]`` 0 or 255.
            line: Width of the contour in pixels; it lies on the edge.
            halo: Width of the dark line outside the contour in pixels.
            corner: Column and row of the label map at which the mask begins. Regions must not
                touch the mask's edge, except where it is the label map's.
            grid: ``(rows, columns)`` of the label map, which covers the picture; ``None``: the
                mask's. It has no more rows and columns than the picture.
        """
        x, y, w, h = cv2.boundingRect(mask)
        if not w:
            return
        height, width = picture.shape[:2]
        rows, columns = mask.shape if grid is None else grid
        sy, sx, (cx, cy) = height / rows, width / columns, corner
        limits = _Limits.of(line, halo)
        reach = limits.k // 2 + 1
        smooth, left, top = _enlarged(mask, (x, y, w, h), (cx, cy), (sx, sy), reach)
        gap, wide = max(2, int(_TILE_GAP / sx)), int(_WIDE_TILE / sx)
        first = max(0, int((y + cy - 1) * sy) - reach)
        last = min(height, int((y + cy + h + 1) * sy) + reach + 1)
        for y0 in range(first, last, TILE_ROWS):
            y1 = min(last, y0 + TILE_ROWS)
            r0, r1 = int((y0 - reach) / sy) - 1 - cy, int((y1 + reach) / sy) + 2 - cy
            for c0, c1 in _runs(mask[max(0, r0) : max(0, r1)], gap, wide):
                x0 = max(0, int((c0 + cx - 1) * sx) - reach)
                x1 = min(width, int((c1 + cx + 1) * sx) + reach + 1)
                # Pixels beside the tile, for the mean.
                a, b = max(0, y0 - top - reach), max(0, x0 - left - reach)
                self._paint_tile(
                    picture[y0:y1, x0:x1],
                    smooth[a : y1 - top + reach, b : x1 - left + reach],
                    slice(y0 - top - a, y1 - top - a),
                    slice(x0 - left - b, x1 - left - b),
                    limits,
                )

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
        near = mean[rows, columns]
        # All of a region that is thinner than its contour is contour.
        _, least = cv2.threshold(smooth[rows, columns], 127, limits.low, cv2.THRESH_BINARY)
        level = cv2.max(near, least)
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
    mask: NDArray[np.uint8],
    box: tuple[int, int, int, int],
    corner: tuple[int, int],
    scale: tuple[float, float],
    reach: int,
) -> tuple[NDArray[np.uint8], int, int]:
    """The part of a mask that holds regions, interpolated to the picture's scale.

    Returns:
        ``[h, w]`` 0..255, and the column and row of the picture at which it begins.
    """
    (x, y, w, h), (cx, cy), (sx, sy) = box, corner, scale
    margin_x, margin_y = margin_of(scale, reach)
    x0, y0 = max(0, x - margin_x), max(0, y - margin_y)
    x1, y1 = min(mask.shape[1], x + w + margin_x), min(mask.shape[0], y + h + margin_y)
    left, top = round((x0 + cx) * sx), round((y0 + cy) * sy)
    wide, high = max(1, round((x1 + cx) * sx) - left), max(1, round((y1 + cy) * sy) - top)
    smooth = cv2.resize(mask[y0:y1, x0:x1], (wide, high))
    return cast("NDArray[np.uint8]", smooth), left, top


def margin_of(scale: tuple[float, float], reach: int) -> tuple[int, int]:
    """Columns and rows of a mask that are needed beside its regions."""
    return 2 + int(2 * reach / scale[0]), 2 + int(2 * reach / scale[1])


def paint_classes(
    picture: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    painters: Mapping[int, RegionPainter],
    *,
    line: int,
    halo: int,
) -> list[int]:
    """Draws the regions of several classes.

    Args:
        picture: ``[H, W, 3]`` uint8 RGB, changed in place.
        labels: ``[h, w]`` class ids; covers the picture.
        painters: What draws each class, by its id.
        line: Width of the contours in pixels.
        halo: Width of the dark lines round them in pixels.

    Returns:
        The ids of the classes that occur.
    """
    x, y, w, h = cv2.boundingRect(labels)
    if not w:
        return []
    (rows, columns), (height, width) = labels.shape, picture.shape[:2]
    small = rows > height or columns > width
    if small:
        x0, y0, x1, y1 = 0, 0, columns, rows
    else:
        reach = _Limits.of(line, halo).k // 2 + 1
        margin_x, margin_y = margin_of((width / columns, height / rows), reach)
        x0, y0 = max(0, x - margin_x), max(0, y - margin_y)
        x1, y1 = min(columns, x + w + margin_x), min(rows, y + h + margin_y)
    used = labels[y0:y1, x0:x1]
    found = []
    # Most classes are absent: searching for one byte is the quickest way to see it.
    data = used.tobytes()
    for number, painter in painters.items():
        if bytes((number,)) not in data:
            continue
        # Not cv2.compare: it fails where the labels are a single cell.
        mask = cast("NDArray[np.uint8]", cv2.inRange(used, number, number))
        found.append(number)
        if small:
            size = min(width, columns), min(height, rows)
            mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), np.uint8)
            painter.paint(picture, mask, line=line, halo=halo)
        else:
            painter.paint(
                picture, mask, line=line, halo=halo, corner=(x0, y0), grid=(rows, columns)
            )
    return found
