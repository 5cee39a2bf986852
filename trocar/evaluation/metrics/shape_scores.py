"""Scores of outlines, regions and presence over a set of frames, each under its exact name.

shapes = ShapeScores(table, tolerance=2.0)
shapes.add(truth, labels, confidence)
print(shapes.result()["nsd@2px_mean"])

``nsd@<t>px_<class>``, ``…_binary``: normalised surface Dice at a tolerance of t pixels of the
frame, mean over the frames whose truth or prediction show the class; ``…_mean``: mean over classes.
``region_f1_<class>``, ``pq_<class>``: from connected regions that match at an IoU above 0.5, all
frames together. ``region_precision``, ``region_recall``, ``region_f1``, ``region_dice``: over the
regions of all classes. ``pq``: mean over classes. ``instance_precision``, ``instance_recall``,
``instance_f1``, ``instance_dice``, ``instance_pq``: the same where the truth's regions are the
instances of an instance map; given only where every frame has one. ``presence_ap_<class>``:
average precision of ranking frames by whether they show the class; ``presence_map``: mean over
classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.evaluation.metrics.presence import average_precision
from trocar.evaluation.metrics.shapes import RegionCounts, match_regions, surface_dice


class ShapeScores:
    """Adds frames and computes every score at the end.

    Args:
        table: Class table with background as class 0.
        tolerance: Of the normalised surface Dice, in pixels.
    """

    def __init__(self, table: ClassTable, *, tolerance: float) -> None:
        self.table, self.tolerance = table, tolerance
        self.names = table.names[1:]
        self._nsd: dict[str, list[float]] = {name: [] for name in (*self.names, "binary")}
        self._regions = dict.fromkeys(self.names, RegionCounts())
        self._instances = dict.fromkeys(self.names, RegionCounts())
        self._all_instances = True
        self._shown: list[list[bool]] = []
        self._sure: list[list[float]] = []

    def add(
        self,
        truth: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        confidence: NDArray[np.float32],
        *,
        instances: NDArray[np.unsignedinteger[Any]] | None = None,
        found: NDArray[np.unsignedinteger[Any]] | None = None,
    ) -> None:
        """Adds one frame.

        Args:
            truth: ``[H, W]`` uint8 class ids; ignored pixels count as background in both maps.
            labels: ``[H, W]`` uint8 class ids.
            confidence: ``[H, W]`` float32 0..1, of the labels.
            instances: ``[H, W]``, the true instance of each pixel, 0 for none; an instance is the
                pixels of one number and one class.
            found: ``[H, W]``, the same of a model of instances; ``None``: the connected regions.
        """
        self._all_instances &= instances is not None
        counted = truth != IGNORE_INDEX
        shown, sure = [], []
        for row in list(self.table)[1:]:
            true, predicted = truth == row.id, (labels == row.id) & counted
            self._nsd[row.name].append(surface_dice(true, predicted, tolerance=self.tolerance))
            if true.any() or predicted.any():
                self._regions[row.name] += match_regions(true, predicted)
                if instances is not None:
                    self._instances[row.name] += match_regions(
                        true, predicted, instances=instances, found=found
                    )
            shown.append(bool(true.any()))
            # Score of presence: the summed confidence of the pixels of the class.
            sure.append(float(confidence[predicted].sum(dtype=np.float64)))
        self._nsd["binary"].append(
            surface_dice((truth > 0) & counted, (labels > 0) & counted, tolerance=self.tolerance)
        )
        self._shown.append(shown)
        self._sure.append(sure)

    def result(self) -> dict[str, float]:
        """Every score by name, 0..1; NaN where neither truth nor prediction shows the class."""
        prefix = f"nsd@{self.tolerance:g}px_"
        nsd = {name: mean(values) for name, values in self._nsd.items()}
        shown = np.array(self._shown, bool).reshape(-1, len(self.names))
        sure = np.array(self._sure, np.float64).reshape(-1, len(self.names))
        ap = {name: average_precision(shown[:, i], sure[:, i]) for i, name in enumerate(self.names)}
        together = sum(self._regions.values(), RegionCounts())
        return {
            **{prefix + name: value for name, value in nsd.items()},
            prefix + "mean": mean(nsd[name] for name in self.names),
            **{f"region_f1_{name}": counts.f1 for name, counts in self._regions.items()},
            **{f"pq_{name}": counts.panoptic_quality for name, counts in self._regions.items()},
            "region_precision": together.precision,
            "region_recall": together.recall,
            "region_f1": together.f1,
            "region_dice": together.region_dice,
            "pq": mean(counts.panoptic_quality for counts in self._regions.values()),
            **self._by_instance(),
            **{f"presence_ap_{name}": value for name, value in ap.items()},
            "presence_map": mean(ap.values()),
        }

    def _by_instance(self) -> dict[str, float]:
        if not self._all_instances:
            return {}
        together = sum(self._instances.values(), RegionCounts())
        return {
            "instance_precision": together.precision,
            "instance_recall": together.recall,
            "instance_f1": together.f1,
            "instance_dice": together.region_dice,
            "instance_pq": mean(counts.panoptic_quality for counts in self._instances.values()),
        }


def class_columns(scores: Mapping[str, object], names: Sequence[str]) -> dict[str, str]:
    """Column titles, by name prefix, of the scores that every class but the background has."""
    titles = {}
    for score in scores:
        prefix = score.removesuffix(names[-1])
        if prefix != score and all(prefix + name in scores for name in names[1:]):
            titles[prefix] = prefix.rstrip("_")
    return titles


def mean(values: Iterable[float]) -> float:
    """Mean without NaN; NaN where every value is NaN."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
