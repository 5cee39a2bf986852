"""Smooth motion of instruments and camera, with bounded speed.

drift = Drift.random(rng, size=0.1, speed=0.1); drift(time)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Drift:
    """A sum of slow sines around a middle.

    Attributes:
        middle: Mean value.
        waves: ``(amplitude, radians per second, phase)`` of each sine.
    """

    middle: float
    waves: tuple[tuple[float, float, float], ...]

    @classmethod
    def random(
        cls, rng: np.random.Generator, *, middle: float = 0.0, size: float, speed: float
    ) -> Drift:
        """A random drift within ``size`` of the middle, slower than ``speed`` per second."""
        shares = rng.dirichlet((2.0, 2.0, 2.0)) * size
        waves = []
        for share in shares:
            # A third of the speed each, so that the sum is within the limit.
            rate = min(float(rng.uniform(0.3, 2.6)), speed / (3 * max(float(share), 1e-9)))
            waves.append((float(share), rate, float(rng.uniform(0, 2 * math.pi))))
        return cls(float(middle), tuple(waves))

    def __call__(self, time: float) -> float:
        """Value at a time in seconds."""
        return self.middle + sum(a * math.sin(w * time + p) for a, w, p in self.waves)

    def rate(self, time: float) -> float:
        """Change per second."""
        return sum(a * w * math.cos(w * time + p) for a, w, p in self.waves)


@dataclass(frozen=True)
class JawMotion:
    """Jaws that open and close: 0 (closed) to 1 (open), with pauses at both ends."""

    drift: Drift

    @classmethod
    def random(cls, rng: np.random.Generator) -> JawMotion:
        """A random motion."""
        return cls(Drift.random(rng, middle=float(rng.uniform(0.3, 0.8)), size=0.75, speed=2.0))

    def __call__(self, time: float) -> float:
        """Opening at a time in seconds."""
        return min(max(self.drift(time), 0.0), 1.0)
