"""One region of a label map, cropped, with its run lengths and its moments.

    region = Region(labels == 3, 0, 0, (3.0, 2.1)).crop_to_bbox()

All measures of a region are taken on its crop, so their cost follows the region's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import Point

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Region:
    """A mask and its position in the label map.

    Attributes:
        mask: ``[h, w]``.
        top: Row of the label map of the mask's first row.
        left: Column of the label map of the mask's first column.
        scale: ``(sx, sy)`` frame pixels per label pixel.
    """

    mask: NDArray[np.bool_]
    top: int
    left: int
    scale: Point

    def crop_to_bbox(self) -> Region:
        """A copy, cropped to the bounding box of its pixels; it must have at least one pixel.

        >>> mask = np.array([[0, 0, 0], [0, 1, 1]], np.bool_)
        >>> region = Region(mask, 10, 20, (1.0, 1.0)).crop_to_bbox()
        >>> region.top, region.left, region.mask.shape
        (11, 21, (1, 2))
        """
        x, y, w, h = cv2.boundingRect(self.mask.view(np.uint8))
        mask = self.mask[y : y + h, x : x + w].copy()
        return Region(mask, self.top + y, self.left + x, self.scale)

    def crop(self, full: NDArray[T]) -> NDArray[T]:
        """The region's rectangle of an array of the label map's size, as a view."""
        h, w = self.mask.shape
        return full[self.top : self.top + h, self.left : self.left + w]

    def row_centres(self) -> NDArray[np.float64]:
        """``[h]`` centres of the rows, in frame pixels."""
        return (np.arange(self.top, self.top + self.mask.shape[0]) + 0.5) * self.scale[1]

    def column_centres(self) -> NDArray[np.float64]:
        """``[w]`` centres of the columns, in frame pixels."""
        return (np.arange(self.left, self.left + self.mask.shape[1]) + 0.5) * self.scale[0]

    @cached_property
    def run_lengths(self) -> RunLengths:
        """Run-length encoding of the mask, in the mask's coordinates."""
        return run_lengths_of(self.mask)

    @cached_property
    def moments(self) -> Moments:
        """Moments of the mask, in the mask's coordinates; exact integers."""
        y, begin, end = self.run_lengths.y, self.run_lengths.begin, self.run_lengths.end
        length = end - begin
        x = (begin + end - 1) * length // 2
        xx = ((end - 1) * end * (2 * end - 1) - (begin - 1) * begin * (2 * begin - 1)) // 6
        y_length = y * length
        return Moments(
            n=int(length.sum()),
            x=int(x.sum()),
            y=int(y_length.sum()),
            xx=int(xx.sum()),
            xy=int(np.dot(x, y)),
            yy=int(np.dot(y_length, y)),
        )


@dataclass(frozen=True)
class RunLengths:
    """Run-length encoding of a mask: runs along the rows, in raster order.

    Attributes:
        y: int64 row of each run.
        begin: int64 first column.
        end: int64 last column + 1.
    """

    y: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]

    def select(self, is_selected: NDArray[np.bool_]) -> RunLengths:
        """The runs where ``is_selected`` is true."""
        return RunLengths(self.y[is_selected], self.begin[is_selected], self.end[is_selected])

    def coordinates(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of all pixels, in raster order.

        >>> y, x = run_lengths_of(np.array([[0, 1, 1], [1, 0, 0]], np.bool_)).coordinates()
        >>> y.tolist(), x.tolist()
        ([0, 0, 1], [1, 2, 0])
        """
        length = self.end - self.begin
        total = np.cumsum(length)
        x = np.arange(int(total[-1])) + np.repeat(self.begin - total + length, length)
        return np.repeat(self.y, length), x


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Raw moments of a mask: number of pixels, sums of coordinates, sums of their products."""

    n: int
    x: int
    y: int
    xx: int
    xy: int
    yy: int


def run_lengths_of(mask: NDArray[np.bool_]) -> RunLengths:
    """Run-length encoding of a mask ``[h, w]``.

    >>> runs = run_lengths_of(np.array([[0, 1, 1], [1, 0, 1]], np.bool_))
    >>> runs.y.tolist(), runs.begin.tolist(), runs.end.tolist()
    ([0, 1, 1], [1, 0, 2], [3, 1, 3])
    """
    h, w = mask.shape
    # One empty column on the right ends every run in its own row.
    padded = np.zeros(1 + h * (w + 1), np.bool_)
    padded[1:].reshape(h, w + 1)[:, :w] = mask
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    start = edges[::2]
    y = start // (w + 1)
    begin = start - y * (w + 1)
    return RunLengths(y, begin, begin + (edges[1::2] - start))


def connected_components(
    mask: NDArray[np.bool_],
) -> tuple[int, NDArray[np.uint16] | NDArray[np.int32]]:
    """8-connected components of a mask ``[h, w]``.

    Returns:
        The number of labels, with 0 for the background, and ``[h, w]`` labels.

    >>> connected_components(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], np.bool_))[0]
    2
    """
    h, w = mask.shape
    # uint16 labels are faster: fewer bytes, and OpenCV starts no threads for small images.
    fits_uint16 = ((h + 1) // 2) * ((w + 1) // 2) < 0xFFFF
    label_type = cv2.CV_16U if fits_uint16 else cv2.CV_32S
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8, ltype=label_type)
    return count, cast("NDArray[np.uint16] | NDArray[np.int32]", labels)
