"""Images of the frames on which an exported model and its reference differ most.

write_mismatch_images(mismatches, Path("model.parity"), table)   # worst_1.png, worst_2.png …

Each image has three panels: reference labels, exported labels, differing pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.bundle import replaced_folder
from trocar.contract.classes import ClassTable
from trocar.contract.errors import OutputExistsError
from trocar.contract.media.label_maps import enlarge
from trocar.contract.media.pictures import write_picture
from trocar.export.parity.types import Frame, FrameMismatch

PANEL_WIDTH = 480
BAR = 26
_OWN_FILES = re.compile(r"worst_\d+\.png")


def write_mismatch_images(
    mismatches: Sequence[FrameMismatch], folder: Path, table: ClassTable
) -> list[Path]:
    """Writes ``worst_1.png`` and so on; the images of an earlier export are replaced.

    Returns:
        The files; without mismatches there are none, and no folder.

    Raises:
        OutputExistsError: The folder holds other files.
        SinkError: The disk is full or not writable.
    """
    check_image_folder(folder)
    if not mismatches:
        return []
    names = [f"worst_{index}.png" for index in range(1, len(mismatches) + 1)]
    with replaced_folder(folder) as temporary:
        for name, mismatch in zip(names, mismatches, strict=True):
            write_picture(temporary / name, mismatch_image(mismatch, table))
    return [folder / name for name in names]


def check_image_folder(folder: Path) -> None:
    """Refuses to replace a folder that an export did not write.

    Raises:
        OutputExistsError: The folder holds other files than ``worst_*.png``.
    """
    if folder.exists() and not (
        folder.is_dir() and all(_OWN_FILES.fullmatch(p.name) for p in folder.iterdir())
    ):
        raise OutputExistsError(
            f"{folder} exists and holds other files than images of an earlier export",
            remedy="name another folder with --mismatch-images",
        )


def mismatch_image(mismatch: FrameMismatch, table: ClassTable) -> Frame:
    """Three panels side by side, ``[H,1448,3]`` uint8 RGB."""
    scale = PANEL_WIDTH / mismatch.image.shape[1]
    size = (max(1, round(mismatch.image.shape[0] * scale)), PANEL_WIDTH)
    resized = cv2.resize(mismatch.image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    image = np.asarray(resized, np.uint8)
    first, second = enlarge(mismatch.reference, size), enlarge(mismatch.candidate, size)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) // 2
    differs = _dilated(first != second)
    grey[differs] = (255, 60, 60)
    count = int((mismatch.reference != mismatch.candidate).sum())
    panels = [
        _titled(_overlaid(image, first, table), f"reference: {mismatch.name}"),
        _titled(_overlaid(image, second, table), "exported"),
        _titled(np.asarray(grey, np.uint8), f"{count} of {mismatch.reference.size} pixels differ"),
    ]
    gap = np.full((panels[0].shape[0], 4, 3), 255, np.uint8)
    return np.hstack([panels[0], gap, panels[1], gap, panels[2]])


def _dilated(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask grown by one pixel: single pixels are hard to see on a screen."""
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(grown, np.uint8) > 0


def _overlaid(image: Frame, labels: NDArray[np.uint8], table: ClassTable) -> Frame:
    colours = table.colours[labels]
    mixed = (0.45 * image + 0.55 * colours).astype(np.uint8)
    return np.where((labels == 0)[..., None], image, mixed).astype(np.uint8)


def _titled(panel: Frame, title: str) -> Frame:
    bar = np.full((BAR, panel.shape[1], 3), 32, np.uint8)
    text = title.encode("ascii", "replace").decode()
    text = text if len(text) <= 58 else text[:55] + "..."
    cv2.putText(bar, text, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([bar, panel])
