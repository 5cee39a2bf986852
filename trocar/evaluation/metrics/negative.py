"""Negative control: what a model reports on pictures that show no instrument.

scores = negative_scores(predictor, negative_frames(Path("without_instruments.mp4"), table))
print(scores.alarms_per_minute, scores.area_percent)

A film or folder is run as `trocar run` runs it. Every instrument that is reported is false. An
*alarm* begins with an instrument whose box overlaps no box of the frame before; it ends when no box
follows. So an instrument that flickers is several alarms, as a viewer sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trocar.contract.errors import ConfigError, DataError, SourceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trocar.contract.classes import ClassTable
    from trocar.contract.results import Instrument
    from trocar.evaluation.model import Predictor
    from trocar.runtime.sources.base import Frame
    from trocar.train.data.sample import FrameSet

IMAGES_PER_SECOND = 25.0
"""Frame rate that a folder of images is counted with."""

_REMEDY = "name a film or a folder of frames in which no instrument can be seen"


@dataclass(frozen=True, kw_only=True)
class NegativeFrames:
    """Frames without instruments.

    Attributes:
        path: The film or folder.
        count: Number of frames; ``None`` if not known.
        frames: The frames in order of time; raises a `DataError` at a labelled instrument.
    """

    path: Path
    count: int | None
    frames: Iterable[Frame]


@dataclass(frozen=True, kw_only=True)
class NegativeScores:
    """False alarms of one model on one film or folder.

    Attributes:
        path: The film or folder.
        frames: Number of frames.
        seconds: Length of the film.
        alarms: How often an alarm began.
        alarms_per_minute: The same for one minute of film.
        instruments_per_frame: False instruments a frame.
        frames_with_alarms: Share of the frames with a false instrument, 0..1.
        area_percent: Area of the false instruments as a percentage of the frame, mean of all
            frames.
        largest_percent: Area of the largest false instrument as a percentage of the frame.
        pixels_percent: Pixels that the network labels as an instrument, as a percentage: what is
            there before regions are dropped.
        worst: Number, image ``[H, W, 3]`` uint8 RGB and labels ``[h, w]`` of the frame with the
            largest false area; ``None`` without an alarm.
    """

    path: Path
    frames: int
    seconds: float
    alarms: int
    alarms_per_minute: float
    instruments_per_frame: float
    frames_with_alarms: float
    area_percent: float
    largest_percent: float
    pixels_percent: float
    worst: tuple[int, NDArray[np.uint8], NDArray[np.uint8]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, without the picture."""
        return {
            "path": str(self.path),
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "alarms": self.alarms,
            "alarms_per_minute": round(self.alarms_per_minute, 2),
            "instruments_per_frame": round(self.instruments_per_frame, 4),
            "frames_with_alarms": round(self.frames_with_alarms, 4),
            "area_percent": round(self.area_percent, 4),
            "largest_percent": round(self.largest_percent, 4),
            "pixels_percent": round(self.pixels_percent, 4),
            "worst_frame": None if self.worst is None else self.worst[0],
        }


def negative_frames(path: Path, table: ClassTable) -> NegativeFrames:
    """Opens a film, a folder of images, or a labelled set without instruments.

    Args:
        path: The film or folder.
        table: Classes of the model.

    Raises:
        ConfigError: The path is a camera or a stream, or the model knows no instrument.
        SourceError: The path does not exist, or holds no picture.
        DataError: A labelled set has faults.
    """
    from trocar.runtime.sources.addresses import is_stream
    from trocar.runtime.sources.open import open_source

    if not any(row.instrument for row in table):
        raise ConfigError(
            "--negative counts false instruments, but no class of the model is an instrument",
            remedy="leave --negative out, or set instrument = true in the class table and train",
        )
    if is_stream(str(path)):
        raise ConfigError(f"--negative {path} is a camera or a stream", remedy=_REMEDY)
    if not path.exists():
        raise SourceError(f"--negative {path} does not exist", remedy=_REMEDY)
    labelled = _labelled_set(path) if path.is_dir() else None
    if labelled is not None:
        return NegativeFrames(path=path, count=len(labelled), frames=_of_set(path, labelled))
    source = open_source(path)

    def frames() -> Iterator[Frame]:
        try:
            yield from source.frames()
        finally:
            source.close()

    return NegativeFrames(path=path, count=source.total, frames=frames())


