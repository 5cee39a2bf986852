"""Shapes of the instruments: shaft, wrist and jaws of each type, in radii of the shaft.

INSTRUMENT_SHAPES["grasper"].jaws[0].outline
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Outline = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Jaw:
    """A flat or rounded working part.

    Attributes:
        outline: ``[n, 2]``: along the jaw from its hinge, and towards the opening side.
        hole: A window through it, like the outline, or ``None``.
        swing: Direction in which it opens, +1 or -1; 0: fixed.
        thickness: Across the plane of the outline.
        tip: The point of the outline that counts as its tip.
        material: ``jaw`` or ``insert``.
    """

    outline: Outline
    hole: Outline | None = None
    swing: float = 0.0
    thickness: float = 0.5
    tip: tuple[float, float] = (0.0, 0.0)
    material: str = "jaw"


@dataclass(frozen=True, kw_only=True)
class InstrumentShape:
    """One instrument type.

    Attributes:
        wrist: Profile ``(along, radius)`` of the piece between shaft and jaws.
        jaws: Working parts, the far one first.
        opening: Largest angle between the jaws and the axis, radians.
        collar: Profile of the shaft's last piece (insulation, ring), as ``wrist``.
        wrist_material: Its surface.
        slender: Factor on the shaft's radius.
    """

    wrist: tuple[tuple[float, float], ...]
    jaws: tuple[Jaw, ...]
    opening: float
    collar: tuple[tuple[float, float], ...] = ()
    wrist_material: str = "wrist"
    slender: float = 1.0


def _points(*points: tuple[float, float]) -> Outline:
    return np.array(points, np.float32)


def _mirrored(outline: Outline) -> Outline:
    return outline * np.array([1, -1], np.float32)


def _teeth(start: float, stop: float, level: float, depth: float, count: int) -> Outline:
    x = np.linspace(start, stop, 2 * count + 1)
    y = level + depth * (np.arange(2 * count + 1) % 2)
    return np.stack([x, y], 1).astype(np.float32)


def _rounded(x0: float, x1: float, y0: float, y1: float) -> Outline:
    """A slot with round ends."""
    r = (y1 - y0) / 2
    a = np.linspace(-np.pi / 2, np.pi / 2, 7)
    right = np.stack([x1 - r + r * np.cos(a), y0 + r + r * np.sin(a)], 1)
    left = np.stack([x0 + r - r * np.cos(a), y0 + r - r * np.sin(a)], 1)
    return np.concatenate([right, left]).astype(np.float32)


def _pair(outline: Outline, tip: tuple[float, float], **more: object) -> tuple[Jaw, Jaw]:
    """The jaw and its mirror image, the far one first."""
    hole = more.pop("hole", None)
    lower = Jaw(
        outline=_mirrored(outline),
        hole=None if hole is None else _mirrored(hole),  # type: ignore[arg-type]
        swing=-1,
        tip=(tip[0], -tip[1]),
        **more,  # type: ignore[arg-type]
    )
    return lower, Jaw(outline=outline, hole=hole, swing=1, tip=tip, **more)  # type: ignore[arg-type]


def _grasper() -> InstrumentShape:
    back = _points((0, 0.75), (1.2, 0.95), (4.6, 0.85), (5.6, 0.62), (5.95, 0.3), (5.9, 0.05))
    outline = np.concatenate([_teeth(0, 5.8, 0.0, 0.09, 12), back[::-1]])
    return InstrumentShape(
        wrist=((0, 0.96), (0.5, 0.96), (0.7, 0.72), (2.6, 0.72), (3.4, 0.85)),
        jaws=_pair(outline, (5.9, 0.1), hole=_rounded(2.0, 5.0, 0.30, 0.62), thickness=0.85),
        opening=0.42,
    )


def _scissors() -> InstrumentShape:
    outline = _points(
        (0, -0.1), (1.5, 0.02), (3.2, 0.22), (4.6, 0.62), (5.1, 0.9),
        (4.8, 0.98), (3.4, 0.80), (1.8, 0.72), (0.6, 0.8), (0, 0.7),
    )  # fmt: skip
    lower = _points(
        (0, 0.1), (1.5, 0.0), (3.2, 0.10), (4.5, 0.44), (5.0, 0.74),
        (4.2, -0.02), (3.0, -0.48), (1.6, -0.68), (0.6, -0.8), (0, -0.7),
    )  # fmt: skip
    return InstrumentShape(
        wrist=((0, 0.96), (0.3, 0.96), (0.5, 0.86), (1.8, 0.80), (2.2, 0.9)),
        jaws=(
            Jaw(outline=lower, swing=-1, thickness=0.25, tip=(5.0, 0.74)),
            Jaw(outline=outline, swing=1, thickness=0.25, tip=(5.1, 0.9)),
        ),
        opening=0.5,
    )


def _hook() -> InstrumentShape:
    outline = _points(
        (0, -0.20), (2.1, -0.20), (2.5, -0.05), (2.6, 0.3), (2.5, 1.5),
        (2.3, 1.65), (2.12, 1.5), (2.12, 0.42), (1.9, 0.2), (0, 0.2),
    )  # fmt: skip
    return InstrumentShape(
        wrist=((0, 0.92), (0.4, 0.92), (2.6, 0.42), (3.1, 0.36)),
        jaws=(Jaw(outline=outline, thickness=0.36, tip=(2.3, 1.55)),),
        opening=0.0,
        wrist_material="insulation",
    )


def _needle_driver() -> InstrumentShape:
    back = _points((0, 0.85), (0.9, 1.0), (2.4, 0.72), (3.3, 0.46), (3.55, 0.2), (3.5, 0.03))
    outline = np.concatenate([_teeth(0, 3.4, 0.0, 0.06, 14), back[::-1]])
    return InstrumentShape(
        wrist=((0, 1.0), (0.9, 1.0), (1.0, 0.82), (1.3, 0.82), (1.4, 1.0), (2.2, 0.9)),
        jaws=_pair(outline, (3.5, 0.1), thickness=0.9, material="insert"),
        opening=0.5,
    )


def _clip_applier() -> InstrumentShape:
    outline = _points(
        (0, 0.1), (0.8, 0.12), (1.3, 0.75), (4.2, 0.72), (4.3, 0.35), (4.75, 0.35),
        (4.9, 0.6), (4.8, 1.25), (4.4, 1.4), (1.3, 1.32), (0.5, 1.0), (0, 0.9),
    )  # fmt: skip
    return InstrumentShape(
        wrist=((0, 1.0), (2.6, 1.0), (2.7, 1.12), (3.2, 1.12)),
        jaws=_pair(outline, (4.8, 0.5), thickness=1.1),
        opening=0.2,
        slender=1.15,
    )


def _suction() -> InstrumentShape:
    end = _points((0, -0.62), (2.6, -0.62), (2.85, -0.4), (2.85, 0.4), (2.6, 0.62), (0, 0.62))
    return InstrumentShape(
        wrist=((0, 0.66), (5.2, 0.62)),
        jaws=(
            Jaw(
                outline=end,
                hole=None,
                thickness=1.2,
                tip=(2.85, 0.0),
            ),
        ),
        opening=0.0,
        slender=0.85,
    )


INSTRUMENT_SHAPES: dict[str, InstrumentShape] = {
    "grasper": _grasper(),
    "scissors": _scissors(),
    "hook": _hook(),
    "needle_driver": _needle_driver(),
    "clip_applier": _clip_applier(),
    "suction": _suction(),
}
