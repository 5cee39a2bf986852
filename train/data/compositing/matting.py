"""Segments instruments in front of green screens and on plain backgrounds.

foreground = foreground_from_chroma(image, class_id=1); picks = foregrounds_from_boxes(root, ids)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import list_images, read_bytes, read_image
from trocar.train.data.compositing.foregrounds import Foreground

TISSUE = (150, 95, 85)
"""A middling colour of abdominal tissue, RGB."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box of a YOLO text file.

    Attributes:
        class_index: Row of the set's list of names.
        centre: x and y as fractions of width and height.
        size: Width and height as fractions.
    """

    class_index: int
    centre: tuple[float, float]
    size: tuple[float, float]

    def pixels(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, top, width, height in pixels, clipped to the image."""
        x0 = max(round((self.centre[0] - self.size[0] / 2) * width), 0)
        y0 = max(round((self.centre[1] - self.size[1] / 2) * height), 0)
        x1 = min(round((self.centre[0] + self.size[0] / 2) * width), width)
        y1 = min(round((self.centre[1] + self.size[1] / 2) * height), height)
        return x0, y0, x1 - x0, y1 - y0


def foreground_from_chroma(
    image: NDArray[np.uint8],
    *,
    class_id: int,
    name: str = "chroma",
    mask: NDArray[np.uint8] | None = None,
) -> Foreground:
    """Segments an instrument in front of a green screen.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        class_id: Class of the instrument.
        name: For messages.
        mask: ``[H, W]`` uint8, above 0 = instrument; ``None`` for chroma keying.

    Raises:
        DataError: Nothing differs from the green, or the mask has another size.
    """
    solid = chroma_key(image) if mask is None else mask > 0
    if solid.shape != image.shape[:2]:
        raise DataError(
            f"the mask of {name} is {solid.shape[1]}x{solid.shape[0]}, "
            f"its image {image.shape[1]}x{image.shape[0]}",
            remedy="save the mask at the size of its image",
        )
    if not 0.002 < solid.mean() < 0.98:
        raise DataError(
            f"{name}: {solid.mean():.1%} of the image differs from the green screen",
            remedy="pass an image with a green screen, or save its mask beside it",
        )
    return Foreground(
        name=name,
        image=on_tissue(without_spill(image), solid),
        mask=solid.astype(np.uint8) * np.uint8(class_id),
    )


