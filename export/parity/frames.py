"""Reads frames for the gate and for calibration from a folder.

    frames = read_frames("phantom/", classes=3, limit=16)

A folder of images, or one with ``images/`` and, for ground truth, ``masks/`` (single-channel PNG
files of class ids with the stems of the images).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.export.parity.types import Frame, GateFrame

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def read_frames(
    folder: str | Path, *, classes: int, limit: int, masks: bool = True
) -> list[GateFrame]:
    """Reads at most ``limit`` frames, spread evenly over the sorted folder.

    Args:
        folder: See the module's docstring.
        classes: Number of classes that a mask may hold.
        limit: Largest number of frames, 1 or more.
        masks: Whether to read ``masks/`` where it is there.

    Raises:
        DataError: No folder, no images, an unreadable image, or a mask that does not fit.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root} is no folder of frames", remedy="name a folder that holds images")
    images = root / "images" if (root / "images").is_dir() else root
    files = sorted(p for p in images.iterdir() if p.suffix.lower() in SUFFIXES)
    if not files:
        other = sorted(p.name for p in images.iterdir())[:4]
        raise DataError(
            f"{images} holds no images ({', '.join(SUFFIXES)}); "
            + (f"it holds {', '.join(other)}" if other else "it is empty"),
            remedy="name a folder that holds images, as they come from the endoscope",
        )
    chosen = [
        files[i] for i in np.unique(np.linspace(0, len(files) - 1, limit).round().astype(int))
    ]
    where = root / "masks" if masks and (root / "masks").is_dir() else None
    return [_read(path, where, classes) for path in chosen]


def _read(path: Path, masks: Path | None, classes: int) -> GateFrame:
    image = _decode(path, cv2.IMREAD_COLOR)
    truth: NDArray[np.uint8] | None = None
    mask = masks / f"{path.stem}.png" if masks else None
    if mask is not None and mask.is_file():
        truth = _decode(mask, cv2.IMREAD_UNCHANGED)
        _check_mask(mask, truth, image, classes)
    return GateFrame(name=path.stem, image=cv2.cvtColor(image, cv2.COLOR_BGR2RGB), truth=truth)


def _decode(path: Path, mode: int) -> Frame:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}", remedy="check the file") from error
    image = cv2.imdecode(data, mode) if data.size else None
    if image is None:
        raise DataError(
            f"{path} is no readable image ({data.size} bytes)", remedy="mend or remove the file"
        )
    return np.asarray(image)


def _check_mask(path: Path, mask: Frame, image: Frame, classes: int) -> None:
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise DataError(
            f"mask {path} is {mask.dtype} {mask.shape}, expected one channel of class ids",
            remedy="convert the data set with `trocar data convert`, or leave masks/ away",
        )
    if mask.shape != image.shape[:2]:
        raise DataError(
            f"mask {path} is {mask.shape[1]}x{mask.shape[0]}, its image "
            f"{image.shape[1]}x{image.shape[0]}",
            remedy="save the mask at the size of its image",
        )
    strange = [int(v) for v in np.unique(mask) if v >= classes and v != 255]
    if strange:
        raise DataError(
            f"mask {path} holds the values {strange[:6]}, which are no class of the model "
            f"(0..{classes - 1}, 255 ignored)",
            remedy="use masks of the class table that the model was trained with",
        )
