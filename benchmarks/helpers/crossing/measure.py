"""Scores of a model on scenes with crossing instruments, as `trocar run` reports them.

figures = measure(session, frames, tips)

Panoptic quality and mask AP come from the masks of the reported instruments. The tip error is the
distance from a visible true tip to the nearest reported one, of pairs above an IoU of 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

import numpy as np
from helpers.crossing.scenes import FPS, Points, films
from numpy.typing import NDArray

from trocar.contract.instances.pairing import overlaps, pair_instances
from trocar.contract.results import FrameResult
from trocar.evaluation.metrics.instance_scores import InstanceScores
from trocar.evaluation.metrics.tracking_scores import TrackedFrame, tracking_scores
from trocar.runtime.session import Session
from trocar.runtime.sources.base import Frame
from trocar.runtime.temporal.tracking import Tracker
from trocar.train.data.sample import FrameSet

MATCHED = 0.5
"""IoU from which on a reported instrument is the true one."""


def measure(
    session: Session, frames: FrameSet, tips: Mapping[str, Mapping[int, Points]]
) -> dict[str, float]:
    """Scores 0..1, tip error in pixels, share of true tips that were measured, and tracking.

    Args:
        session: The model.
        frames: Test frames with instances.
        tips: Visible tips by frame and instance.
    """
    scores = InstanceScores(frames.table)
    errors: list[float] = []
    visible, true_count, found_count = 0, 0, 0
    for item in frames.items:
        sample = frames.read(item)
        assert sample.mask is not None
        truth = frames.instance_map(item, sample.mask.shape)
        assert truth is not None
        result = session.run(sample.image)
        found = numbers_of(result)
        scores.add(
            truth,
            sample.mask,
            found,
            classes=[one.class_id for one in result.instruments],
            scores=[one.score for one in result.instruments],
        )
        own = tips[item.name]
        visible += sum(len(points) for points in own.values())
        true_count += len(np.unique(truth[truth > 0]))
        found_count += len(result.instruments)
        for pair in pair_instances(truth.astype(np.uint8), found, min_iou=MATCHED):
            reported = result.instruments[pair.second - 1].tips
            if reported:
                # A tip of a result is at a pixel's centre plus a half.
                points = [(x + 0.5, y + 0.5) for x, y in own.get(pair.first, ())]
                errors += [min(math.dist(point, tip) for tip in reported) for point in points]
    return {
        **scores.result(),
        "tip_error": median(errors) if errors else math.nan,
        "tips_measured": len(errors) / max(visible, 1),
        "count_ratio": found_count / true_count,
        **_tracked(session),
    }


def numbers_of(result: FrameResult) -> NDArray[np.uint8]:
    """``[H,W]`` the place of each pixel's instrument in the result, from 1; 0 for none."""
    numbers = np.zeros(result.frame_size, np.uint8)
    for place, one in enumerate(result.instruments, start=1):
        assert one.mask is not None
        numbers[one.mask.at_frame_size()] = place
    return numbers


def _tracked(session: Session) -> dict[str, float]:
    """Identities over films; numbers of instances differ from film to film."""
    rows: list[TrackedFrame] = []
    for film, scene in enumerate(films()):
        tracker = Tracker()
        for index, one in enumerate(scene):
            frame = Frame(image=one.image, index=index, time=index / FPS, captured_ns=0)
            result = session.run(one.image, frame_id=index, time=frame.time)
            found = numbers_of(result)
            tracked = tracker.apply(frame, result).instruments
            # The tracker may join or sort: the box finds the instrument again.
            places = [_place(box.box, result) for box in tracked]
            truth = np.unique(one.instances[one.instances > 0]).tolist()
            _, iou = overlaps(one.instances, found)
            rows.append(
                TrackedFrame(
                    truth=tuple(1000 * film + number for number in truth),
                    found=tuple(1000 * film + (box.track_id or 0) for box in tracked),
                    overlap=iou[np.ix_(truth, places)],
                )
            )
    wanted = ("HOTA", "IDF1", "switches")
    return {name: value for name, value in tracking_scores(rows).items() if name in wanted}


def _place(box: tuple[float, float, float, float], result: FrameResult) -> int:
    """The place of the instrument of that box, from 1; 0 where the tracker changed the box."""
    boxes = [one.box for one in result.instruments]
    return boxes.index(box) + 1 if box in boxes else 0
