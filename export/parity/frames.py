"""Reads frames for the parity gate and for int8 calibration from a folder.

    frames = read_frames("phantom/", classes=3, max_frames=16)

A folder of images, or one with ``images/`` and, for ground truth, ``masks/`` (single-channel PNG
files of class ids with the stems of the images).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.contract.media.pictures import IMAGE_SUFFIXES, decode_unchanged, read_bytes, read_image
from trocar.export.parity.types import Frame, GateFrame


def read_frames(
    folder: str | Path, *, classes: int, max_frames: int, masks: bool = True
) -> list[GateFrame]:
    """Reads at most ``max_frames`` frames, spread evenly over the sorted folder.

    Args:
        folder: See the module's docstring.
        classes: Number of classes that a mask may hold.
        max_frames: Largest number of frames, 1 or more.
        masks: Whether to read ``masks/`` where the folder has it.

    Raises:
        DataError: No folder, no images, an unreadable image, or a mask that does not fit.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder of frames", remedy="name a folder that holds images"
        )
    images = root / "images" if (root / "images").is_dir() else root
    files = sorted(p for p in images.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        other = sorted(p.name for p in images.iterdir())[:4]
        raise DataError(
            f"{images} holds no images ({', '.join(IMAGE_SUFFIXES)}); "
            + (f"it holds {', '.join(other)}" if other else "it is empty"),
            remedy="name a folder that holds images, as they come from the endoscope",
        )
    chosen = [
        files[i] for i in np.unique(np.linspace(0, len(files) - 1, max_frames).round().astype(int))
    ]
    where = root / "masks" if masks and (root / "masks").is_dir() else None
    return [_read(path, where, classes) for path in chosen]


def _read(path: Path, masks: Path | None, classes: int) -> GateFrame:
    image = read_image(path)
    mask_path = masks / f"{path.stem}.png" if masks else None
    if mask_path is None or not mask_path.is_file():
        return GateFrame(name=path.stem, image=image)
    mask = decode_unchanged(read_bytes(mask_path), source=str(mask_path))
    _check_mask(mask_path, mask, image, classes)
    return GateFrame(name=path.stem, image=image, ground_truth=np.asarray(mask, np.uint8))


def _check_mask(path: Path, mask: NDArray[np.generic], image: Frame, classes: int) -> None:
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise DataError(
            f"mask {path} is {mask.dtype} {mask.shape}, expected one channel of class ids",
            remedy="convert the data set with `trocar data import`, or remove masks/",
        )
    if mask.shape != image.shape[:2]:
        raise DataError(
            f"mask {path} is {mask.shape[1]}x{mask.shape[0]}, its image "
            f"{image.shape[1]}x{image.shape[0]}",
            remedy="save the mask at the size of its image",
        )
    unknown = [int(v) for v in np.unique(mask) if v >= classes and v != 255]
    if unknown:
        raise DataError(
            f"mask {path} holds the values {unknown[:6]}, which are no class of the model "
            f"(0..{classes - 1}, 255 ignored)",
            remedy="use masks of the class table that the model was trained with",
        )
