"""Labels frames with a model, as a draft that annotators correct.

draft = label_frames(predictor, frames, min_confidence=0.5, digest=model_digest(path))
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trocar.contract.bundle import MANIFEST
from trocar.contract.classes import IGNORE_INDEX

if TYPE_CHECKING:
    from trocar.evaluation.model import Predictor
    from trocar.train.data.sample import FrameSet, Item, Sample

SUFFIXES = {"coco": ".json", "coco-rle": ".json", "labelme": "", "cvat": ".xml", "cvat-rle": ".xml"}
"""Suffix of the annotation file by format; LabelMe writes a folder."""


def label_frames(
    predictor: Predictor, frames: FrameSet, *, min_confidence: float = 0.0, digest: str
) -> FrameSet:
    """The same frames with the labels of a model; a frame is labelled when it is read.

    Args:
        predictor: The model.
        frames: Frames; their own masks are not used.
        min_confidence: 0..1; pixels below it get `IGNORE_INDEX`.
        digest: Of the model. It is part of the set's name, so that an interrupted import continues
            only with the same model.
    """
    from trocar.train.data.sample import Sample

    def read(item: Item) -> Sample:
        image = frames.read(item).image
        labels, confidence = predictor.predict(image)
        if min_confidence > 0:
            labels = labels.copy()
            labels[confidence < min_confidence] = IGNORE_INDEX
        return Sample(name=item.name, image=image, mask=labels)

    model = f"{predictor.manifest.name} {digest}"
    name = f"{frames.name}, labelled by {model} from {min_confidence:g} on"
    return replace(frames, name=name, read=read, table=predictor.manifest.classes, task="")


def model_digest(model: Path) -> str:
    """First eight hexadecimal digits of the SHA-256 of a bundle's manifest or of a checkpoint."""
    names = (MANIFEST, "best.ckpt", "last.ckpt")
    file = next((model / name for name in names if (model / name).is_file()), model)
    return hashlib.sha256(file.read_bytes()).hexdigest()[:8]