def _labelled_set(path: Path) -> FrameSet | None:
    """The labelled frames of a set; ``None`` for a folder of images without labels."""
    from trocar.train.data.readers import open_frames, recognise

    try:
        recognise(path)
    except DataError:
        return None
    frames = open_frames(path).labelled()
    return frames if len(frames) else None


def _of_set(path: Path, frames: FrameSet) -> Iterator[Frame]:
    from trocar.runtime.sources.base import Frame

    instruments = [row.id for row in frames.table if row.instrument]
    # A table that says of no class whether it is an instrument: anything but background may be.
    instruments = instruments or [row.id for row in frames.table if row.id]
    for index, item in enumerate(frames):
        sample = frames.read(item)
        shown = np.isin(sample.mask, instruments) if sample.mask is not None else np.zeros(1, bool)
        if shown.any():
            raise DataError(
                f"--negative {path}: frame {item.name} has {int(shown.sum())} pixels labelled as "
                "an instrument; a negative control shows none",
                remedy=_REMEDY,
            )
        yield Frame(image=sample.image, index=index, time=index / IMAGES_PER_SECOND, captured_ns=0)


def negative_scores(
    predictor: Predictor,
    negative: NegativeFrames,
    *,
    progress: Callable[[], None] | None = None,
) -> NegativeScores:
    """Runs a model as `trocar run` does and counts the instruments that it reports.

    Args:
        predictor: A segmentation model.
        negative: The frames; they are read once.
        progress: Called after each frame.

    Raises:
        DataError: There is no frame, or a frame has a labelled instrument.
        SourceError: A frame cannot be decoded.
    """
    from trocar.runtime.pipeline.assemble import make_frame_processor
    from trocar.runtime.pipeline.options import ModelOptions

    wanted = np.zeros(256, bool)
    wanted[[row.id for row in predictor.manifest.classes if row.instrument]] = True
    options = ModelOptions(path=negative.path)
    process = make_frame_processor(predictor.session(), options, live=False)
    before: tuple[Instrument, ...] = ()
    times: list[float] = []
    counts: list[int] = []
    areas: list[float] = []
    alarms, largest, pixels = 0, 0.0, 0.0
    worst: tuple[int, NDArray[np.uint8], NDArray[np.uint8]] | None = None
    for frame in negative.frames:
        result = process(frame)
        assert result.labels is not None
        size = result.frame_size[0] * result.frame_size[1]
        share = [one.area / size for one in result.instruments]
        times.append(frame.time)
        counts.append(len(share))
        alarms += sum(not any(_overlap(o, b) for b in before) for o in result.instruments)
        before = result.instruments
        largest = max([largest, *share])
        pixels += float(wanted[result.labels].mean())
        if share and sum(share) > max(areas, default=0.0):
            worst = frame.index, frame.image, result.labels
        areas.append(sum(share))
        if progress is not None:
            progress()
    if not times:
        raise DataError(f"--negative {negative.path} has no frames", remedy=_REMEDY)
    count = len(times)
    # The last frame is shown as long as the others.
    steps = (times[-1] - times[0]) / (count - 1) if count > 1 else 1 / IMAGES_PER_SECOND
    seconds = steps * count
    return NegativeScores(
        path=negative.path,
        frames=count,
        seconds=seconds,
        alarms=alarms,
        alarms_per_minute=alarms / seconds * 60 if seconds else 0.0,
        instruments_per_frame=sum(counts) / count,
        frames_with_alarms=sum(n > 0 for n in counts) / count,
        area_percent=100 * sum(areas) / count,
        largest_percent=100 * largest,
        pixels_percent=100 * pixels / count,
        worst=worst,
    )


def _overlap(one: Instrument, other: Instrument) -> bool:
    a, b = one.box, other.box
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])
