"""Tracks instruments over time: a Kalman filter for each track, matched by the Hungarian algorithm.

    tracker = Tracker(); result = tracker.apply(frame, result)

Instruments enter the body through fixed ports. The point where an instrument enters the view
therefore separates two instruments of one class better than their boxes do, above all when they
cross. The matching cost has four terms: overlap, distance, entry point and class. Equal frames
always give equal track ids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.results import FrameResult, Instrument
from trocar.runtime.sources.base import Frame
from trocar.runtime.temporal.matching import (
    CENTRE,
    GOOD_COST,
    MAX_COST,
    Shapes,
    assign,
    cost_matrix,
    shapes_of,
)
from trocar.runtime.temporal.motion import CameraMotion, TrackMotion
from trocar.runtime.temporal.options import PersistenceOptions, TrackOptions
from trocar.runtime.temporal.parts import joined, owners_of_parts
from trocar.runtime.temporal.persistence import Standing

TENTATIVE_S = 0.25
"""Seconds out of sight after which a track without an id ends."""

VOTE_FADES_S = 1.0
"""Time constant in which the votes of a track for its class fade."""

MIN_SHIFT = 0.02
"""Movement of the camera between two frames, as a fraction of the diagonal, that is followed."""


@dataclass
class _Track:
    """What a track knows besides its motion."""

    last_seen: float
    hits: int = 0
    missed: int = 0
    track_id: int | None = None
    votes: dict[int, float] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)

    def vote(self, instrument: Instrument, dt: float) -> None:
        fade = math.exp(-dt / VOTE_FADES_S)
        self.votes = {class_id: weight * fade for class_id, weight in self.votes.items()}
        own = instrument.class_id
        self.votes[own] = self.votes.get(own, 0.0) + instrument.score
        self.names[own] = instrument.class_name


@dataclass(frozen=True)
class _Found:
    """The instruments of a frame, and which of the tracks each continues."""

    instruments: list[Instrument]
    shapes: Shapes
    pairs: list[tuple[int, int]]


class Tracker:
    """Gives each instrument a track id that stays the same over time.

    Args:
        options: When tracks begin and end.
        persistence: Which instruments stay in the result; ``None``: all.

    Attributes:
        joined: Number of parts that were joined to their instruments, summed over the frames.
        hidden: Number of regions that were left out of results, summed over the frames.
        untracked: Number of regions above ``max_tracked``, summed over the frames.
    """

    name = "track"

    def __init__(
        self,
        options: TrackOptions | None = None,
        persistence: PersistenceOptions | None = None,
    ) -> None:
        self.joined = 0
        self.hidden = 0
        self.untracked = 0
        self._options = options or TrackOptions()
        self._persistence = persistence
        self._tracks: list[_Track] = []
        self._motion = TrackMotion()
        self._camera = CameraMotion()
        self._next_id = 1
        self._clock = 0.0
        self._time: float | None = None
        self._size: tuple[int, int] | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the run."""
        notes = []
        if self.hidden:
            notes.append(f"{self.hidden} regions did not last or had a low score: left out")
        if self.untracked:
            notes.append(
                f"{self.untracked} regions got no track: more than {self._options.max_tracked} "
                "in a frame"
            )
        return tuple(notes)

    def apply(self, frame: Frame, result: FrameResult) -> FrameResult:
        """The result with track ids; results must come in order of time.

        Tracks are in pixels of their frames: all of them end when the frames change their size.
        """
        if result.frame_size != self._size:
            self._tracks, self._size = [], result.frame_size
            self._motion, self._camera = TrackMotion(), CameraMotion()
        dt = 0.0 if self._time is None else max(0.0, result.time - self._time)
        self._time = result.time
        self._clock += dt
        dt = min(1.0, dt)
        diagonal = math.hypot(*result.frame_size)
        if self._options.camera:
            self._camera.update(frame.picture)
        self._motion.predict(dt, diagonal=diagonal)
        self._end_tracks()
        for track in self._tracks:
            track.missed += 1
        found = _largest(result.instruments, self._options.max_tracked)
        self.untracked += len(result.instruments) - len(found)
        seen = self._with_parts_joined([result.instruments[index] for index in found], diagonal)
        touches = _touching(seen.shapes) if self._persistence else None
        tracks = self._update(seen.shapes, seen.pairs, diagonal)
        kept = []
        best = max((one.score for one in seen.instruments), default=0.0)
        for row, (instrument, track) in enumerate(zip(seen.instruments, tracks, strict=True)):
            anchored = instrument.touches_border or touches is None or bool(touches[row])
            one = self._see(track, instrument, dt, best=best, is_anchored=anchored)
            if one is not None:
                kept.append(one)
        for track in self._tracks:
            if track.missed:
                track.standing.miss(dt)
        self.hidden += len(seen.instruments) - len(kept)
        if len(found) < len(result.instruments):
            tracked = set(found)
            kept += [one for i, one in enumerate(result.instruments) if i not in tracked]
        kept.sort(key=lambda one: (one.class_id, -one.area))
        return replace(result, instruments=tuple(kept))

    def _with_parts_joined(self, instruments: list[Instrument], diagonal: float) -> _Found:
        """The instruments of the frame, matched; parts of tracked instruments are joined."""
        shapes = shapes_of(instruments)
        pairs = self._match(shapes, diagonal)
        if not self._options.join or len(pairs) == len(instruments) == 1 or not pairs:
            return _Found(instruments, shapes, pairs)
        known = {row: column for row, column in pairs if self._tracks[column].track_id is not None}
        parts = owners_of_parts(
            shapes,
            self._motion.shapes,
            [
                row
                for row, one in enumerate(instruments)
                # A model of instances has decided itself what belongs together.
                if row not in known and not one.touches_border and one.instance is None
            ],
            {
                column: row
                for row, column in known.items()
                if self._clock - self._tracks[column].last_seen <= TENTATIVE_S
            },
        )
        if not parts:
            return _Found(instruments, shapes, pairs)
        self.joined += len(parts)
        whole = list(instruments)
        for owner in set(parts.values()):
            own = [instruments[part] for part, other in parts.items() if other == owner]
            whole[owner] = joined(instruments[owner], own)
        rest = [row for row in range(len(instruments)) if row not in parts]
        place = {row: number for number, row in enumerate(rest)}
        kept = [whole[row] for row in rest]
        pairs = [(place[row], column) for row, column in pairs if row in place]
        return _Found(kept, shapes_of(kept), pairs)

    def _end_tracks(self) -> None:
        """Ends tracks that were not seen for too long."""
        options = self._options
        is_kept = np.zeros(len(self._tracks), np.bool_)
        for index, track in enumerate(self._tracks):
            lost = self._clock - track.last_seen
            is_kept[index] = lost <= options.max_lost_s and (
                track.track_id is not None or not track.missed or lost <= TENTATIVE_S
            )
        if not is_kept.all():
            self._motion.keep(is_kept)
            self._tracks = [t for t, kept in zip(self._tracks, is_kept, strict=True) if kept]

    def _match(self, shapes: Shapes, diagonal: float) -> list[tuple[int, int]]:
        """Pairs of instrument and track; the tracks move with the camera if that fits better."""
        if not len(shapes) or not self._tracks:
            return []
        lost = self._clock - np.array([track.last_seen for track in self._tracks])
        expected = self._motion.shapes
        costs = cost_matrix(shapes, expected, lost_s=lost, diagonal=diagonal)
        pairs = assign(costs)
        if not self._options.camera or self._fits(costs, pairs):
            return pairs
        shift = self._camera.shift()
        if shift is None or abs(shift) < MIN_SHIFT * diagonal:
            return pairs
        self._motion.shift(shift)
        moved = cost_matrix(shapes, expected, lost_s=lost, diagonal=diagonal)
        moved_pairs = assign(moved)
        if _total(moved, moved_pairs) < _total(costs, pairs):
            return moved_pairs
        self._motion.shift(-shift)
        return pairs

    def _fits(self, costs: NDArray[np.float64], pairs: list[tuple[int, int]]) -> bool:
        """Whether most instruments of the frame before were found at a low cost.

        A movement of the camera moves all of them.
        """
        found = {column for row, column in pairs if costs[row, column] <= GOOD_COST}
        recent = [
            column in found
            for column, track in enumerate(self._tracks)
            if track.missed == 1 and track.track_id is not None
        ]
        return 2 * sum(recent) > len(recent) or not recent

    def _update(
        self, shapes: Shapes, pairs: list[tuple[int, int]], diagonal: float
    ) -> list[_Track]:
        """Corrects the matched tracks, begins new ones; the track of each instrument."""
        chosen: dict[int, _Track] = {row: self._tracks[column] for row, column in pairs}
        if pairs:
            rows, columns = np.array(pairs, np.int64).T
            self._motion.correct(columns, shapes.at(rows), diagonal=diagonal)
        new = [row for row in range(len(shapes)) if row not in chosen]
        if new:
            self._motion.append(shapes.at(np.array(new, np.int64)), diagonal=diagonal)
            for row in new:
                chosen[row] = _Track(self._clock)
                self._tracks.append(chosen[row])
        return [chosen[row] for row in range(len(shapes))]

    def _see(
        self,
        track: _Track,
        instrument: Instrument,
        dt: float,
        *,
        best: float,
        is_anchored: bool,
    ) -> Instrument | None:
        """The instrument with the track's id and class; ``None`` where it is not shown."""
        track.hits += 1
        track.missed = 0
        track.last_seen = self._clock
        track.vote(instrument, dt)
        track.standing.see(
            dt,
            score=instrument.score,
            best=best,
            is_anchored=is_anchored,
            options=self._persistence,
        )
        if not track.standing.is_shown:
            return None
        if track.track_id is None and track.hits >= self._options.min_hits:
            track.track_id = self._next_id
            self._next_id += 1
        changes: dict[str, Any] = {"track_id": track.track_id}
        if self._options.vote and len(track.votes) > 1:
            # The own class wins a draw.
            own = instrument.class_id
            chosen = max(track.votes, key=lambda i: (track.votes[i], i == own, -i))
            changes.update(class_id=chosen, class_name=track.names[chosen])
        return replace(instrument, **changes)


