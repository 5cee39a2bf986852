"""How well and how fast instruments are located and drawn, on phantom truth.

python benchmarks/live_location.py --supervision DIR --json benchmarks/results/live_location.json

Accuracy: the true label maps of phantom scenes (types alone, and types with parts) go through
`locate`. *Boxes* are matched one to one: an instrument that something covers in the middle, or of
which only the two jaws are in view, is found as two, and its box counts as half found. *Tips*: the
distance of every true tip in view to the nearest found tip of that type (a phantom scene holds one
of each type). Time: medians of the processor time of locating and drawing at 1080p on one core,
beside `supervision`'s mask annotator (DIR: made with ``pip install --no-deps --target DIR
supervision pydeprecate defusedxml``).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from pathlib import Path
from time import thread_time
from typing import Any

import cv2
import numpy as np
from helpers.live.ground_truth import iou, visible_instruments
from scipy.optimize import linear_sum_assignment

from trocar.contract.classes import ClassRow, ClassTable, default_colour
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.draw.overlay import OverlayOptions, Painter
from trocar.runtime.locate.field_of_view import FieldOfViewTracker
from trocar.runtime.locate.instruments import locate
from trocar.train.data.phantom import PhantomConfig, parts_table, phantom_frames, phantom_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--accuracy-only", action="store_true", help="time nothing")
    parser.add_argument("--supervision", type=Path, help="folder that holds the package")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    config = PhantomConfig(frames=given.frames, seed=given.seed, clip_length=4)
    frames = list(phantom_frames(config))
    print(f"phantom: {given.frames} frames {config.size[1]}x{config.size[0]}, seed {given.seed}")
    table, labels = with_parts(frames)
    figures = {
        "command": "python " + " ".join(sys.argv),
        "types": accuracy("types alone", frames, phantom_table(), [f.types for f in frames]),
        "parts": accuracy("types with parts", frames, table, labels),
    }
    if not given.accuracy_only:
        figures["median_ms"] = speed(frames, given.supervision)
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def with_parts(frames: list[Any]) -> tuple[ClassTable, list[np.ndarray]]:
    """One class for each pair of type and part."""
    types, parts = phantom_table(), parts_table()
    rows = [ClassRow(id=0, name="background", colour=(0, 0, 0))]
    for kind in types.rows[1:]:
        for part in parts.rows[1:]:
            rows.append(
                ClassRow(
                    id=len(rows),
                    name=f"{kind.name} {part.name}",
                    colour=default_colour(len(rows)),
                    instrument=True,
                    type=kind.name,
                    part=part.name,
                )
            )
    count = len(parts) - 1
    joined = []
    for f in frames:
        both = (f.types > 0) & (f.parts > 0)
        joined.append(np.where(both, (f.types - 1) * count + f.parts, 0).astype(np.uint8))
    return ClassTable(tuple(rows)), joined


def accuracy(
    name: str, frames: list[Any], table: ClassTable, label_maps: list[np.ndarray]
) -> dict[str, Any]:
    """Tip errors and box overlaps, whole and by type."""
    errors: dict[str, list[float]] = {}
    overlaps: list[float] = []
    counts: Counter[str] = Counter()
    finder, clip = FieldOfViewTracker(), -1
    for frame, labels in zip(frames, label_maps, strict=True):
        if frame.clip != clip:
            finder, clip = FieldOfViewTracker(), frame.clip
        found = locate(labels, None, table, labels.shape, view=finder.update(frame.image))
        truth = visible_instruments(frame)
        counts["true"] += len(truth)
        counts["found"] += len(found)
        overlaps += [iou(i.box, one[1]) for i, one in matched(found, truth)]
        for kind, _, points in truth:
            tips = [tip for i in found if i.class_name == kind for tip in i.tips]
            counts["tips in view"] += len(points)
            if tips:
                errors.setdefault(kind, []).extend(
                    min(math.dist(point, tip) for tip in tips) for point in points
                )
    every = [error for own in errors.values() for error in own]
    result = {
        **counts,
        "box_iou": {"median": middle(overlaps), "p5": rank(overlaps, 5), "p10": rank(overlaps, 10)},
        "tips_measured": len(every),
        "tip_error_px": {"median": middle(every), "p95": rank(every, 95)},
        "tip_error_px_by_type": {
            kind: {"median": middle(own), "p95": rank(own, 95)} for kind, own in errors.items()
        },
    }
    print(f"{name}: {json.dumps(result)}")
    return result


def middle(values: list[float]) -> float:
    return rank(values, 50)


def rank(values: list[float], percent: float) -> float:
    return round(float(np.percentile(values, percent)), 3)


def matched(found: tuple[Instrument, ...], truth: list[Any]) -> list[tuple[Instrument, Any]]:
    if not found or not truth:
        return []
    cost = np.array([[1 - iou(i.box, box) for _, box, _ in truth] for i in found])
    rows, columns = linear_sum_assignment(cost)
    return [(found[r], truth[c]) for r, c in zip(rows, columns, strict=True) if cost[r, c] < 0.7]


def speed(frames: list[Any], folder: Path | None) -> dict[str, float]:
    """Medians at 1080p; the annotator takes its turns after ours, in the same run.

    It makes masks of 1080p for every instrument: what follows at once would pay for the memory
    that it has just given back.
    """
    cv2.setNumThreads(1)
    table = phantom_table()
    shown = [f for f in frames if len(f.tips) >= 2][:60] or frames[:60]
    big = [cv2.resize(f.image, (1920, 1080)) for f in shown]
    confidence = np.full(shown[0].types.shape, 0.9, np.float16)
    painter = Painter(table)
    regions = Painter(table, OverlayOptions(show=("masks", "contours"), legend=False))
    annotate = supervision_annotator(folder)
    times: dict[str, list[float]] = {}
    for _ in range(3):
        shown_results = []
        for frame, image in zip(shown, big, strict=True):
            started = thread_time()
            found = locate(frame.types, confidence, table, (1080, 1920))
            times.setdefault("locate, labels 512x640", []).append(thread_time() - started)
            result = FrameResult(
                frame_id=0,
                time=0,
                captured_ns=0,
                age_ms=0,
                frame_size=(1080, 1920),
                labels=frame.types,
                instruments=found,
            )
            started = thread_time()
            painter.draw(image, result)
            times.setdefault("draw everything", []).append(thread_time() - started)
            started = thread_time()
            regions.draw(image, result)
            times.setdefault("draw regions only", []).append(thread_time() - started)
            shown_results.append(result)
        for frame, image, result in zip(shown, big, shown_results, strict=True):
            if annotate is not None:
                started = thread_time()
                annotate(image, frame.types, result.instruments)
                times.setdefault("supervision MaskAnnotator", []).append(thread_time() - started)
    for name, values in times.items():
        print(f"{name:28s} median {np.median(values) * 1000:6.2f} ms")
    if annotate is None:
        print("supervision MaskAnnotator    not run: the package is not here (--supervision DIR)")
    return {name: round(float(np.median(values)) * 1000, 3) for name, values in times.items()}


def supervision_annotator(folder: Path | None) -> Any:
    if folder is not None:
        sys.path.append(str(folder))
    try:
        import supervision
    except ImportError:
        return None
    annotator = supervision.MaskAnnotator()

    def annotate(image: np.ndarray, labels: np.ndarray, found: tuple[Instrument, ...]) -> Any:
        # It takes one mask of the frame's size for each object: making them is part of its price.
        large = cv2.resize(labels, (1920, 1080), interpolation=cv2.INTER_NEAREST)
        masks = np.stack([large == i.class_id for i in found]) if found else np.zeros((0, 1080, 1920), bool)  # fmt: skip # noqa: E501
        detections = supervision.Detections(
            xyxy=np.array([i.box for i in found]).reshape(-1, 4),
            mask=masks,
            class_id=np.array([i.class_id for i in found], int),
        )
        return annotator.annotate(image.copy(), detections)

    return annotate


if __name__ == "__main__":
    main()
