"""Images that show a frame, its ground truth and the prediction side by side.

image = comparison(frame, truth, predicted, table)     # three panels, [H, 3W, 3] uint8 RGB
image = instance_comparison(frame, true_instances, found_instances, table)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.instances.pairing import pair_instances
from trocar.contract.media.label_maps import enlarge
from trocar.contract.results import FrameResult
from trocar.runtime.draw.colours import WHITE, Colour, class_colours, shade_of
from trocar.runtime.draw.labels.placement import LabelPlacer
from trocar.runtime.draw.labels.scene import LabelWish
from trocar.runtime.draw.labels.tags import draw_leader, text_tag
from trocar.runtime.draw.overlay import OverlayOptions, Painter
from trocar.runtime.draw.regions import RegionPainter, paint_classes
from trocar.runtime.draw.text import paste

PANEL_WIDTH = 420
GAP = 4
_OPACITY = 0.42
_UNIT = 0.9
"""Scale of the type in panels with instances."""

_LABEL_ROOM = 1.6
"""Labels may be wider than on a frame by this factor: panels are small."""

_HATCH = 9
"""Pixels between the lines that mark an instance as missed or false."""


@dataclass(frozen=True, kw_only=True)
class ShownInstances:
    """Instances of a frame, true or found.

    Attributes:
        numbers: ``[H, W]`` uint8 number of the instance of each pixel, 0 for none.
        classes: Class id of each, from number 1 on.
        scores: Score of each; empty for true instances.
    """

    numbers: NDArray[np.uint8]
    classes: Sequence[int]
    scores: Sequence[float] = ()

    @property
    def present(self) -> list[int]:
        """The numbers that have pixels."""
        return [int(number) for number in np.unique(self.numbers) if number]


def shown_truth(
    instances: NDArray[np.unsignedinteger[Any]], mask: NDArray[np.uint8]
) -> ShownInstances:
    """The true instances of a frame, numbered from 1, with the class of most of their pixels.

    Args:
        instances: ``[H, W]`` numbers of instances, 0 for none; the first 255 are shown.
        mask: ``[H, W]`` uint8 class ids; instances of the background are left out.
    """
    numbers = np.zeros(mask.shape, np.uint8)
    classes: list[int] = []
    known = np.where(mask == IGNORE_INDEX, 0, mask)
    for number in np.unique(instances[instances > 0]).tolist():
        here = instances == number
        row = int(np.bincount(known[here]).argmax())
        if row and len(classes) < 255:
            classes.append(row)
            numbers[here] = len(classes)
    return ShownInstances(numbers=numbers, classes=classes)


def instance_comparison(
    frame: NDArray[np.uint8], truth: ShownInstances, found: ShownInstances, table: ClassTable
) -> NDArray[np.uint8]:
    """Frame, true instances and found instances side by side.

    Each instance has a shade of its class's colour, and a label with class, number and score. What
    has no partner of its class with an IoU above 0.5 is hatched and labelled *missed* or *false*.

    Args:
        frame: ``[H, W, 3]`` uint8 RGB.
        truth: True instances.
        found: Found instances.
        table: Names and colours.

    Returns:
        As `comparison`.
    """
    pairs = [
        pair
        for pair in pair_instances(truth.numbers, found.numbers, min_iou=0.5)
        if truth.classes[pair.first - 1] == found.classes[pair.second - 1]
    ]
    small = _small(frame)
    panels = [small]
    for instances, partners, word in (
        (truth, {pair.first for pair in pairs}, "missed"),
        (found, {pair.second for pair in pairs}, "false"),
    ):
        panels.append(_with_instances(small, instances, partners, word, table))
    return _side_by_side(panels)


def _with_instances(
    image: NDArray[np.uint8],
    instances: ShownInstances,
    partners: Collection[int],
    word: str,
    table: ClassTable,
) -> NDArray[np.uint8]:
    picture: NDArray[np.uint8] = image.copy()
    size = (image.shape[0], image.shape[1])
    numbers = np.asarray(enlarge(instances.numbers, size), np.uint8)
    colours = class_colours(table)
    shades: dict[int, Colour] = {}
    for number in instances.present:
        row = instances.classes[number - 1]
        same = sum(instances.classes[other - 1] == row for other in shades)
        shades[number] = shade_of(colours[row], same)
    painters = {n: RegionPainter(colour, _OPACITY) for n, colour in shades.items()}
    found = paint_classes(picture, numbers, painters, line=2, halo=1)
    wishes, tags = [], []
    for number in found:
        here = (numbers == number).astype(np.uint8)
        single = number not in partners
        if single:
            _hatch(picture, here)
        score = f"{instances.scores[number - 1]:.2f}" if instances.scores else ""
        name = table[instances.classes[number - 1]].name
        tag = text_tag(
            f"{word} {name}" if single else name, f"#{number}", score,
            colour=shades[number], unit=_UNIT, size=(size[0], round(_LABEL_ROOM * size[1])),
        )  # fmt: skip
        if tag is not None:
            wishes.append(_wish(here, tag))
            tags.append((tag, shades[number]))
    for label in LabelPlacer().place(wishes, size, labels=numbers):
        tag, shade = tags[label.wish]
        if label.away:
            draw_leader(picture, label.rectangle, wishes[label.wish].centre, shade, unit=_UNIT)
        paste(picture, tag, *label.rectangle[:2])
    return picture


def _hatch(picture: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Draws white lines over a region: a mark that does not depend on colours."""
    rows, columns = np.indices(mask.shape)
    lines = (mask > 0) & ((rows + columns) % _HATCH < 2)
    picture[lines] = WHITE


