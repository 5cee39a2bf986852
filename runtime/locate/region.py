"""One region of a label map, cut out: what is measured on it looks at nothing else.

shape = Shape(labels == 3, 0, 0, (3.0, 2.1)).tight()
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import Point

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Shape:
    """A mask and its place in the label map.

    Attributes:
        mask: ``[h, w]``.
        top: Row of the label map that the mask begins at.
        left: Column likewise.
        scale: ``(sx, sy)`` frame pixels per label pixel.
    """

    mask: NDArray[np.bool_]
    top: int
    left: int
    scale: Point

    def tight(self) -> Shape:
        """A copy without the empty rows and columns around it; it must not be empty."""
        x, y, w, h = cv2.boundingRect(self.mask.view(np.uint8))
        cut = self.mask[y : y + h, x : x + w].copy()
        return Shape(cut, self.top + y, self.left + x, self.scale)

    def cut(self, whole: NDArray[T]) -> NDArray[T]:
        """This region's rectangle of a map of the label map's size."""
        h, w = self.mask.shape
        return whole[self.top : self.top + h, self.left : self.left + w]

    def rows(self) -> NDArray[np.float64]:
        """``[h]`` centres of the rows, in frame pixels."""
        return (np.arange(self.top, self.top + self.mask.shape[0]) + 0.5) * self.scale[1]

    def columns(self) -> NDArray[np.float64]:
        """``[w]`` centres of the columns, in frame pixels."""
        return (np.arange(self.left, self.left + self.mask.shape[1]) + 0.5) * self.scale[0]

    @cached_property
    def runs(self) -> Runs:
        """Its rows' runs, counted from the mask's corner."""
        return runs_of(self.mask)

    @cached_property
    def sums(self) -> Sums:
        """Sums over its pixels, counted from the mask's corner."""
        y, begin, end = self.runs.y, self.runs.begin, self.runs.end
        length = end - begin
        x = (begin + end - 1) * length // 2
        xx = ((end - 1) * end * (2 * end - 1) - (begin - 1) * begin * (2 * begin - 1)) // 6
        y_length = y * length
        return Sums(
            n=int(length.sum()),
            x=int(x.sum()),
            y=int(y_length.sum()),
            xx=int(xx.sum()),
            xy=int(np.dot(x, y)),
            yy=int(np.dot(y_length, y)),
        )


@dataclass(frozen=True)
class Runs:
    """Pixels of a mask as runs along its rows, in raster order.

    Attributes:
        y: int64 row of each run.
        begin: int64 first column.
        end: int64 column after the last.
    """

    y: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]

    def take(self, which: NDArray[np.bool_]) -> Runs:
        """Some of them."""
        return Runs(self.y[which], self.begin[which], self.end[which])

    def pixels(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of all their pixels, in raster order."""
        length = self.end - self.begin
        after = np.cumsum(length)
        x = np.arange(int(after[-1])) + np.repeat(self.begin - after + length, length)
        return np.repeat(self.y, length), x


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums over pixels: their number, their coordinates and the products of these."""

    n: int
    x: int
    y: int
    xx: int
    xy: int
    yy: int


def runs_of(mask: NDArray[np.bool_]) -> Runs:
    """Runs of set pixels: what only rows' ends decide is found from a few hundred of them."""
    h, w = mask.shape
    # An empty column on the right ends every run in its own row.
    padded = np.zeros(1 + h * (w + 1), np.bool_)
    padded[1:].reshape(h, w + 1)[:, :w] = mask
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    start = edges[::2]
    y = start // (w + 1)
    begin = start - y * (w + 1)
    return Runs(y, begin, begin + (edges[1::2] - start))


def components(mask: NDArray[np.bool_]) -> tuple[int, NDArray[np.uint16] | NDArray[np.int32]]:
    """8-connected components: how many numbers there are, background included, and the numbers."""
    h, w = mask.shape
    # Short numbers are faster: less to write, and OpenCV starts no threads for a small picture.
    short = ((h + 1) // 2) * ((w + 1) // 2) < 0xFFFF
    kind = cv2.CV_16U if short else cv2.CV_32S
    return cv2.connectedComponents(mask.view(np.uint8), connectivity=8, ltype=kind)
