"""How well and how fast instruments are located, drawn and tracked, on phantom truth.

python benchmarks/live_location.py

Accuracy: the true label maps of phantom scenes (types alone, and types with parts) go through
`locate`; tips and boxes are compared with the phantom's own. Time: medians of locating and drawing
at 1080p, beside `supervision`'s mask annotator where that package is at hand
(`--supervision DIR`: a folder made with ``pip install --no-deps --target DIR supervision``).
Tracking: HOTA is not computed; identity switches and IDF1 are counted here by their definitions.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from trocar.contract.classes import ClassRow, ClassTable, default_colour
from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.instruments import locate
from trocar.runtime.overlay import OverlayOptions, Painter
from trocar.runtime.sources import Frame
from trocar.runtime.tracking import Tracker
from trocar.runtime.view import RoundView
from trocar.train.data.phantom import PhantomConfig, parts_table, phantom_frames, phantom_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--supervision", type=Path, help="folder that holds the package")
    given = parser.parse_args()
    config = PhantomConfig(frames=given.frames, seed=given.seed, clip_length=4)
    frames = list(phantom_frames(config))
    print(f"phantom: {given.frames} frames {config.size[1]}x{config.size[0]}, seed {given.seed}")
    accuracy("types alone", frames, phantom_table(), [f.types for f in frames])
    table, labels = with_parts(frames)
    accuracy("types with parts", frames, table, labels)
    clips = PhantomConfig(frames=given.frames, seed=given.seed, clip_length=75)
    tracking(list(phantom_frames(clips)))
    speed(frames, given.supervision)


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


def accuracy(name: str, frames: list[Any], table: ClassTable, label_maps: list[np.ndarray]) -> None:
    """Tip error and box overlap of what was found against the truth it overlaps most."""
    errors: list[float] = []
    overlaps: list[float] = []
    counts: Counter[str] = Counter()
    finder = RoundView()
    clip = -1
    for frame, labels in zip(frames, label_maps, strict=True):
        if frame.clip != clip:
            finder, clip = RoundView(), frame.clip
        view = finder.update(frame.image)
        found = locate(labels, None, table, labels.shape, view=view)
        truth = truths(frame)
        counts["true"] += len(truth)
        counts["found"] += len(found)
        for instrument, (box, points) in matched(found, truth):
            overlaps.append(iou(instrument.box, box))
            counts["matched"] += 1
            if points and instrument.tips:
                errors.append(tip_error(instrument.tips, points))
                counts["with tips"] += 1
    print(
        f"{name:18s} {counts['true']} true, {counts['found']} found, {counts['matched']} matched; "
        f"box IoU median {np.median(overlaps):.3f}, 5th percentile "
        f"{np.percentile(overlaps, 5):.3f}; tip error median {np.median(errors):.1f} px, "
        f"p95 {np.percentile(errors, 95):.1f} px ({counts['with tips']} instruments)"
    )


def truths(frame: Any) -> list[tuple[tuple[float, ...], list[tuple[float, float]]]]:
    """True boxes, and the tips that are in view."""
    height, width = frame.instances.shape
    made = []
    for tip in frame.tips:
        mask = (frame.instances == tip.instance).astype(np.uint8)
        if mask.sum() < max(16, int(height * width * 0.0005)):
            continue
        x, y, w, h = cv2.boundingRect(mask)
        inside = []
        if tip.visible:
            for px, py in tip.points:
                # The truth's whole numbers are pixel centres; results count from the corner.
                if 0 <= round(px) < width and 0 <= round(py) < height:
                    near = mask[max(0, round(py) - 2) : round(py) + 3, max(0, round(px) - 2) : round(px) + 3]  # fmt: skip # noqa: E501
                    if near.any():
                        inside.append((px + 0.5, py + 0.5))
        made.append(((x, y, x + w, y + h), inside))
    return made


def matched(found: tuple[Instrument, ...], truth: list[Any]) -> list[tuple[Instrument, Any]]:
    if not found or not truth:
        return []
    cost = np.array([[1 - iou(i.box, box) for box, _ in truth] for i in found])
    rows, columns = linear_sum_assignment(cost)
    return [(found[r], truth[c]) for r, c in zip(rows, columns, strict=True) if cost[r, c] < 0.7]


def tip_error(found: tuple[Any, ...], points: list[tuple[float, float]]) -> float:
    """Mean distance of the true jaws to the nearest tip that was found."""
    return float(np.mean([min(math.dist(p, t) for t in found) for p in points]))


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    whole = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / whole


def tracking(frames: list[Any]) -> None:
    """Switches of number on one true instrument, and IDF1 (Ristani et al., 2016)."""
    table = phantom_table()
    pairs: Counter[tuple[Any, Any]] = Counter()
    true_count: Counter[Any] = Counter()
    given_count: Counter[Any] = Counter()
    last: dict[Any, int] = {}
    switches = 0
    tracker, finder, clip = Tracker(), RoundView(), -1
    for index, frame in enumerate(frames):
        if frame.clip != clip:
            tracker, finder, clip = Tracker(), RoundView(), frame.clip
        view = finder.update(frame.image)
        found = locate(frame.types, None, table, frame.types.shape, view=view)
        result = FrameResult(
            frame_id=index,
            time=frame.time,
            captured_ns=0,
            age_ms=0,
            frame_size=frame.types.shape,
            instruments=found,
        )
        given = Frame(image=frame.image, index=index, time=frame.time, captured_ns=0)
        numbered = tracker.apply(given, result).instruments
        truth = truths(frame)
        names = [(clip, tip.instance) for tip in frame.tips
                 if (frame.instances == tip.instance).sum() >= max(16, int(frame.types.size * 0.0005))]  # fmt: skip # noqa: E501
        true_count.update(names)
        given_count.update((clip, i.track_id) for i in numbered if i.track_id is not None)
        for instrument, one in matched(numbered, truth):
            if instrument.track_id is None:
                continue
            who = names[next(k for k, other in enumerate(truth) if other is one)]
            if last.get(who, instrument.track_id) != instrument.track_id:
                switches += 1
            last[who] = instrument.track_id
            pairs[(who, (clip, instrument.track_id))] += 1
    trues, tracks = list(true_count), list(given_count)
    gain = np.array([[pairs[(t, g)] for g in tracks] for t in trues])
    rows, columns = linear_sum_assignment(-gain)
    hits = int(gain[rows, columns].sum())
    idf1 = 2 * hits / (sum(true_count.values()) + sum(given_count.values()))
    print(
        f"tracking: {len(trues)} instruments in {frames[-1].clip + 1} clips, {len(tracks)} "
        f"numbers given, {switches} switches, IDF1 {idf1:.3f}"
    )


def speed(frames: list[Any], folder: Path | None) -> None:
    """Medians at 1080p, one after the other in the same loop."""
    table = phantom_table()
    shown = [f for f in frames if len(f.tips) >= 2][:60] or frames[:60]
    big = [cv2.resize(f.image, (1920, 1080)) for f in shown]
    confidence = np.full(shown[0].types.shape, 0.9, np.float16)
    painter = Painter(table)
    regions = Painter(table, OverlayOptions(boxes=False, tips=False, legend=False))
    annotate = supervision_annotator(folder)
    times: dict[str, list[float]] = {}
    for _ in range(3):
        for frame, image in zip(shown, big, strict=True):
            started = perf_counter()
            found = locate(frame.types, confidence, table, (1080, 1920))
            times.setdefault("locate, labels 512x640", []).append(perf_counter() - started)
            result = FrameResult(
                frame_id=0,
                time=0,
                captured_ns=0,
                age_ms=0,
                frame_size=(1080, 1920),
                labels=frame.types,
                instruments=found,
            )
            started = perf_counter()
            painter.draw(image, result)
            times.setdefault("draw everything", []).append(perf_counter() - started)
            started = perf_counter()
            regions.draw(image, result)
            times.setdefault("draw regions only", []).append(perf_counter() - started)
            if annotate is not None:
                started = perf_counter()
                annotate(image, frame.types, found)
                times.setdefault("supervision MaskAnnotator", []).append(perf_counter() - started)
    for name, values in times.items():
        print(f"{name:28s} median {np.median(values) * 1000:6.2f} ms")
    if annotate is None:
        print("supervision MaskAnnotator    not run: the package is not here (--supervision DIR)")


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