def _total(costs: NDArray[np.float64], pairs: list[tuple[int, int]]) -> float:
    """Total cost of an assignment, in which every pair that is missing costs the most."""
    missing: int = min(costs.shape) - len(pairs)
    return sum(float(costs[pair]) for pair in pairs) + MAX_COST * missing


def _largest(instruments: tuple[Instrument, ...], limit: int) -> list[int]:
    """Positions of the largest instruments, in their order."""
    if len(instruments) <= limit:
        return list(range(len(instruments)))
    by_area = sorted(range(len(instruments)), key=lambda index: (-instruments[index].area, index))
    return sorted(by_area[:limit])


def _touching(shapes: Shapes) -> NDArray[np.bool_]:
    """``[N]`` whether the box touches the box of another instrument."""
    if len(shapes) < 2:
        return np.zeros(len(shapes), np.bool_)
    gap = shapes.points[CENTRE][:, None] - shapes.points[CENTRE]
    reach = (shapes.sizes[:2, :, None] + shapes.sizes[:2, None]) / 2 + 1.0
    touches: NDArray[np.bool_] = (np.abs(gap.real) <= reach[0]) & (np.abs(gap.imag) <= reach[1])
    others: NDArray[np.bool_] = touches.sum(axis=1) > 1  # Each one touches itself.
    return others
