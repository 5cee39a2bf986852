"""Results in the form of other tools: COCO result files, and ``supervision.Detections``.

rows = coco_results(result, image_id=7)          # a list for `COCO.loadRes`
write_coco_results(Path("results.json"), {7: result})
detections = supervision_detections(result)      # needs the package supervision
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trocar.contract.bundle import write_atomic
from trocar.contract.errors import MissingExtraError

if TYPE_CHECKING:
    from trocar.contract.results import FrameResult


def coco_results(result: FrameResult, *, image_id: int) -> list[dict[str, Any]]:
    """One row of a COCO result file for each instrument, at the size of the frame.

    A row has run lengths, or a box where the instrument has no mask. It never has both:
    ``pycocotools`` would take the area of the box for the area of the mask.

    Args:
        result: Of one frame.
        image_id: The frame's number in the COCO file of the truth.
    """
    rows = []
    for one in result.instruments:
        row: dict[str, Any] = {
            "image_id": image_id, "category_id": one.class_id, "score": one.score,
        }  # fmt: skip
        if one.mask is not None:
            row["segmentation"] = one.mask.run_lengths(at_frame_size=True)
        else:
            x0, y0, x1, y1 = one.box
            row["bbox"] = [round(v, 2) for v in (x0, y0, x1 - x0, y1 - y0)]
        rows.append(row)
    return rows


def write_coco_results(path: Path, results: Mapping[int, FrameResult]) -> None:
    """Writes a COCO result file, complete or not at all; an earlier file is replaced.

    Args:
        path: The JSON file.
        results: The result of each frame, by the frame's number in the COCO file of the truth.

    Raises:
        OSError: It cannot be written.
    """
    rows = [
        row
        for image_id, result in results.items()
        for row in coco_results(result, image_id=image_id)
    ]
    write_atomic(path, json.dumps(rows).encode())


def supervision_detections(result: FrameResult) -> Any:
    """``supervision.Detections`` of a result, with masks, track numbers and class names.

    Instruments without a track number have -1 where others have one.

    Raises:
        MissingExtraError: The package supervision is not installed.
    """
    try:
        from supervision import Detections  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise MissingExtraError(
            "the package supervision is not installed", remedy="pip install supervision"
        ) from error
    found = result.instruments
    tracks = [one.track_id for one in found]
    masks = [one.mask.at_frame_size() for one in found if one.mask is not None]
    return Detections(
        xyxy=np.array([one.box for one in found], np.float32).reshape(-1, 4),
        mask=np.stack(masks) if found and len(masks) == len(found) else None,
        confidence=np.array([one.score for one in found], np.float32),
        class_id=np.array([one.class_id for one in found], np.int64),
        tracker_id=np.array([-1 if t is None else t for t in tracks], np.int64)
        if any(t is not None for t in tracks)
        else None,
        data={"class_name": np.array([one.class_name for one in found], str)},
    )
