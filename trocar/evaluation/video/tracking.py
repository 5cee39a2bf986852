"""Scores the tracks of a model over labelled videos: HOTA, IDF1, MOTA, identity switches.

scores = tracking_over_videos(open_predictor(Path("model.trocar")), frames)
print(scores.total["HOTA"], scores.videos["video"]["switches"])

The model runs as `trocar run` does, with tracking. A true instrument is an instance of an
instrument class whose number lasts over its video. Where instance maps are missing or their numbers
are those of single frames, each instrument class is one true instrument. Found and true instruments
are compared by the IoU of their masks at the size of the frame; their classes are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trocar.contract.classes import IGNORE_INDEX, ClassTable
from trocar.contract.errors import DataError
from trocar.contract.instances.pairing import overlaps
from trocar.contract.media.label_maps import enlarge
from trocar.evaluation.frames import FRAMES_PER_SECOND, EvaluationFrames, LabelledFrame
from trocar.evaluation.metrics.tracking_scores import TrackedFrame, tracking_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trocar.contract.results import FrameResult
    from trocar.evaluation.model import Predictor
    from trocar.runtime.locate.groups import Group

MAX_INSTANCES = 255
"""True instruments of a frame that can be compared."""


@dataclass(frozen=True, kw_only=True)
class TrackingEvaluation:
    """Tracking scores of one model.

    Attributes:
        truth: What a true instrument is: an instance, or all pixels of a class.
        total: Scores over all videos, by the names of `tracking_scores`, and ``identities``: the
            number of track ids that were given.
        videos: The same of each video.
        crowded: Where the truth is classes: frames in which the set's instance maps show several
            instruments of a class, which then count as one.
    """

    truth: Literal["instances", "classes"]
    total: Mapping[str, float]
    videos: Mapping[str, Mapping[str, float]]
    crowded: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; NaN becomes null."""
        return {
            "truth": self.truth,
            **_ready(self.total),
            "videos": {name: _ready(scores) for name, scores in self.videos.items()},
            "crowded": self.crowded,
        }


@dataclass
class _Video:
    """Frames of one video so far."""

    frames: list[TrackedFrame] = field(default_factory=list)
    identities: set[int] = field(default_factory=set)


def tracking_over_videos(
    predictor: Predictor,
    frames: EvaluationFrames,
    *,
    progress: Callable[[], None] | None = None,
) -> TrackingEvaluation:
    """Runs a model over videos as `trocar run` does, and scores its tracks.

    Args:
        predictor: A model of segmentation or instances.
        frames: Labelled frames in order of time, video after video; a change of the group begins
            a new one. Frames without a time follow each other at 25 a second.
        progress: Called after each frame.

    Raises:
        DataError: There is no frame, a video comes twice, or a frame has too many instruments.
    """
    from trocar.runtime.locate.groups import instrument_groups
    from trocar.runtime.pipeline.assemble import make_frame_processor
    from trocar.runtime.pipeline.options import ModelOptions
    from trocar.runtime.sources.base import Frame

    session, options = predictor.session(), ModelOptions(path=Path(predictor.manifest.name))
    table, groups = session.classes, instrument_groups(session.classes, session.options)
    videos: dict[str, _Video] = {}
    name, index, crowded = "", 0, 0
    process = make_frame_processor(session, options, live=False)
    for frame in frames:
        group = frame.group or frames.split
        if group != name:
            if group in videos:
                raise DataError(
                    f"the frames of {group} are not in one piece",
                    remedy="pass the frames of a video in order of time, one video after another",
                )
            name, index = group, 0
            videos[name] = _Video()
            process = make_frame_processor(session, options, live=False)
        time = index / FRAMES_PER_SECOND if frame.time is None else frame.time
        result = process(Frame(image=frame.image, index=index, time=time, captured_ns=0))
        if frames.has_identities:
            truth = true_instances(frame, table)
        else:
            truth = true_classes(frame, groups)
            crowded += _is_crowded(frame, table, groups)
        videos[name].frames.append(_compared(name, frame, truth, result))
        videos[name].identities |= {
            one.track_id for one in result.instruments if one.track_id is not None
        }
        index += 1
        if progress is not None:
            progress()
    if not videos:
        raise DataError("there is no labelled frame to score", remedy="name a split that has some")
    everything = [frame for video in videos.values() for frame in video.frames]
    return TrackingEvaluation(
        truth="instances" if frames.has_identities else "classes",
        total=_scores(everything, sum(len(video.identities) for video in videos.values())),
        videos={name: _scores(v.frames, len(v.identities)) for name, v in videos.items()},
        crowded=crowded,
    )


