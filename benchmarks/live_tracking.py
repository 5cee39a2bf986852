"""How well instruments keep their numbers, on phantom truth: HOTA, IDF1 and switches by TrackEval.

python benchmarks/live_tracking.py --trackeval DIR --json benchmarks/results/live_tracking.json

DIR: made with ``pip install --no-deps --target DIR trackeval``. It is no dependency of the project,
not even for development: it asks for ``opencv-python``, which overwrites the headless OpenCV.
The true label maps go through `locate` and the tracker, so what is scored is the tracker alone; a
first sighting, which has no number yet, counts as missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from helpers.live.ground_truth import iou, visible_instruments

from trocar.contract.results import FrameResult
from trocar.runtime.locate.field_of_view import FieldOfViewTracker
from trocar.runtime.locate.instruments import locate
from trocar.runtime.sources.base import Frame
from trocar.runtime.temporal.tracking import Tracker
from trocar.train.data.phantom import PhantomConfig, phantom_frames, phantom_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--clip-length", type=int, default=75)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--trackeval", type=Path, required=True, help="folder with the package")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    sys.path.append(str(given.trackeval))
    config = PhantomConfig(frames=given.frames, seed=given.seed, clip_length=given.clip_length)
    figures = {"command": "python " + " ".join(sys.argv), **scores(sequence(config))}
    print(json.dumps(figures, indent=1))
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def sequence(config: PhantomConfig) -> dict[str, Any]:
    """All clips one after the other, in TrackEval's form; numbers of a clip are its own."""
    table = phantom_table()
    true_numbers: dict[Any, int] = {}
    given_numbers: dict[Any, int] = {}
    true_ids, given_ids, overlaps = [], [], []
    tracker, finder, clip = Tracker(), FieldOfViewTracker(), -1
    for index, frame in enumerate(phantom_frames(config)):
        if frame.clip != clip:
            tracker, finder, clip = Tracker(), FieldOfViewTracker(), frame.clip
        size = frame.types.shape
        view = finder.update(frame.image)
        result = FrameResult(
            frame_id=index,
            time=frame.time,
            captured_ns=0,
            age_ms=0,
            frame_size=size,
            instruments=locate(frame.types, None, table, size, view=view),
        )
        given = Frame(image=frame.image, index=index, time=frame.time, captured_ns=0)
        found = [i for i in tracker.apply(given, result).instruments if i.track_id is not None]
        truth = visible_instruments(frame)
        # A scene holds one instrument of each type.
        true_ids.append(_numbers(true_numbers, [(clip, kind) for kind, _, _ in truth]))
        given_ids.append(_numbers(given_numbers, [(clip, i.track_id) for i in found]))
        overlaps.append(
            np.array([[iou(box, i.box) for i in found] for _, box, _ in truth]).reshape(
                len(truth), len(found)
            )
        )
    return {
        "num_timesteps": len(true_ids),
        "num_gt_ids": len(true_numbers),
        "num_tracker_ids": len(given_numbers),
        "num_gt_dets": sum(map(len, true_ids)),
        "num_tracker_dets": sum(map(len, given_ids)),
        "gt_ids": true_ids,
        "tracker_ids": given_ids,
        "similarity_scores": overlaps,
    }


def _numbers(known: dict[Any, int], names: list[Any]) -> np.ndarray:
    return np.array([known.setdefault(name, len(known)) for name in names], int)


def scores(data: dict[str, Any]) -> dict[str, Any]:
    from trackeval.metrics import CLEAR, HOTA, Identity

    hota = HOTA().eval_sequence(data)
    identity = Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    clear = CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
    return {
        "frames": data["num_timesteps"],
        "instruments": data["num_gt_ids"],
        "numbers_given": data["num_tracker_ids"],
        "HOTA": round(float(np.mean(hota["HOTA"])), 4),
        "AssA": round(float(np.mean(hota["AssA"])), 4),
        "DetA": round(float(np.mean(hota["DetA"])), 4),
        "IDF1": round(float(identity["IDF1"]), 4),
        "MOTA": round(float(clear["MOTA"]), 4),
        "switches": int(clear["IDSW"]),
    }


if __name__ == "__main__":
    main()
