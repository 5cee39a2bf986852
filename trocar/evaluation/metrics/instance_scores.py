"""Scores of single instances: mask AP and AR of COCO, and panoptic quality.

    scores = InstanceScores(table)
    scores.add(true_instances, mask, found, classes=[1, 1], scores=[0.9, 0.7])
    scores.result()["mask_ap"]

AP and AR come from ``pycocotools``: the mean over IoU 0.50 to 0.95, 100 instances a frame at most.
Panoptic quality is that of Kirillov et al. (CVPR 2019), the mean over the classes that occur.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.instances.run_lengths import compressed_from_mask
from trocar.train.metrics.panoptic import PanopticQuality


class InstanceScores:
    """Compares instances with true ones, frame by frame.

    Args:
        table: The classes; row 0 is no class of instances.
    """

    def __init__(self, table: ClassTable) -> None:
        self._table = table
        self._images: list[dict[str, int]] = []
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []
        self._quality = PanopticQuality(len(table))

    def add(
        self,
        true_instances: NDArray[np.unsignedinteger[Any]],
        mask: NDArray[np.uint8],
        instances: NDArray[np.uint8],
        *,
        classes: Sequence[int],
        scores: Sequence[float],
    ) -> None:
        """Adds a frame.

        Args:
            true_instances: ``[H, W]`` numbers of the true instances, 0 for none.
            mask: ``[H, W]`` class ids of the truth; pixels of 255 are left out.
            instances: ``[H, W]`` numbers of the instances that were found, 0 for none.
            classes: Class of each of them, from number 1 on.
            scores: Score of each of them.
        """
        height, width = mask.shape
        self._images.append({"id": len(self._images) + 1, "height": height, "width": width})
        counted = mask != IGNORE_INDEX
        truth = []
        for number in np.unique(true_instances[counted]).tolist():
            pixels = (true_instances == number) & counted
            ids = np.bincount(mask[pixels], minlength=1)
            if number and int(ids.argmax()):
                truth.append((int(ids.argmax()), pixels))
        found = []
        for number in np.unique(instances[counted]).tolist():
            if number:
                pixels = (instances == number) & counted
                found.append((int(classes[number - 1]), float(scores[number - 1]), pixels))
        for row, pixels in truth:
            self._truth.append(
                {**self._annotation(row, pixels), "id": len(self._truth) + 1, "iscrowd": 0}
            )
        for row, score, pixels in found:
            self._found.append({**self._annotation(row, pixels), "score": score})
        self._quality.add(truth, [(row, pixels) for row, _, pixels in found])

    def _annotation(self, row: int, pixels: NDArray[np.bool_]) -> dict[str, Any]:
        runs = {"size": list(pixels.shape), "counts": compressed_from_mask(pixels)}
        area = int(pixels.sum())
        return {
            "image_id": len(self._images), "category_id": row, "segmentation": runs, "area": area,
            "bbox": [0, 0, 0, 0],
        }  # fmt: skip

    def result(self) -> dict[str, float]:
        """Scores 0..1 by name; NaN where there is no true instance."""
        ap, ap50, ar = self._average_precision()
        return {
            "mask_ap": ap,
            "mask_ap50": ap50,
            "mask_ar": ar,
            "instance_pq": self._quality.result(),
        }

    def _average_precision(self) -> tuple[float, float, float]:
        if not self._truth:
            return math.nan, math.nan, math.nan
        if not self._found:
            return 0.0, 0.0, 0.0
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        # It prints what it does.
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = {
                "info": {},
                "images": self._images,
                "categories": [{"id": row.id, "name": row.name} for row in self._table.rows[1:]],
                "annotations": self._truth,
            }
            truth.createIndex()
            evaluation = COCOeval(truth, truth.loadRes(self._found), "segm")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        values = evaluation.stats
        return float(values[0]), float(values[1]), float(values[8])
