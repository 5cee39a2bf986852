"""Keeps the cost of a frame bounded when a mask falls apart into hundreds of regions.

labels, count = RegionLimit(256).apply(labels)     # count: regions where there were more, else 0

Locating, tracking and drawing take longer with every region. A mask of a thousand specks is no
mask of instruments: the smallest regions are left out, and the stream says so.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


class RegionLimit:
    """Leaves out the smallest regions of a label map.

    Args:
        most: Regions that are kept; 0 keeps all.
    """

    def __init__(self, most: int) -> None:
        self._most = most

    def apply(self, labels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
        """Limits the regions of one map, joined over edges and corners within a class.

        Args:
            labels: ``[h, w]`` uint8 class ids; 0 is the background.

        Returns:
            The same array, and 0; or a copy with the largest regions, and how many there were.
        """
        if not self._most or _most_regions(labels) <= self._most:
            return labels, 0
        regions = []
        for class_id in np.unique(labels):
            if class_id:
                mask = (labels == class_id).astype(np.uint8)
                _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
                areas = stats[1:, cv2.CC_STAT_AREA]
                regions.append((numbers, areas))
        areas = np.concatenate([areas for _, areas in regions])
        if len(areas) <= self._most:
            return labels, 0
        order = np.argsort(-areas, kind="stable")
        kept = np.zeros(len(areas), bool)
        kept[order[: self._most]] = True
        limited = labels.copy()
        start = 0
        for numbers, own in regions:
            stays = np.concatenate([[True], kept[start : start + len(own)]])
            limited[~stays[numbers]] = 0
            start += len(own)
        return limited, len(areas)

    def apply_to_outputs(
        self, outputs: dict[str, NDArray[Any]]
    ) -> tuple[dict[str, NDArray[Any]], int]:
        """Limits the regions of one frame's outputs; those of a classifier stay as they are.

        Args:
            outputs: By name, without the batch dimension. Of an instance model the regions are
                those of its instances: what is left out of them is left out of the labels too.

        Returns:
            The outputs, and as `apply` how many regions there were.
        """
        name = "instances" if "instances" in outputs else "labels"
        if name not in outputs:
            return outputs, 0
        limited, count = self.apply(outputs[name])
        if not count:
            return outputs, 0
        labels = np.where(limited > 0, outputs["labels"], np.uint8(0))
        return {**outputs, name: limited, "labels": labels}, count


def _most_regions(labels: NDArray[np.uint8]) -> int:
    """An upper bound of the number of regions, in a few comparisons.

    The first pixel of a region in the order of reading has no neighbour of its class to the left,
    above, or to both sides above.
    """
    padded = np.pad(labels, ((1, 0), (1, 1)))
    here = padded[1:, 1:-1]
    first = here != 0
    for neighbour in (padded[1:, :-2], padded[:-1, 1:-1], padded[:-1, :-2], padded[:-1, 2:]):
        first &= here != neighbour
    return int(np.count_nonzero(first))
