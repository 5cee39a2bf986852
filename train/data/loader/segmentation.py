"""The streams that segmentation methods draw from.

stream = frames_stream(data, data.labelled, size=(256, 320), name="labelled")
"""

from __future__ import annotations

from dataclasses import replace

from trocar.train.data.loader.batch_stream import Stream, StreamSpec
from trocar.train.data.sample import FrameSet
from trocar.train.data.transforms import AUGMENTATIONS, Augment, AugmentConfig
from trocar.train.methods.protocol import TrainData


def frames_stream(
    data: TrainData,
    frames: FrameSet,
    *,
    size: tuple[int, int],
    name: str,
    labelled: bool = True,
    augment: AugmentConfig | None = None,
    instances: int = 0,
) -> Stream:
    """A stream over one of the run's frame sets.

    Args:
        data: Batch size, seed and this process's place among all.
        frames: The set to draw from.
        size: Network height and width.
        name: Streams of different names draw differently.
        labelled: Whether batches carry masks; such streams composite where the run asks for it.
        augment: ``None`` for the run's augmentation.
        instances: Largest number of instances of a frame, for batches with instance maps; 0 for
            batches without them.
    """
    chosen = augment or AUGMENTATIONS[data.augmentation]
    if augment is None and data.border is not None and data.border != chosen.border:
        chosen = replace(chosen, border=data.border)
    # A method may draw from the labelled frames in another style; their order is the same.
    is_labelled = labelled and len(frames) == len(data.labelled)
    spec = StreamSpec(
        frames=frames,
        augment=Augment(chosen, size),
        batch_size=data.batch_size,
        labelled=labelled,
        pre_augment=data.pre_augment if labelled else None,
        cache_mb=data.cache_mb,
        empty=data.empty if is_labelled else (),
        repeats=data.repeats if is_labelled else (),
        instances=instances,
    )
    return Stream(spec, seed=data.seed, name=name, rank=data.rank, world=data.world)
