"""HOTA, IDF1, MOTA and identity switches of tracked instruments, from overlaps in each frame.

scores = tracking_scores([TrackedFrame(truth=(1,), found=(7,), overlap=np.array([[0.9]]))])

HOTA: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021.
IDF1: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking",
ECCV workshops 2016. MOTA and switches: Bernardin and Stiefelhagen, "Evaluating Multiple Object
Tracking Performance: The CLEAR MOT Metrics", 2008. All are computed as TrackEval computes them.
Several videos are scored together if the tracks of each have identities of their own, e.g.
``(video, number)``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

ALPHAS = tuple(i / 20 for i in range(1, 20))
"""Overlaps over which HOTA is averaged: 0.05 to 0.95."""

MIN_OVERLAP = 0.5
"""Overlap from which on a found instrument can be a true one, for IDF1, MOTA and switches."""

_ROUNDING = 1e-9

_Pair: TypeAlias = tuple[Hashable, Hashable]


@dataclass(frozen=True, kw_only=True)
class TrackedFrame:
    """One frame of two sets of tracks.

    Attributes:
        truth: Identity of each true instrument.
        found: Track id of each found instrument.
        overlap: ``[true, found]`` IoU, 0..1.
    """

    truth: tuple[Hashable, ...]
    found: tuple[Hashable, ...]
    overlap: NDArray[np.float64]


def tracking_scores(frames: Sequence[TrackedFrame]) -> dict[str, float]:
    """HOTA with its parts DetA and AssA, IDF1, MOTA, and counts ``switches`` and ``true``.

    HOTA, its parts and IDF1 are 0..1, MOTA is 1 at most and may be negative; all are NaN without
    truth. ``true`` is the number of true instruments, summed over the frames.
    """
    return {**hota(frames), "IDF1": idf1(frames), **clear_mot(frames)}


def hota(frames: Sequence[TrackedFrame]) -> dict[str, float]:
    """HOTA, DetA and AssA, each averaged over `ALPHAS`.

    In each frame one assignment serves all alphas. It prefers pairs of tracks that overlap over the
    whole film, then pairs that overlap in this frame.
    """
    true_counts = Counter(one for frame in frames for one in frame.truth)
    found_counts = Counter(one for frame in frames for one in frame.found)
    true_total, found_total = sum(true_counts.values()), sum(found_counts.values())
    if not true_total:
        return dict.fromkeys(("HOTA", "DetA", "AssA"), math.nan)
    alignment = _alignment(frames, true_counts, found_counts)
    matched = [Counter[_Pair]() for _ in ALPHAS]
    for frame in frames:
        weight = np.array(
            [[alignment.get((t, f), 0.0) for f in frame.found] for t in frame.truth]
        ).reshape(frame.overlap.shape)
        for row, column in zip(*_assign(weight * frame.overlap), strict=True):
            pair = frame.truth[row], frame.found[column]
            for counts, alpha in zip(matched, ALPHAS, strict=True):
                counts[pair] += frame.overlap[row, column] >= alpha - _ROUNDING
    detection, association = [], []
    for counts in matched:
        hits = sum(counts.values())
        detection.append(hits / (true_total + found_total - hits))
        together = sum(
            count * count / (true_counts[t] + found_counts[f] - count)
            for (t, f), count in counts.items()
        )
        association.append(together / hits if hits else 0.0)
    whole = np.sqrt(np.array(detection) * np.array(association))
    return {
        "HOTA": float(whole.mean()),
        "DetA": float(np.mean(detection)),
        "AssA": float(np.mean(association)),
    }


def _alignment(
    frames: Sequence[TrackedFrame], true_counts: Counter[Hashable], found_counts: Counter[Hashable]
) -> dict[_Pair, float]:
    """How well each pair of tracks overlaps over the film, 0..1."""
    shared: Counter[_Pair] = Counter()
    for frame in frames:
        both = frame.overlap.sum(0)[None, :] + frame.overlap.sum(1)[:, None] - frame.overlap
        share = np.divide(
            frame.overlap, both, out=np.zeros_like(frame.overlap), where=both > _ROUNDING
        )
        for row, true in enumerate(frame.truth):
            for column, found in enumerate(frame.found):
                shared[true, found] += share[row, column]  # type: ignore[assignment]
    return {
        (t, f): weight / (true_counts[t] + found_counts[f] - weight)
        for (t, f), weight in shared.items()
    }


def idf1(frames: Sequence[TrackedFrame]) -> float:
    """IDF1: true instruments and track ids are paired once for the whole film."""
    together: Counter[_Pair] = Counter()
    for frame in frames:
        for row, column in np.argwhere(frame.overlap >= MIN_OVERLAP):
            together[frame.truth[row], frame.found[column]] += 1
    total = sum(len(frame.truth) + len(frame.found) for frame in frames)
    if not any(frame.truth for frame in frames):
        return math.nan
    truth = list(dict.fromkeys(t for t, _ in together))
    found = list(dict.fromkeys(f for _, f in together))
    counts = np.array([[float(together[t, f]) for f in found] for t in truth])
    rows, columns = _assign(counts.reshape(len(truth), len(found)))
    return float(2 * counts[rows, columns].sum() / total) if len(rows) else 0.0


def clear_mot(frames: Sequence[TrackedFrame]) -> dict[str, float]:
    """MOTA, and the counts ``switches`` and ``true``.

    A switch is a true instrument that gets another track id than it had when it was last found. A
    pair of the frame before is kept as long as it overlaps by half.
    """
    last: dict[Hashable, Hashable] = {}
    before: set[_Pair] = set()
    switches = matched = 0
    for frame in frames:
        if not frame.overlap.size:
            continue
        kept = np.array(
            [[(t, f) in before for f in frame.found] for t in frame.truth], float
        ).reshape(frame.overlap.shape)
        possible = frame.overlap >= MIN_OVERLAP - _ROUNDING
        before = set()
        for row, column in zip(*_assign((frame.overlap + 1000 * kept) * possible), strict=True):
            true, found = frame.truth[row], frame.found[column]
            switches += last.get(true, found) != found
            last[true] = found
            before.add((true, found))
        matched += len(before)
    true_total = sum(len(frame.truth) for frame in frames)
    alarms = sum(len(frame.found) for frame in frames) - matched
    mota = (matched - alarms - switches) / true_total if true_total else math.nan
    return {"MOTA": mota, "switches": float(switches), "true": float(true_total)}


def _assign(score: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Rows and columns of the assignment of highest total; pairs of score 0 are left out."""
    if not score.size:
        return [], []
    rows, columns = linear_sum_assignment(-score)
    used = score[rows, columns] > 0
    return [int(r) for r in rows[used]], [int(c) for c in columns[used]]
