"""Where the labels of instruments stand: free places that stay the same from frame to frame.

    placer = LabelPlacer()
    placed = placer.place(wishes, (1080, 1920), blocked=[legend_rectangle])

Labels never overlap each other or a blocked rectangle, and never leave the picture. Where there is
no room, the labels of the smallest instruments are left out.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trocar.runtime.draw.labels.scene import LabelWish, Rectangle, Scene, rectangle_at

MAX_LABELS = 24
"""Labels in one picture; the largest instruments have them."""

MAX_SHARE = 0.2
"""Largest share of the picture that labels may cover."""

PATIENCE = 12
"""Frames for which a clearly better place must be free before a label moves there."""

_LOOK_EVERY = 4
"""Frames between two looks for a better place."""

_CLEARLY_BETTER = 0.6
"""Difference of costs (see `Scene`) from which a place is clearly better."""

_KEPT_GAIN = 1.25
"""An instrument that had a label counts as larger by this factor: labels do not alternate."""

_FORGET_AFTER = 50
"""Frames without its instrument after which a place is forgotten."""


@dataclass(frozen=True, kw_only=True)
class PlacedLabel:
    """A label with its place.

    Attributes:
        wish: Number of its `LabelWish`.
        rectangle: Where it stands.
        away: Whether it stands away from its instrument and needs a leader line.
    """

    wish: int
    rectangle: Rectangle
    away: bool


@dataclass
class _Memory:
    """Where a label stood: its corner, relative to the instrument's centre too."""

    corner: tuple[float, float]
    offset: tuple[float, float]
    first_frame: int
    last_frame: int
    better_for: int = 0


class LabelPlacer:
    """Places labels; remembers the place of each key. Several threads may call it."""

    def __init__(self) -> None:
        self._memory: dict[int, _Memory] = {}
        self._size: tuple[int, int] = (0, 0)
        self._frame = 0
        self._lock = threading.Lock()

    def place(
        self,
        wishes: Sequence[LabelWish],
        size: tuple[int, int],
        *,
        blocked: Sequence[Rectangle] = (),
        labels: NDArray[np.uint8] | None = None,
    ) -> list[PlacedLabel]:
        """Places the labels of one picture.

        Args:
            wishes: The labels.
            size: ``(height, width)`` of the picture.
            blocked: Rectangles that no label may touch.
            labels: ``[h, w]`` label map of the picture; labels avoid what is not 0.

        Returns:
            The labels that have a place, the largest instrument first. A label that stood
            somewhere keeps this place, and follows its instrument, while the place is free.
        """
        with self._lock:
            if size != self._size:
                self._memory.clear()
                self._size = size
            self._frame += 1
            if not wishes:
                return []
            scene = Scene(wishes, size, blocked, labels)
            placed = self._placed(scene, self._chosen(wishes, size))
            self._forget()
            return placed

    def _chosen(self, wishes: Sequence[LabelWish], size: tuple[int, int]) -> list[int]:
        """Numbers of the wishes that may have a label, the largest instrument first."""
        areas = [w.area * (_KEPT_GAIN if w.key in self._memory else 1.0) for w in wishes]
        chosen: list[int] = []
        room = MAX_SHARE * size[0] * size[1]
        for number in sorted(range(len(wishes)), key=lambda n: -areas[n])[:MAX_LABELS]:
            width, height = wishes[number].size
            room -= width * height
            if room < 0 and chosen:
                break
            chosen.append(number)
        return chosen

    def _placed(self, scene: Scene, chosen: list[int]) -> list[PlacedLabel]:
        corners: dict[int, tuple[int, int]] = {}
        # Labels that had a place first: no newcomer takes it.
        for number in chosen:
            corner = self._kept(scene, number)
            if corner is not None:
                corners[number] = corner
                scene.take(number, corner)
        for number in list(chosen):
            if number in corners or number not in chosen:
                continue
            found = scene.best(number)
            smaller = chosen[chosen.index(number) + 1 :]
            if found is None:
                # The smallest are left out first: their places are free again.
                for other in smaller:
                    if other in corners:
                        scene.release(other, corners.pop(other))
                chosen = [one for one in chosen if one not in smaller]
                found = scene.best(number)
            if found is None:
                chosen.remove(number)
                break
            corners[number] = found
            scene.take(number, found)
        placed = []
        for number in chosen:
            corner = corners[number]
            self._remember(scene.wishes[number], corner)
            placed.append(
                PlacedLabel(
                    wish=number,
                    rectangle=rectangle_at(corner, scene.wishes[number].size),
                    away=scene.away(number, corner),
                )
            )
        return placed

    def _kept(self, scene: Scene, number: int) -> tuple[int, int] | None:
        """The corner at which a label stays, or ``None`` if it must find a new place."""
        wish = scene.wishes[number]
        memory = None if wish.key is None else self._memory.get(wish.key)
        if memory is None:
            return None
        # It rests while its instrument moves by less than half its height, then it follows.
        slack = wish.size[1] / 2
        goal = (wish.centre[0] + memory.offset[0], wish.centre[1] + memory.offset[1])
        corner = scene.inside(
            (
                round(goal[0] + min(slack, max(-slack, memory.corner[0] - goal[0]))),
                round(goal[1] + min(slack, max(-slack, memory.corner[1] - goal[1]))),
            ),
            wish.size,
        )
        if corner is None or not scene.free(corner, wish.size):
            return None
        if (self._frame + memory.first_frame) % _LOOK_EVERY == 0:
            better = scene.gain(number, corner) > _CLEARLY_BETTER
            memory.better_for = memory.better_for + _LOOK_EVERY if better else 0
        return corner if memory.better_for <= PATIENCE else None

    def _remember(self, wish: LabelWish, corner: tuple[int, int]) -> None:
        if wish.key is None:
            return
        memory = self._memory.get(wish.key)
        if memory is not None and memory.better_for <= PATIENCE:
            slack = wish.size[1] / 2 + 1
            goal = wish.centre[0] + memory.offset[0], wish.centre[1] + memory.offset[1]
            if abs(corner[0] - goal[0]) <= slack and abs(corner[1] - goal[1]) <= slack:
                memory.corner, memory.last_frame = corner, self._frame
                return
        self._memory[wish.key] = _Memory(
            corner=corner,
            offset=(corner[0] - wish.centre[0], corner[1] - wish.centre[1]),
            first_frame=self._frame,
            last_frame=self._frame,
        )

    def _forget(self) -> None:
        oldest = self._frame - _FORGET_AFTER
        for key in [k for k, m in self._memory.items() if m.last_frame < oldest]:
            del self._memory[key]
