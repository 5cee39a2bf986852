"""Tracks instruments over time: one Kalman filter per track, matched by the Hungarian algorithm.

    tracker = Tracker(); result = tracker.apply(frame, result)

Instruments enter the body through fixed ports. The point where an instrument enters the view
therefore separates two instruments of one class better than their boxes do, above all when they
cross. The matching cost has four terms: overlap, distance, entry point and class. Equal frames
always give equal track ids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from trocar.contract.results import FrameResult, Instrument, Point
from trocar.runtime.sources.base import Frame

MAX_COST = 1.0
"""Matching cost above which an instrument is not assigned to a track."""

_IMPOSSIBLE = 1e6
_CLASS_PENALTY = 0.45


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """When tracks begin and end.

    Attributes:
        max_lost_s: Seconds without a match after which a track ends.
        min_hits: Matches from which on an instrument gets a track id.
    """

    max_lost_s: float = 2.0
    min_hits: int = 2


@dataclass
class _Track:
    """One tracked instrument: four independent filters of constant velocity, for box x, y, w, h."""

    class_id: int
    state: NDArray[np.float64]  # [4, 2] value and velocity per second of x, y, width, height
    covariance: NDArray[np.float64]  # [4, 2, 2]
    entry: Point | None
    last_seen: float
    hits: int = 1
    track_id: int | None = None

    def predict(self, dt: float, noise: float) -> None:
        """Moves the state ``dt`` seconds ahead; ``noise`` is the acceleration in pixels per s²."""
        step = np.array([[1.0, dt], [0.0, 1.0]])
        self.state = self.state @ step.T
        process_noise = np.array([[dt**4 / 4, dt**3 / 2], [dt**3 / 2, dt * dt]]) * noise * noise
        self.covariance = step @ self.covariance @ step.T + process_noise

    def correct(self, measured: NDArray[np.float64], noise: float) -> None:
        """Corrects the state by a measured box ``[4]``; ``noise`` is its error in pixels."""
        innovation = self.covariance[:, 0, 0] + noise * noise
        gain = self.covariance[:, :, 0] / innovation[:, None]
        self.state = self.state + gain * (measured - self.state[:, 0])[:, None]
        self.covariance = self.covariance - gain[:, :, None] * self.covariance[:, None, 0, :]


class Tracker:
    """Gives each instrument a track id that stays the same over time."""

    name = "track"

    def __init__(self, options: TrackOptions | None = None) -> None:
        self._options = options or TrackOptions()
        self._tracks: list[_Track] = []
        self._next_id = 1
        self._time: float | None = None

    def apply(self, frame: Frame, result: FrameResult) -> FrameResult:
        """The result with track ids; results must come in order of time."""
        now = result.time
        diagonal = math.hypot(*result.frame_size)
        dt = 0.0 if self._time is None else min(1.0, max(0.0, now - self._time))
        self._time = now
        for track in self._tracks:
            track.predict(dt, noise=2.0 * diagonal)
        self._tracks = [
            track
            for track in self._tracks
            if 0 <= now - track.last_seen <= self._options.max_lost_s
        ]
        matches = self._match(result.instruments, now, diagonal)
        tracked: list[Instrument] = []
        for index, instrument in enumerate(result.instruments):
            known = matches.get(index)
            track = known or _new_track(instrument, now, diagonal)
            if known is None:
                self._tracks.append(track)
            else:
                self._update(track, instrument, now, diagonal)
            if track.track_id is None and track.hits >= self._options.min_hits:
                track.track_id = self._next_id
                self._next_id += 1
            tracked.append(replace(instrument, track_id=track.track_id))
        return replace(result, instruments=tuple(tracked))

    def _match(
        self, instruments: tuple[Instrument, ...], now: float, diagonal: float
    ) -> dict[int, _Track]:
        """The track of each matched instrument, by the instrument's index."""
        if not instruments or not self._tracks:
            return {}
        costs = np.array(
            [[_cost(track, i, now, diagonal) for track in self._tracks] for i in instruments]
        )
        rows, columns = linear_sum_assignment(np.where(costs <= MAX_COST, costs, _IMPOSSIBLE))
        return {
            int(r): self._tracks[int(c)]
            for r, c in zip(rows, columns, strict=True)
            if costs[r, c] <= MAX_COST
        }

    def _update(self, track: _Track, instrument: Instrument, now: float, diagonal: float) -> None:
        track.correct(_measured(instrument), noise=0.01 * diagonal)
        track.class_id = instrument.class_id
        if instrument.entry is not None:
            track.entry = instrument.entry
        track.last_seen = now
        track.hits += 1


def _measured(instrument: Instrument) -> NDArray[np.float64]:
    x0, y0, x1, y1 = instrument.box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])


def _new_track(instrument: Instrument, now: float, diagonal: float) -> _Track:
    state = np.zeros((4, 2))
    state[:, 0] = _measured(instrument)
    covariance = np.zeros((4, 2, 2))
    covariance[:, 0, 0] = (0.01 * diagonal) ** 2
    covariance[:, 1, 1] = (0.5 * diagonal) ** 2
    return _Track(instrument.class_id, state, covariance, instrument.entry, now)


def _cost(track: _Track, instrument: Instrument, now: float, diagonal: float) -> float:
    """Matching cost: 0 for an equal box. A weighted sum of terms between 0 and 1."""
    x, y, w, h = track.state[:, 0]
    w, h = max(1.0, w), max(1.0, h)
    predicted = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    overlap = _iou(predicted, instrument.box)
    mx, my, mw, mh = _measured(instrument)
    # An instrument that was not seen for a time may have moved farther.
    reach = (0.5 * math.hypot(max(w, mw), max(h, mh)) + 0.05 * diagonal) * (
        1 + 2 * (now - track.last_seen)
    )
    distance = min(1.0, math.hypot(mx - x, my - y) / reach)
    cost = 0.35 * (1 - overlap) + 0.45 * distance
    if track.entry is not None and instrument.entry is not None:
        entry_distance = math.dist(track.entry, instrument.entry) / (0.15 * diagonal)
        cost += 0.6 * min(1.0, entry_distance)
    return cost + (_CLASS_PENALTY if track.class_id != instrument.class_id else 0.0)


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    intersection = w * h
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection
    return float(intersection / union)
