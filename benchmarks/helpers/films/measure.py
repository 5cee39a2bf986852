"""Runs a model over a labelled film as `trocar run` does, and measures what it reports.

figures = measure_film(film, processor, classes, groups).figures
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from helpers.films.masks import Groups, masks_of_found, overlaps, shrink_labels
from helpers.films.truth import Film, TrueInstrument, joined_table, located_truth
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.media.label_maps import enlarge
from trocar.contract.results import FrameResult, Instrument
from trocar.evaluation.metrics.tracking_scores import MIN_OVERLAP, TrackedFrame, tracking_scores
from trocar.runtime.sources.base import Frame

_NETWORK = ("decode", "infer")

Process = Callable[[Frame], FrameResult]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A frame for the contact sheet: what was reported and what is true."""

    image: NDArray[np.uint8]
    result: FrameResult
    truth: list[TrueInstrument]


@dataclass(kw_only=True)
class _Tally:
    """What is counted over a film."""

    seconds: list[float] = field(default_factory=list)
    after_network_ms: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    true_counts: list[int] = field(default_factory=list)
    found_counts: list[int] = field(default_factory=list)
    matched: int = 0
    tips: list[float] = field(default_factory=list)
    true_tips: int = 0
    entries: list[float] = field(default_factory=list)
    true_entries: int = 0
    both: int = 0
    either: int = 0
    changed: int = 0
    still: int = 0
    tracked: list[TrackedFrame] = field(default_factory=list)
    identities: set[int] = field(default_factory=set)
    instruments: set[int] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The figures of a film by name, and frames for the contact sheet."""

    figures: dict[str, Any]
    shown: list[Shown]


def measure_film(
    film: Film,
    process: Process,
    classes: ClassTable,
    groups: Groups,
    *,
    max_frames: int | None = None,
    pictures: int = 8,
) -> Measured:
    """Runs and measures one film.

    Args:
        film: Its frames and truth.
        process: From frame to result, with all state of a stream.
        classes: The model's class table.
        groups: See `helpers.films.masks.groups_of`.
        max_frames: Frames after which to stop; ``None`` measures all.
        pictures: Frames that are kept for the contact sheet, at equal distances.
    """
    count = min(len(film.items), max_frames or len(film.items))
    picked = {round((i + 0.5) * count / pictures - 0.5) for i in range(pictures)}
    table = joined_table(film.frames.table)
    tally, shown = _Tally(), []
    before: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
    for number, frame in enumerate(film.decoded()):
        if number == count:
            break
        started = perf_counter()
        result = process(frame)
        tally.seconds.append(perf_counter() - started)
        stages = result.stages_ms.items()
        tally.after_network_ms.append(sum(ms for name, ms in stages if name not in _NETWORK))
        tally.times.append(frame.time)
        item = film.items[frame.index]
        mask = film.frames.read(item).mask
        assert mask is not None
        assert result.labels is not None
        instances = film.frames.instance_map(item, mask.shape)
        assert instances is not None
        truth = located_truth(mask, instances, table, label_size=result.labels.shape)
        _count_pixels(tally, mask, film.frames.table, result.labels, classes)
        before = _count_flicker(tally, before, shrink_labels(mask, result.labels.shape), result)
        _count_instruments(tally, truth, result, groups)
        if number in picked:
            shown.append(Shown(image=frame.image, result=result, truth=truth))
    size = result.frame_size
    return Measured(figures=_figures(tally, math.hypot(*size)), shown=shown)


def _instrument_pixels(ids: NDArray[np.uint8], table: ClassTable) -> NDArray[np.bool_]:
    wanted = np.zeros(256, bool)
    wanted[[row.id for row in table if row.instrument]] = True
    return np.asarray(wanted[ids])


def _count_pixels(
    tally: _Tally,
    mask: NDArray[np.uint8],
    data: ClassTable,
    labels: NDArray[np.uint8],
    classes: ClassTable,
) -> None:
    counted = mask != IGNORE_INDEX
    true = _instrument_pixels(mask, data) & counted
    found = _instrument_pixels(enlarge(labels, mask.shape), classes) & counted
    tally.both += int((true & found).sum())
    tally.either += int((true | found).sum())


def _count_flicker(
    tally: _Tally,
    before: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None,
    mask: NDArray[np.uint8],
    result: FrameResult,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    assert result.labels is not None
    if before is not None:
        still = (mask == before[0]) & (mask != IGNORE_INDEX)
        tally.still += int(still.sum())
        tally.changed += int((still & (result.labels != before[1])).sum())
    return mask, result.labels


def _count_instruments(
    tally: _Tally, truth: list[TrueInstrument], result: FrameResult, groups: Groups
) -> None:
    found, labels = result.instruments, result.labels
    assert labels is not None
    masks = masks_of_found(labels, found, groups, frame_size=result.frame_size)
    overlap = overlaps([one.mask for one in truth], masks)
    tally.true_counts.append(len(truth))
    tally.found_counts.append(len(found))
    tally.instruments |= {one.number for one in truth}
    tally.true_tips += sum(len(one.tips) for one in truth)
    tally.true_entries += sum(one.entry is not None for one in truth)
    if overlap.size:
        rows, columns = linear_sum_assignment(-overlap)
        for row, column in zip(rows, columns, strict=True):
            if overlap[row, column] >= MIN_OVERLAP:
                tally.matched += 1
                _measure_points(tally, truth[row], found[column])
    tracked = [i for i, one in enumerate(found) if one.track_id is not None]
    ids = tuple(one.track_id for one in found if one.track_id is not None)
    tally.identities |= set(ids)
    tally.tracked.append(
        TrackedFrame(
            truth=tuple(one.number for one in truth), found=ids, overlap=overlap[:, tracked]
        )
    )


def _measure_points(tally: _Tally, true: TrueInstrument, found: Instrument) -> None:
    if found.tips:
        tally.tips += [min(math.dist(tip, other) for other in found.tips) for tip in true.tips]
    if true.entry is not None and found.entry is not None:
        tally.entries.append(math.dist(true.entry, found.entry))


def _figures(tally: _Tally, diagonal: float) -> dict[str, Any]:
    frames = len(tally.seconds)
    # The last frame is shown as long as the others.
    seconds = (tally.times[-1] - tally.times[0]) * frames / max(1, frames - 1)
    minutes = max(seconds, 1e-9) / 60
    true, found = np.array(tally.true_counts), np.array(tally.found_counts)
    tracking = tracking_scores(tally.tracked)
    instruments, identities = len(tally.instruments), len(tally.identities)
    return {
        "frames": frames,
        "seconds": round(seconds, 2),
        "true_count": _round(true.mean()),
        "found_count": _round(found.mean()),
        "count_difference": _round((found - true).mean()),
        "count_error": _round(np.abs(found - true).mean()),
        "count_changes_per_minute": _round((np.diff(found) != 0).sum() / minutes, 1),
        "matched": tally.matched,
        "missed": int(true.sum()) - tally.matched,
        "added": int(found.sum()) - tally.matched,
        "missed_per_frame": _round((true.sum() - tally.matched) / frames),
        "added_per_frame": _round((found.sum() - tally.matched) / frames),
        "right_of_found": _round(tally.matched / max(1, found.sum())),
        "instruments": instruments,
        "identities": identities,
        "identities_per_instrument": _round(identities / max(1, instruments), 2),
        "new_identities_per_instrument_minute": _round(
            max(0, identities - instruments) / max(1, instruments) / minutes, 1
        ),
        "switches": int(tracking["switches"]),
        "switches_per_minute": _round(tracking["switches"] / minutes, 1),
        **{name: _round(tracking[name]) for name in ("IDF1", "HOTA", "DetA", "AssA")},
        "tip_percent": _percent(tally.tips, diagonal),
        "tip_percent_p95": _percent(tally.tips, diagonal, rank=95),
        "tips_measured": len(tally.tips),
        "tips_true": tally.true_tips,
        "entry_percent": _percent(tally.entries, diagonal),
        "entries_measured": len(tally.entries),
        "entries_true": tally.true_entries,
        "iou_binary": _round(tally.both / max(1, tally.either), 4),
        "flicker_percent": _round(100 * tally.changed / max(1, tally.still)),
        "after_network_ms": _round(float(np.median(tally.after_network_ms)), 2),
        "frames_per_second": _round(frames / sum(tally.seconds), 1),
    }


def _percent(values: list[float], diagonal: float, *, rank: float = 50) -> float | None:
    return _round(100 * float(np.percentile(values, rank)) / diagonal, 2) if values else None


def _round(value: float, digits: int = 3) -> float | None:
    return None if math.isnan(value) else round(float(value), digits)
