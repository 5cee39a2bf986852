"""Results in the form of other tools: COCO result files, and ``supervision.Detections``.

rows = coco_results(result, image_id=7)          # a list for `COCO.loadRes`
detections = supervision_detections(result)      # needs the package supervision
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trocar.contract.errors import MissingExtraError

if TYPE_CHECKING:
    from trocar.contract.results import FrameResult


def coco_results(result: FrameResult, *, image_id: int) -> list[dict[str, Any]]:
    """One row of a COCO result file for each instrument, at the size of the frame.

    Args:
        result: Of one frame.
        image_id: The frame's number in the COCO file of the truth.
    """
    rows = []
    for one in result.instruments:
        x0, y0, x1, y1 = one.box
        row: dict[str, Any] = {
            "image_id": image_id,
            "category_id": one.class_id,
            "bbox": [round(v, 2) for v in (x0, y0, x1 - x0, y1 - y0)],
            "score": one.score,
        }
        if one.mask is not None:
            row["segmentation"] = one.mask.run_lengths(at_frame_size=True)
        rows.append(row)
    return rows


def supervision_detections(result: FrameResult) -> Any:
    """``supervision.Detections`` of a result, with masks, track numbers and class names.

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
        tracker_id=None if None in tracks or not found else np.array(tracks, np.int64),
        data={"class_name": np.array([one.class_name for one in found])},
    )
