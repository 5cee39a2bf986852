"""The mask of one instrument: its pixels in the label map, and what they become elsewhere.

mask = instrument.mask
mask.full(), mask.at_frame_size(), mask.run_lengths(), mask.polygons()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.instances.run_lengths import compressed_from_mask
from trocar.contract.media.label_maps import enlarge

MaskForm: TypeAlias = Literal["rle", "polygons"]
"""Form of a mask in JSON lines."""


@dataclass(frozen=True)
class Mask:
    """Pixels of one instrument, as a rectangle of the label map.

    Attributes:
        pixels: ``[h,w]`` bool.
        top: Row of the label map of the first row.
        left: Column of the label map of the first column.
        map_size: ``(height, width)`` of the label map, which covers the frame.
        frame_size: ``(height, width)`` of the frame.
    """

    pixels: NDArray[np.bool_]
    top: int
    left: int
    map_size: tuple[int, int]
    frame_size: tuple[int, int]

    def paint(self, places: NDArray[np.uint8], number: int) -> None:
        """Sets its pixels in a map ``[h,w]`` of the label map's size to a number."""
        h, w = self.pixels.shape
        places[self.top : self.top + h, self.left : self.left + w][self.pixels] = number

    def united(self, others: Sequence[Mask]) -> Mask:
        """The mask of these pixels and those of other masks of the same label map."""
        every = (self, *others)
        top, left = min(one.top for one in every), min(one.left for one in every)
        bottom = max(one.top + one.pixels.shape[0] for one in every)
        right = max(one.left + one.pixels.shape[1] for one in every)
        whole = np.zeros((bottom - top, right - left), np.uint8)
        for one in every:
            replace(one, top=one.top - top, left=one.left - left).paint(whole, 1)
        return replace(self, pixels=whole.view(np.bool_), top=top, left=left)

    def full(self) -> NDArray[np.bool_]:
        """``[h,w]`` bool at the size of the label map."""
        whole = np.zeros(self.map_size, np.bool_)
        h, w = self.pixels.shape
        whole[self.top : self.top + h, self.left : self.left + w] = self.pixels
        return whole

    def at_frame_size(self) -> NDArray[np.bool_]:
        """``[H,W]`` bool at the size of the frame, enlarged as masks in PNG files are."""
        return np.asarray(enlarge(self.full().view(np.uint8), self.frame_size), np.bool_)

    def run_lengths(self, *, at_frame_size: bool = False) -> dict[str, Any]:
        """COCO run lengths: ``size`` ``[height, width]`` and compressed ``counts``.

        Args:
            at_frame_size: Whether they are of the frame's size, not of the label map's.
        """
        mask = self.at_frame_size() if at_frame_size else self.full()
        return {"size": list(mask.shape), "counts": compressed_from_mask(mask)}

    def polygons(self) -> list[list[float]]:
        """Outer borders in frame pixels, ``[x0, y0, x1, y1, ...]``; holes are filled.

        Borders run through the outer edges of the pixels' rows and columns.
        """
        # Twice the size: the border of a pixel is then beside its centre.
        twice = np.repeat(np.repeat(np.pad(self.pixels, 1), 2, 0), 2, 1).view(np.uint8)
        contours, _ = cv2.findContours(twice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        scale = np.array(
            [self.frame_size[1] / self.map_size[1], self.frame_size[0] / self.map_size[0]]
        )
        origin = np.array([self.left - 1, self.top - 1])
        polygons = []
        for contour in contours:
            # Places 2k and 2k + 1 are the two halves of pixel k: its edges are k and k + 1.
            edges = (contour[:, 0].astype(np.float64) + 1) // 2
            # A corner is reached twice where the border turns inwards.
            edges = edges[(edges != np.roll(edges, 1, axis=0)).any(1)]
            points = (edges + origin) * scale
            polygons.append([round(float(v), 2) for v in points.ravel()])
        return polygons

    def to_dict(self, form: MaskForm) -> dict[str, Any]:
        """The member of a JSON line: ``mask`` with run lengths, or ``polygons``."""
        return {"mask": self.run_lengths()} if form == "rle" else {"polygons": self.polygons()}