def true_instances(
    frame: LabelledFrame, table: ClassTable
) -> tuple[list[Hashable], NDArray[np.uint8]]:
    """The true instruments of a frame by their instance numbers.

    Returns:
        Their identities, and ``[H, W]`` uint8 numbers into them, from 1; 0 for none. The class of
        an instance is that of most of its pixels; other instances than instruments are left out.

    Raises:
        DataError: There are more than `MAX_INSTANCES`.
    """
    assert frame.instances is not None
    counted = frame.mask != IGNORE_INDEX
    numbers = np.where(counted, frame.instances, 0)
    found = [number for number in np.unique(numbers).tolist() if number]
    kept: list[Hashable] = []
    places = np.zeros(numbers.shape, np.uint8)
    for number in found:
        here = numbers == number
        row = int(np.bincount(frame.mask[here]).argmax())
        if not table[row].instrument:
            continue
        if len(kept) == MAX_INSTANCES:
            raise DataError(
                f"frame {frame.name} has more than {MAX_INSTANCES} instruments",
                remedy="correct its instance map: each number is one instrument",
            )
        kept.append(number)
        places[here] = len(kept)
    return kept, places


def true_classes(
    frame: LabelledFrame, groups: Iterable[Group]
) -> tuple[list[Hashable], NDArray[np.uint8]]:
    """The true instruments of a frame, one for each kind of instrument that is in view.

    Returns:
        As `true_instances`; an identity is the class id of its kind.
    """
    kept: list[Hashable] = []
    places = np.zeros(frame.mask.shape, np.uint8)
    for group in groups:
        here = np.isin(frame.mask, group.ids)
        if here.any():
            kept.append(group.class_id)
            places[here] = len(kept)
    return kept, places


def _is_crowded(frame: LabelledFrame, table: ClassTable, groups: Iterable[Group]) -> bool:
    """Whether an instance map shows several instruments of a kind."""
    if frame.instances is None:
        return False
    numbers, places = true_instances(frame, table)
    kinds = len(true_classes(frame, groups)[0])
    return len(numbers) > kinds and bool(places.any())


def _compared(
    video: str,
    frame: LabelledFrame,
    truth: tuple[list[Hashable], NDArray[np.uint8]],
    result: FrameResult,
) -> TrackedFrame:
    """The frame as tracks and overlaps; instruments without a track id are left out."""
    assert result.labels is not None
    found = np.zeros(result.labels.shape, np.uint8)
    ids: list[int] = []
    for one in result.instruments[:MAX_INSTANCES]:
        if one.track_id is None or one.mask is None:
            continue
        ids.append(one.track_id)
        one.mask.paint(found, len(ids))
    size = (frame.mask.shape[0], frame.mask.shape[1])
    places = np.where(frame.mask == IGNORE_INDEX, 0, enlarge(found, size)).astype(np.uint8)
    _, iou = overlaps(truth[1], places)
    # What lies in ignored pixels alone is neither right nor wrong.
    used = [n for n in range(1, len(ids) + 1) if (places == n).any()]
    return TrackedFrame(
        truth=tuple((video, number) for number in truth[0]),
        found=tuple((video, ids[n - 1]) for n in used),
        overlap=iou[1 : len(truth[0]) + 1, used],
    )


def _scores(frames: list[TrackedFrame], identities: int) -> dict[str, float]:
    return {**tracking_scores(frames), "identities": float(identities)}


def _ready(scores: Mapping[str, float]) -> dict[str, float | int | None]:
    counts = ("switches", "true", "identities")
    return {
        name: None if math.isnan(value) else int(value) if name in counts else value
        for name, value in scores.items()
    }
