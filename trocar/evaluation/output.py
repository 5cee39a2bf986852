"""The folder that `trocar evaluate --out` writes: `evaluation.json` and pictures.

write_evaluation(folder, evaluation, predictor, frames, Path("model.trocar"), {})
"""

from __future__ import annotations

import json
import math
import platform
import shlex
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from trocar.contract.classes import ClassTable
    from trocar.evaluation.frames import EvaluationFrames
    from trocar.evaluation.model import Predictor
    from trocar.evaluation.scoring import Evaluation, FrameScore, LabelledFrame

EVALUATION = "evaluation.json"
SCHEMA = "1.0"


def write_evaluation(
    folder: Path,
    evaluation: Evaluation,
    predictor: Predictor,
    source: EvaluationFrames,
    model: Path,
    extra: Mapping[str, Any],
) -> None:
    """Writes scores, frame by frame too, and the pictures of the frames that `pick` names."""
    picked = pick(evaluation.frames)
    files = {
        name: f"{kind}_{number}.jpg"
        for kind, names in picked.items()
        for number, name in enumerate(names, 1)
    }
    for frame in source.only(files):
        labels, _ = predictor.predict(frame.image)
        _save_comparison(folder / files[frame.name], frame, labels, evaluation.table)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "model": predictor.about(model),
        "data": {"path": str(source.path), "split": source.split, "frames": source.count},
        "command": shlex.join(["trocar", *sys.argv[1:]]),
        "environment": environment(),
        "pictures": {kind: [files[name] for name in names] for kind, names in picked.items()},
        "pictured": {file: name for name, file in files.items()},
        **evaluation.to_dict(),
        **extra,
    }
    (folder / EVALUATION).write_text(json.dumps(document, indent=1), encoding="utf-8")


def pick(frames: tuple[FrameScore, ...], count: int = 3) -> dict[str, list[str]]:
    """Names of the worst, median and best frames by mean IoU; no frame is named twice."""
    ranked = sorted(
        (frame for frame in frames if not math.isnan(frame.iou_mean)),
        key=lambda frame: (frame.iou_mean, frame.name),
    )
    names = [frame.name for frame in ranked]
    count = min(count, len(names) // 3) or min(1, len(names))
    worst = names[:count]
    best = [name for name in names[::-1][:count] if name not in worst]
    rest = [name for name in names if name not in worst and name not in best]
    middle = max(0, (len(rest) - count) // 2)
    return {"worst": worst, "median": rest[middle : middle + count], "best": best}


def _save_comparison(
    path: Path, frame: LabelledFrame, labels: NDArray[np.uint8], table: ClassTable
) -> None:
    from trocar.evaluation.figures import comparison

    image = comparison(frame.image, frame.mask, labels, table)
    good, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert good
    path.write_bytes(data.tobytes())


def environment() -> dict[str, str]:
    """Versions and machine, for reports."""
    packages = {}
    for name in ("trocar", "torch", "onnxruntime-gpu", "onnxruntime", "numpy", "openvino"):
        try:
            packages[name] = version(name)
        except Exception:
            continue
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **packages,
    }
