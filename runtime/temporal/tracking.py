"""Keeps instruments apart over time: a Kalman filter a track, matched by the Hungarian method.

    tracker = Tracker(); result = tracker.apply(frame, result)

Instruments enter through fixed ports: where one comes into view tells it from another of its kind
better than its box does, above all when two cross. So the entry point counts beside position,
overlap and class. The same frames always give the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from trocar.contract.results import FrameResult, Instrument, Point
from trocar.runtime.sources.base import Frame

GATE = 1.0
"""Cost above which an instrument is not the track's."""

_IMPOSSIBLE = 1e6
_CLASS_PENALTY = 0.45


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """How patient the tracker is.

    Attributes:
        lost_s: How long a track that is not seen is kept.
        min_hits: Sightings before an instrument gets its number.
    """

    lost_s: float = 2.0
    min_hits: int = 2


@dataclass
class _Track:
    """One instrument that was seen: box centre and size with their speeds."""

    class_id: int
    state: NDArray[np.float64]  # [4, 2]: x, y, width, height; value and change per second
    spread: NDArray[np.float64]  # [4, 2, 2] covariances
    entry: Point | None
    seen_at: float
    hits: int = 1
    number: int | None = None
    at: float = field(default=0.0)

    def predict(self, dt: float, noise: float) -> None:
        step = np.array([[1.0, dt], [0.0, 1.0]])
        self.state = self.state @ step.T
        drift = np.array([[dt**4 / 4, dt**3 / 2], [dt**3 / 2, dt * dt]]) * noise * noise
        self.spread = step @ self.spread @ step.T + drift

    def correct(self, measured: NDArray[np.float64], noise: float) -> None:
        rest = self.spread[:, 0, 0] + noise * noise
        gain = self.spread[:, :, 0] / rest[:, None]
        self.state = self.state + gain * (measured - self.state[:, 0])[:, None]
        self.spread = self.spread - gain[:, :, None] * self.spread[:, None, 0, :]


class Tracker:
    """Gives instruments numbers that stay."""

    name = "track"

    def __init__(self, options: TrackOptions | None = None) -> None:
        self._options = options or TrackOptions()
        self._tracks: list[_Track] = []
        self._next = 1
        self._time: float | None = None

    def apply(self, frame: Frame, result: FrameResult) -> FrameResult:
        """Numbers the instruments of one result; results must come in order of time."""
        now = result.time
        diagonal = math.hypot(*result.frame_size)
        dt = 0.0 if self._time is None else min(1.0, max(0.0, now - self._time))
        self._time = now
        for track in self._tracks:
            track.predict(dt, noise=2.0 * diagonal)
        kept = [t for t in self._tracks if 0 <= now - t.seen_at <= self._options.lost_s]
        self._tracks = kept
        found = result.instruments
        pairs = self._match(found, now, diagonal)
        numbered: list[Instrument] = []
        for index, instrument in enumerate(found):
            known = pairs.get(index)
            track = known or _new_track(instrument, now, diagonal)
            if known is None:
                self._tracks.append(track)
            else:
                self._update(track, instrument, now, diagonal)
            if track.number is None and track.hits >= self._options.min_hits:
                track.number = self._next
                self._next += 1
            numbered.append(replace(instrument, track_id=track.number))
        return replace(result, instruments=tuple(numbered))

    def _match(
        self, found: tuple[Instrument, ...], now: float, diagonal: float
    ) -> dict[int, _Track]:
        if not found or not self._tracks:
            return {}
        costs = np.array(
            [[_cost(track, i, now, diagonal) for track in self._tracks] for i in found]
        )
        rows, columns = linear_sum_assignment(np.where(costs <= GATE, costs, _IMPOSSIBLE))
        return {
            int(r): self._tracks[int(c)]
            for r, c in zip(rows, columns, strict=True)
            if costs[r, c] <= GATE
        }

    def _update(self, track: _Track, instrument: Instrument, now: float, diagonal: float) -> None:
        track.correct(_measured(instrument), noise=0.01 * diagonal)
        track.class_id = instrument.class_id
        if instrument.entry is not None:
            track.entry = instrument.entry
        track.seen_at = now
        track.hits += 1


def _measured(instrument: Instrument) -> NDArray[np.float64]:
    x0, y0, x1, y1 = instrument.box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])


def _new_track(instrument: Instrument, now: float, diagonal: float) -> _Track:
    state = np.zeros((4, 2))
    state[:, 0] = _measured(instrument)
    spread = np.zeros((4, 2, 2))
    spread[:, 0, 0] = (0.01 * diagonal) ** 2
    spread[:, 1, 1] = (0.5 * diagonal) ** 2
    return _Track(instrument.class_id, state, spread, instrument.entry, now)


def _cost(track: _Track, instrument: Instrument, now: float, diagonal: float) -> float:
    """0 for the same again; each part between 0 and 1, weighted."""
    x, y, w, h = track.state[:, 0]
    w, h = max(1.0, w), max(1.0, h)
    predicted = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    overlap = _iou(predicted, instrument.box)
    mx, my, mw, mh = _measured(instrument)
    # What was out of sight may have gone further.
    reach = (0.5 * math.hypot(max(w, mw), max(h, mh)) + 0.05 * diagonal) * (
        1 + 2 * (now - track.seen_at)
    )
    away = min(1.0, math.hypot(mx - x, my - y) / reach)
    cost = 0.35 * (1 - overlap) + 0.45 * away
    if track.entry is not None and instrument.entry is not None:
        apart = math.dist(track.entry, instrument.entry) / (0.15 * diagonal)
        cost += 0.6 * min(1.0, apart)
    return cost + (_CLASS_PENALTY if track.class_id != instrument.class_id else 0.0)


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    inside = w * h
    whole = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside
    return float(inside / whole)