def chroma_key(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where an image is not green: ``[H, W]``, the largest regions, holes filled.

    Greenness is relative to the brightness of the pixel, since screens have dark corners. The
    threshold follows from Otsu's method.
    """
    wide = image.astype(np.float32)
    excess = wide[..., 1] - np.maximum(wide[..., 0], wide[..., 2])
    greenness = np.clip(255 * excess / (wide[..., 1] + 8), 0, 255)
    _, solid = cv2.threshold(
        cv2.medianBlur(greenness.astype(np.uint8), 5), 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU
    )
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    opened = cv2.morphologyEx(solid, cv2.MORPH_OPEN, element)
    return _largest(_filled(np.asarray(opened, np.uint8)), share=0.1)


def without_spill(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Removes the green light of the screen: green is at most the larger of red and blue."""
    out = image.copy()
    out[..., 1] = np.minimum(image[..., 1], np.maximum(image[..., 0], image[..., 2]))
    return np.asarray(out)


def on_tissue(image: NDArray[np.uint8], solid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Replaces the background of an instrument by a colour of tissue.

    Cloning preserves the difference of colour across the outline. With a green or grey background,
    that difference would tint the instrument red on tissue; with tissue, metal keeps its colour.
    """
    weight = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), 0.8)[..., None]
    mixed = weight * image + (1 - weight) * np.array(TISSUE, np.float32)
    return np.asarray(np.where(solid[..., None], image, mixed.round()), np.uint8)


def foreground_from_box(
    image: NDArray[np.uint8], box: Box, *, class_id: int, name: str, rounds: int = 5
) -> Foreground | None:
    """Segments the object in a box on a plain background by GrabCut.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        box: Box of the object.
        class_id: Class of the instrument.
        name: For messages.
        rounds: Iterations of GrabCut.

    Returns:
        ``None`` if the result cannot be an instrument: almost nothing, or the whole box.
    """
    height, width = image.shape[:2]
    left, top, w, h = box.pixels(height, width)
    if w < 16 or h < 16:
        return None
    marks = np.full((height, width), cv2.GC_BGD, np.uint8)
    inside = np.s_[top : top + h, left : left + w]
    marks[inside] = _initial_marks(image, (left, top, w, h))
    if not (marks == cv2.GC_PR_FGD).any():
        return None
    thin = np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD))
    # GrabCut initialises its clusters from OpenCV's global random generator. It reads no rectangle
    # when it starts from a mask.
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65), np.float64), np.zeros((1, 65), np.float64)
    cv2.grabCut(image, marks, (0, 0, 0, 0), *models, rounds, cv2.GC_INIT_WITH_MASK)
    solid = np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD))
    # GrabCut's smoothness term removes shanks of a few pixels. Initial foreground that is
    # connected to the result is added again.
    joined = cv2.morphologyEx((solid | thin).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5)))
    region = _largest(np.asarray(joined, np.uint8), share=0.25)
    share = float(region.sum()) / (w * h)
    ys, xs = np.nonzero(region)
    if not 0.03 < share < 0.7 or max(np.ptp(ys) / h, np.ptp(xs) / w) < 0.6:
        return None
    return Foreground(
        name=name,
        image=on_tissue(image, region),
        mask=region.astype(np.uint8) * np.uint8(class_id),
        is_complete=True,
    )


def foregrounds_from_boxes(
    root: Path, ids: Mapping[int, int], *, max_images: int = 50
) -> list[Foreground]:
    """Segments instruments in photographs with boxes.

    Args:
        root: Folder with ``images`` and ``labels`` (YOLO text files).
        ids: Class id by class index of the set; boxes of other indices are left out.
        max_images: Approximate number of photographs to try, spread evenly over the set.

    Raises:
        DataError: A text file is malformed, or nothing could be segmented.
    """
    photographs = list(_boxed(root, ids))
    step = max(1, -(-len(photographs) // max_images))
    found = []
    for path, box in photographs[::step]:
        cut = foreground_from_box(
            read_image(path), box, class_id=ids[box.class_index], name=path.stem
        )
        if cut is not None:
            found.append(cut)
    if not found:
        raise DataError(
            f"no instrument could be segmented in the photographs of {root}",
            remedy="photographs must show one instrument each on a plain background, with a box",
        )
    return found


def read_boxes(path: Path) -> list[Box]:
    """Reads a YOLO text file: rows of class, centre x and y, width and height as fractions.

    Raises:
        DataError: A row has another format.
    """
    boxes = []
    text = read_bytes(path).decode("utf-8", "replace") if path.stat().st_size else ""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        words = line.split()
        try:
            index = int(words[0])
            cx, cy, w, h = (float(word) for word in words[1:])
            if not (index >= 0 and all(0 <= v <= 1 for v in (cx, cy, w, h)) and w > 0 and h > 0):
                raise ValueError
        except (ValueError, IndexError) as error:
            raise DataError(
                f"{path} line {number} is {line.strip()[:60]!r}, expected "
                "'class cx cy width height' with fractions 0..1",
                remedy="export the labels as YOLO boxes again",
            ) from error
        boxes.append(Box(class_index=index, centre=(cx, cy), size=(w, h)))
    return boxes


def _boxed(root: Path, ids: Mapping[int, int]) -> Iterator[tuple[Path, Box]]:
    for path in list_images(root / "images"):
        labels = root / "labels" / f"{path.stem}.txt"
        if labels.is_file():
            for box in read_boxes(labels):
                if box.class_index in ids:
                    yield path, box


def _initial_marks(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Initial marks for GrabCut inside the box: pixels that differ from the plain background.

    The background is a median over a window much wider than a shaft. The threshold follows from
    the noise outside the box.
    """
    left, top, w, h = box
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    plain = cv2.medianBlur(lab, _odd(max(image.shape[:2]) // 5))
    distance = np.linalg.norm(lab.astype(np.float32) - plain, axis=2)
    outside = np.ones(image.shape[:2], bool)
    outside[top : top + h, left : left + w] = False
    grain = float(np.percentile(distance[outside], 90)) if outside.sum() > 500 else 4.0
    inside = distance[top : top + h, left : left + w]
    marks = np.full(inside.shape, cv2.GC_PR_BGD, np.uint8)
    marks[inside > max(1.8 * grain, 7)] = cv2.GC_PR_FGD
    marks[inside > max(5.0 * grain, 30)] = cv2.GC_FGD
    return marks


def _odd(size: int) -> int:
    return size | 1


def _filled(solid: NDArray[np.uint8]) -> NDArray[np.uint8]:
    contours, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    out = np.zeros_like(solid)
    cv2.drawContours(out, contours, -1, 1, cv2.FILLED)
    return out


def _largest(solid: NDArray[np.uint8], *, share: float) -> NDArray[np.bool_]:
    """The largest region, and regions of at least a share of its area."""
    count, regions, stats, _ = cv2.connectedComponentsWithStats(solid)
    if count < 2:
        return np.zeros(solid.shape, bool)
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = 1 + np.flatnonzero(areas >= share * areas.max())
    return np.asarray(np.isin(regions, large))
