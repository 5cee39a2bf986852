"""Pasted borders: what lies round the view of an endoscope, drawn anew for each training sample.

border = draw_border(1.0, (256, 320), aspect=16 / 9, seed=7); image = border.paste(image)

Towers differ in what surrounds the view: a round or octagonal view, bars above and below or at the
sides, black with noise, grey, text of the vendor. A network that has not seen them takes strips
along the border for instruments. Nothing outside the view is an instrument, so labels there become
background.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

BACKGROUND = 0
"""Class id outside of the view."""

_STREAM = 0xB0DE5  # other random numbers than the augmentation, which has the same seed
_SHIFT = 4  # bits behind the point of OpenCV's drawing coordinates
_TEXT = "ABCDEFGHIKLMNOPRSTUVWXYZ0123456789:/-"


@dataclass(frozen=True)
class Border:
    """The surroundings of one sample.

    Attributes:
        view: ``[h, w]`` uint8, 255 inside the view and 0 outside; between them on its edge.
        surroundings: ``[h, w, 3]`` uint8, what is seen outside.
    """

    view: NDArray[np.uint8]
    surroundings: NDArray[np.uint8]

    def paste(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image ``[h, w, 3]`` uint8 with the surroundings outside of the view."""
        share = (self.view.astype(np.float32) / 255)[..., None]
        mixed = image * share + self.surroundings * (1 - share)
        return np.asarray(mixed.round(), np.uint8)

    def clear(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The labels ``[h, w]`` uint8 with background outside of the view."""
        return np.where(self.view < 128, np.uint8(BACKGROUND), labels)


def draw_border(
    probability: float, size: tuple[int, int], *, aspect: float, seed: int
) -> Border | None:
    """Draws view and surroundings; equal seeds give equal borders.

    Args:
        probability: Of a border, 0..1; else the result is ``None``.
        size: Height and width of the sample.
        aspect: Width of the frame divided by its height; the sample may be stretched.
        seed: Any integer of 0 or more.
    """
    if not probability:
        return None
    rng = np.random.default_rng((seed, _STREAM))
    if rng.random() >= probability:
        return None
    shape = VIEWS[int(rng.integers(len(VIEWS)))]
    view = np.zeros(size, np.uint8)
    outline = shape(aspect, rng)  # [n, 2] in units of the frame's height
    scale = np.array((size[1] / aspect, size[0])) * (1 << _SHIFT)
    # The middle of the first pixel has the coordinate 0.
    points = np.round(outline * scale - (1 << _SHIFT) / 2).astype(np.int32)
    cv2.fillPoly(view, [points], (255,), lineType=cv2.LINE_AA, shift=_SHIFT)
    return Border(view=view, surroundings=_surroundings(size, rng))


_View = Callable[[float, np.random.Generator], NDArray[np.float64]]


def _round(aspect: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A circle, as a rule a little off the centre; large ones are cut off by the frame."""
    radius = rng.uniform(0.38, 0.62)
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    circle = radius * np.column_stack((np.cos(angles), np.sin(angles)))
    return circle + _centre(aspect, rng)


def _octagon(aspect: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A rectangle with cut corners."""
    half_width = rng.uniform(0.38, 0.5) * min(aspect, rng.uniform(1.0, 1.8))
    half_height = rng.uniform(0.4, 0.5)
    cut = rng.uniform(0.08, 0.3) * min(half_width, half_height) * 2
    x, y = half_width, half_height
    corners = np.array(
        ((x - cut, y), (x, y - cut), (x, cut - y), (x - cut, -y),
         (cut - x, -y), (-x, cut - y), (-x, y - cut), (cut - x, y))
    )  # fmt: skip
    return corners + _centre(aspect, rng)


def _letterbox(aspect: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Bars above and below; one of them may be missing."""
    top, bottom = _bars(rng, most=0.16)
    return _between_bars(aspect, top=top, bottom=bottom)


def _pillarbox(aspect: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Bars on the left and on the right; one of them may be missing."""
    left, right = _bars(rng, most=0.2 * aspect)
    return _between_bars(aspect, left=left, right=right)


def _window(aspect: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Bars on all four sides."""
    top, bottom, left, right = rng.uniform(0.005, 0.12, 4)
    return _between_bars(aspect, top=top, bottom=bottom, left=left * aspect, right=right * aspect)


VIEWS: tuple[_View, ...] = (_round, _octagon, _letterbox, _pillarbox, _window)
"""The shapes of the view; each is drawn equally often."""


def _bars(rng: np.random.Generator, *, most: float) -> tuple[float, float]:
    # Small bars are frequent: a few columns that a grabber leaves black.
    first, second = most * rng.random(2) ** 2
    missing = rng.random()
    return (0.0 if missing < 0.25 else first), (0.0 if 0.25 <= missing < 0.5 else second)


def _between_bars(
    aspect: float,
    *,
    top: float = 0.0,
    bottom: float = 0.0,
    left: float = 0.0,
    right: float = 0.0,
) -> NDArray[np.float64]:
    """A rectangle; where there is no bar it reaches beyond the frame, so that no edge is drawn."""
    x0, x1 = left or -1.0, aspect - (right or -1.0)
    y0, y1 = top or -1.0, 1 - (bottom or -1.0)
    return np.array(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))


def _centre(aspect: float, rng: np.random.Generator) -> NDArray[np.float64]:
    x, y = rng.normal(0, (0.06, 0.03))
    return np.array((aspect / 2 + np.clip(x, -0.15, 0.15), 0.5 + np.clip(y, -0.08, 0.08)))


def _surroundings(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Black, black with noise, dark or grey; sometimes with text."""
    kind = rng.random()
    level, noise = 0.0, 0.0
    if kind >= 0.85:
        level, noise = rng.uniform(40, 150), rng.uniform(0, 4)
    elif kind >= 0.7:
        level, noise = rng.uniform(5, 40), rng.uniform(0, 4)
    elif kind >= 0.4:
        level, noise = rng.uniform(0, 12), rng.uniform(2, 12)
    tint = level * rng.uniform(0.85, 1.15, 3)
    # Drawn in any case, so that the random numbers behind it do not depend on the kind.
    grain = np.random.Generator(np.random.SFC64(int(rng.integers(2**63))))
    picture = np.broadcast_to(tint, (*size, 3)).astype(np.float32)
    if noise:
        picture = picture + noise * grain.standard_normal((*size, 1), np.float32)
    result = np.ascontiguousarray(np.clip(picture, 0, 255), np.uint8)
    lines = int(rng.integers(1, 5)) if rng.random() < 0.3 else 0
    for _ in range(lines):
        text = "".join(rng.choice(list(_TEXT), int(rng.integers(2, 10))))
        place = int(rng.integers(size[1])), int(rng.integers(size[0]))
        bright = int(rng.integers(120, 256))
        cv2.putText(result, text, place, cv2.FONT_HERSHEY_SIMPLEX, size[0] / 600 + 0.1,
                    (bright, bright, bright), 1, cv2.LINE_AA)  # fmt: skip
    return result
