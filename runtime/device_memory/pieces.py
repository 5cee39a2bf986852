"""A piece of a label map whose pixels are on a device: its sums are here.

    piece = DevicePiece.of(record, group, borders, scale=(2.0, 2.0), width=640, deepest=0.0)

The rules of `trocar.runtime.locate.rules` take these pieces as those of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trocar.contract.results import Point
from trocar.runtime.locate.groups import Group
from trocar.runtime.locate.region import Moments

Border = tuple[int, int, int, int]
"""A part of a border: its first pixel as ``row * width + column``, pixels, sums of x and of y."""


@dataclass(frozen=True, kw_only=True)
class DevicePiece:
    """A region, a part of one, or several joined fragments.

    Attributes:
        group: Its kind.
        scale: ``(sx, sy)`` frame pixels per label pixel.
        moments: Its moments, in the coordinates of the label map.
        roots: First pixel of each fragment, ``row * width + column``.
        width: Of the label map.
        box: ``(top, left, bottom, right)`` in label pixels, half open.
        confidence: Sum of the confidences, see `trocar.runtime.device_memory.located`.
        deepest: Largest depth of a pixel, in frame pixels.
        borders: The parts of its border.
    """

    group: Group
    scale: Point
    moments: Moments
    roots: tuple[int, ...]
    width: int
    box: tuple[int, int, int, int]
    confidence: int
    deepest: float
    borders: tuple[Border, ...]

    @classmethod
    def of(
        cls,
        record: Any,
        group: Group,
        borders: Sequence[Border],
        *,
        scale: Point,
        width: int,
        deepest: float,
    ) -> DevicePiece:
        """The piece of one record of a device's table."""
        value = {name: int(record[name]) for name in record.dtype.names}
        return cls(
            group=group,
            scale=scale,
            moments=Moments(
                n=value["pixels"],
                x=value["x"],
                y=value["y"],
                xx=value["xx"],
                xy=value["xy"],
                yy=value["yy"],
            ),
            roots=(value["root"],),
            width=width,
            box=(
                value["root"] // width,
                value["left"],
                value["bottom"] + 1,
                value["right"] + 1,
            ),
            confidence=value["confidence"],
            deepest=deepest,
            borders=tuple(borders),
        )

    @property
    def first(self) -> tuple[int, int]:
        """Row and column of the first pixel."""
        return divmod(min(self.roots), self.width)

    @property
    def touches_border(self) -> bool:
        """Whether a pixel lies on the border."""
        return bool(self.borders)

    @property
    def entry(self) -> Border | None:
        """The largest part of its border, the first of equal ones (section 5)."""
        return min(self.borders, key=_largest_first, default=None)


def united(pieces: Sequence[DevicePiece]) -> DevicePiece:
    """One piece of several fragments of one group."""
    moments = [piece.moments for piece in pieces]
    boxes = [piece.box for piece in pieces]
    return DevicePiece(
        group=pieces[0].group,
        scale=pieces[0].scale,
        moments=Moments(
            n=sum(m.n for m in moments),
            x=sum(m.x for m in moments),
            y=sum(m.y for m in moments),
            xx=sum(m.xx for m in moments),
            xy=sum(m.xy for m in moments),
            yy=sum(m.yy for m in moments),
        ),
        roots=tuple(root for piece in pieces for root in piece.roots),
        width=pieces[0].width,
        box=(
            min(box[0] for box in boxes),
            min(box[1] for box in boxes),
            max(box[2] for box in boxes),
            max(box[3] for box in boxes),
        ),
        confidence=sum(piece.confidence for piece in pieces),
        deepest=max(piece.deepest for piece in pieces),
        borders=tuple(border for piece in pieces for border in piece.borders),
    )


def _largest_first(border: Border) -> tuple[int, int]:
    root, pixels, _, _ = border
    return -pixels, root