def _wish(mask: NDArray[np.uint8], tag: NDArray[np.uint8]) -> LabelWish:
    x, y, w, h = cv2.boundingRect(mask)
    distance = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), mask.shape)
    return LabelWish(
        size=(tag.shape[1], tag.shape[0]),
        box=(float(x), float(y), float(x + w), float(y + h)),
        area=float(cv2.countNonZero(mask)),
        centre=(float(column), float(row)),
        key=None,
    )


def comparison(
    frame: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    table: ClassTable,
) -> NDArray[np.uint8]:
    """Frame, truth and prediction side by side.

    Args:
        frame: ``[H, W, 3]`` uint8 RGB.
        truth: ``[H, W]`` uint8 class ids; ignored pixels are drawn as background.
        predicted: ``[H, W]`` uint8 class ids.
        table: Names and colours.

    Returns:
        ``[h, 3w + gaps, 3]`` uint8 RGB; each panel is `PANEL_WIDTH` pixels wide.
    """
    painter = Painter(table, OverlayOptions(show=("masks", "contours")))
    small = _small(frame)
    known = np.where(truth == IGNORE_INDEX, 0, truth).astype(np.uint8)
    panels = [small]
    for ids in (known, predicted):
        labels = enlarge(ids, (small.shape[0], small.shape[1])).astype(np.uint8)
        panels.append(painter.draw(outlined(small, labels), _labelled(labels)))
    return _side_by_side(panels)


def _small(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame, `PANEL_WIDTH` pixels wide."""
    size = (PANEL_WIDTH, max(1, round(PANEL_WIDTH * frame.shape[0] / frame.shape[1])))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def _side_by_side(panels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    return np.asarray(np.hstack([panels[0], gap, panels[1], gap, panels[2]]), np.uint8)


def outlined(frame: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy with a white and a black line round each region, and a white line between classes.

    The lines show the regions to colour-blind readers and in grey print.

    Args:
        frame: ``[H, W, 3]`` uint8 RGB.
        labels: ``[H, W]`` uint8 class ids; the lines lie on the background.
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    region = (labels > 0).astype(np.uint8)
    near, wide = (cv2.dilate(region, cross, iterations=n) for n in (1, 2))
    image: NDArray[np.uint8] = frame.copy()
    image[(wide > 0) & (labels == 0)] = 0
    image[(near > 0) & (labels == 0)] = 255
    image[(cv2.dilate(labels, cross) > labels) & (labels > 0)] = 255
    return image


def _labelled(labels: NDArray[np.uint8]) -> FrameResult:
    return FrameResult(
        frame_id=0,
        time=0.0,
        captured_ns=0,
        age_ms=0.0,
        frame_size=(labels.shape[0], labels.shape[1]),
        labels=labels,
    )
