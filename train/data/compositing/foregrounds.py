"""Instruments of labelled frames, segmented for compositing.

foregrounds = foregrounds_from_frames(open_frames("labelled/"))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import DataError
from trocar.train.data.sample import FrameSet, Sample


@dataclass(frozen=True, kw_only=True)
class Foreground:
    """A segmented instrument and its image.

    Attributes:
        name: Its source, for messages.
        image: ``[H, W, 3]`` uint8 RGB, the image that shows it.
        mask: ``[H, W]`` uint8 class ids of the instrument; 0 elsewhere.
        is_complete: Whether all of the instrument is in view. If not, it enters from the border,
            and in a composite it must do so too.
    """

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    is_complete: bool = False

    @property
    def sides(self) -> tuple[bool, bool, bool, bool]:
        """Whether it is near the top, bottom, left and right border of its image.

        Near is 3 %: annotations and the black border of an endoscope's view stop short of it.
        """
        m = self.mask
        y, x = (max(round(0.03 * length), 1) for length in m.shape)
        return bool(m[:y].any()), bool(m[-y:].any()), bool(m[:, :x].any()), bool(m[:, -x:].any())


def foregrounds_from_frames(
    frames: FrameSet, *, min_share: float = 0.005, max_frames: int = 200
) -> list[Foreground]:
    """The instruments of labelled frames: each connected region of instrument classes.

    Args:
        frames: Labelled frames; class ids do not change.
        min_share: Smaller regions are left out; a fraction of the image.
        max_frames: Approximate number of frames to read, spread evenly over the set.

    Raises:
        DataError: No frame has a region of that size.
    """
    labelled = [item for item in frames.items if item.labelled]
    step = max(1, -(-len(labelled) // max_frames))
    found: list[Foreground] = []
    for item in labelled[::step]:
        sample = frames.read(item)
        if sample.mask is not None:
            found += cut_out(sample, frames.table.instrument_ids, min_share=min_share)
    if not found:
        raise DataError(
            f"{frames.root} shows no instrument of at least {min_share:.1%} of the image",
            remedy="pass labelled frames, with instrument = true in their class table",
        )
    return found


def cut_out(
    sample: Sample, instrument_ids: Sequence[int], *, min_share: float = 0.005
) -> list[Foreground]:
    """The connected instrument regions of one labelled frame."""
    if sample.mask is None:
        return []
    inside = np.isin(sample.mask, list(instrument_ids))
    count, regions, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
    return [
        Foreground(
            name=f"{sample.name}#{region}",
            image=sample.image,
            mask=np.where(regions == region, sample.mask, np.uint8(0)),
        )
        for region in range(1, count)
        if stats[region, cv2.CC_STAT_AREA] >= min_share * sample.mask.size
    ]
