"""Pictures of the frames on which an exported model and its reference differ most.

save_pictures(worst, "model.parity", table)     # frame+reference | frame+exported | difference
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
from trocar.contract.errors import OutputExistsError, SinkError
from trocar.export.parity.label_metrics import enlarged
from trocar.export.parity.types import Frame, WorstFrame

PANEL_WIDTH = 480
BAR = 26
_OURS = re.compile(r"worst_\d+\.png")


def save_pictures(worst: Sequence[WorstFrame], folder: Path, table: ClassTable) -> list[Path]:
    """Writes ``worst_1.png`` and so on, replacing those of an earlier run.

    Returns:
        The files; none, and no folder, when there is nothing to show.

    Raises:
        OutputExistsError: The folder holds other things than such pictures.
        SinkError: The disk is full or not writable.
    """
    check_pictures(folder)
    if not worst:
        return []
    with replaced_folder(folder) as temporary:
        for index, frame in enumerate(worst, 1):
            _write(temporary / f"worst_{index}.png", picture(frame, table))
    return [folder / f"worst_{index}.png" for index in range(1, len(worst) + 1)]


def check_pictures(folder: Path) -> None:
    """Refuses to replace a folder that is not ours.

    Raises:
        OutputExistsError: The folder holds other things than ``worst_*.png``.
    """
    if folder.exists() and not (
        folder.is_dir() and all(_OURS.fullmatch(p.name) for p in folder.iterdir())
    ):
        raise OutputExistsError(
            f"{folder} exists and holds other things than pictures of an earlier export",
            remedy="name another folder with --pictures",
        )


def picture(frame: WorstFrame, table: ClassTable) -> Frame:
    """Three panels side by side: reference, exported, differing pixels. RGB uint8."""
    scale = PANEL_WIDTH / frame.image.shape[1]
    size = (max(1, round(frame.image.shape[0] * scale)), PANEL_WIDTH)
    image = cv2.resize(frame.image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    first, second = enlarged(frame.reference, size), enlarged(frame.candidate, size)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) // 2
    differs = _thick(first != second)
    grey[differs] = (255, 60, 60)
    count = int((frame.reference != frame.candidate).sum())
    panels = [
        _titled(_painted(image, first, table), f"reference: {frame.name}"),
        _titled(_painted(image, second, table), "exported"),
        _titled(grey, f"{count} of {frame.reference.size} pixels differ"),
    ]
    gap = np.full((panels[0].shape[0], 4, 3), 255, np.uint8)
    return np.hstack([panels[0], gap, panels[1], gap, panels[2]])


def _thick(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Single pixels would vanish on a screen."""
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(grown, np.uint8) > 0


def _painted(image: Frame, labels: NDArray[np.uint8], table: ClassTable) -> Frame:
    colours = table.colours[labels]
    mixed = (0.45 * image + 0.55 * colours).astype(np.uint8)
    return np.where((labels == 0)[..., None], image, mixed).astype(np.uint8)


def _titled(panel: Frame, title: str) -> Frame:
    bar = np.full((BAR, panel.shape[1], 3), 32, np.uint8)
    text = title.encode("ascii", "replace").decode()
    text = text if len(text) <= 58 else text[:55] + "..."
    cv2.putText(bar, text, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([bar, panel])


def _write(path: Path, image: Frame) -> None:
    good, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not good:
        raise SinkError(f"cannot encode {path}", remedy="report this")
    path.write_bytes(data.tobytes())
