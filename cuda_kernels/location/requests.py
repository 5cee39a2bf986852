"""What the kernels of location are asked beyond components, and what they answer about tips.

    sums = kernels.tips(maps, requests)[0]

The requests are protocols: the runtime, which asks, does not import this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trocar.cuda_kernels.location.tables import GroupClasses


class SplitRegion(Protocol):
    """A region that several shafts enter: its first pixel and box, and its shafts in order."""

    @property
    def root(self) -> int:
        """First pixel, ``row * width + column``."""
        ...

    @property
    def box(self) -> tuple[int, int, int, int]:
        """``(top, left, bottom, right)`` in label pixels, half open."""
        ...

    @property
    def pixels(self) -> int:
        """Number of its pixels."""
        ...

    @property
    def shafts(self) -> Sequence[tuple[int, int]]:
        """Root of each shaft and key of its part, both rising."""
        ...


class TipRequest(Protocol):
    """An instrument whose tips are searched."""

    @property
    def roots(self) -> tuple[int, ...]:
        """First pixels of its regions: one, or up to 16 joined fragments."""
        ...

    @property
    def box(self) -> tuple[int, int, int, int]:
        """``(top, left, bottom, right)`` in label pixels, half open."""
        ...

    @property
    def pixels(self) -> int:
        """Number of its pixels."""
        ...

    @property
    def entry(self) -> int:
        """Root of the part of its border that is its entry, -1 for none."""
        ...

    @property
    def group(self) -> GroupClasses:
        """Its kind."""
        ...

    @property
    def start(self) -> tuple[float, float] | None:
        """Where it begins; ``None``: at the outer end of its axis."""
        ...

    @property
    def axis(self) -> tuple[float, float]:
        """Unit vector of its axis."""
        ...

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the view, in frame pixels."""
        ...

    @property
    def area(self) -> float:
        """In square frame pixels."""
        ...

    @property
    def unit(self) -> float:
        """The larger side of a label pixel, in frame pixels."""
        ...


@dataclass(frozen=True)
class TipSums:
    """Where an instrument begins, and its tips.

    Attributes:
        start: In frame pixels.
        tips: Pixels, sum of columns and sum of rows of each tip, in label pixels.
    """

    start: tuple[float, float]
    tips: tuple[tuple[int, int, int], ...]
