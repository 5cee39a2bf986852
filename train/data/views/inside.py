"""Which pixels of a batch show its frames, and which came in from outside with the augmentation.

    inside = inside_of(batch)            # [B,h,w] float32, 0 or 1

Zooming out, turning and shifting bring black pixels in. On them a network has nothing to be
consistent about, and a teacher is certain of background there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trocar.contract.classes import IGNORE_INDEX


def inside_of(batch: Mapping[str, Any]) -> Tensor:
    """1 where a pixel is of the frame, 0 where augmentation brought it in.

    Args:
        batch: Of a stream; ``outside`` [B,h,w] marks such pixels of unlabelled frames by
            `IGNORE_INDEX`. Labelled frames have them among the ignored pixels of ``mask``, which
            count as outside all together. Without either all pixels are inside.

    Returns:
        ``[B,h,w]`` float32 on the batch's device.
    """
    marks: Tensor | None = batch.get("outside", batch.get("mask"))
    if marks is None:
        image: Tensor = batch["image"]
        return torch.ones_like(image[:, 0])
    return (marks != IGNORE_INDEX).float()
