"""Writes the folder of `trocar evaluate --out`: `evaluation.json` and images of chosen frames.

write_evaluation(folder, evaluation, predictor, frames=frames, model=Path("model.trocar"), extra={})
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trocar.contract.bundle import write_atomic
from trocar.contract.media.label_maps import enlarge
from trocar.contract.media.pictures import encode_picture
from trocar.evaluation.figures import (
    ShownInstances,
    comparison,
    instance_comparison,
    shown_truth,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trocar.contract.classes import ClassTable
    from trocar.evaluation.frames import EvaluationFrames, LabelledFrame
    from trocar.evaluation.metrics.negative import NegativeScores
    from trocar.evaluation.model import Predictor
    from trocar.evaluation.scoring import Evaluation, FrameScore

EVALUATION = "evaluation.json"
SCHEMA = "1.0"


def write_evaluation(
    folder: Path,
    evaluation: Evaluation,
    predictor: Predictor,
    *,
    frames: EvaluationFrames,
    model: Path,
    extra: Mapping[str, Any],
    negative: Sequence[NegativeScores] = (),
) -> None:
    """Writes all scores and the images of the frames that `pick_frames` names.

    Args:
        folder: An existing folder.
        evaluation: The scores.
        predictor: The model that made them; it labels the chosen frames again.
        frames: The frames that were scored.
        model: Path of the model, for the document.
        extra: Further JSON-ready parts of the document.
        negative: False alarms on films and folders without instruments.
    """
    picked = pick_frames(evaluation.frames)
    files = {
        name: f"{kind}_{number}.jpg"
        for kind, names in picked.items()
        for number, name in enumerate(names, 1)
    }
    for frame in frames.only(files):
        image = _picture(predictor, frame, evaluation.table)
        write_atomic(folder / files[frame.name], encode_picture(image, ".jpg", quality=88))
    alarms = _write_alarms(folder, negative, evaluation.table)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "model": predictor.metadata(model),
        "data": {"path": str(frames.path), "split": frames.split, "frames": frames.count},
        "command": command_line(),
        "environment": environment(),
        "pictures": {
            **{kind: [files[name] for name in names] for kind, names in picked.items()},
            **({"negative": list(alarms)} if alarms else {}),
        },
        "pictured": {**{file: name for name, file in files.items()}, **alarms},
        **evaluation.to_dict(),
        **({"negative": [one.to_dict() for one in negative]} if negative else {}),
        **extra,
    }
    (folder / EVALUATION).write_text(json.dumps(document, indent=1), encoding="utf-8")


def _picture(predictor: Predictor, frame: LabelledFrame, table: ClassTable) -> NDArray[np.uint8]:
    """Frame, truth and prediction; instances one by one, where model and truth have them."""
    outputs = predictor.infer(frame.image[None])
    size = (frame.image.shape[0], frame.image.shape[1])
    if predictor.manifest.task != "instances" or frame.instances is None:
        labels = enlarge(outputs["labels"][0], size)
        return comparison(frame.image, frame.mask, labels, table)
    found = ShownInstances(
        numbers=enlarge(outputs["instances"][0], size),
        classes=outputs["classes"][0].tolist(),
        scores=outputs["scores"][0].tolist(),
    )
    truth = shown_truth(frame.instances, frame.mask)
    return instance_comparison(frame.image, truth, found, table)


def _write_alarms(
    folder: Path, negative: Sequence[NegativeScores], table: ClassTable
) -> dict[str, str]:
    """Writes the frame with the largest false area of each film; what each file shows, by file."""
    shown = {}
    for number, one in enumerate(negative, 1):
        if one.worst is not None:
            index, image, labels = one.worst
            size = image.shape[:2]
            nothing = np.zeros(size, np.uint8)
            picture = comparison(image, nothing, enlarge(labels, size), table)
            file = f"negative_{number}.jpg"
            write_atomic(folder / file, encode_picture(picture, ".jpg", quality=88))
            shown[file] = f"{one.path}, frame {index}"
    return shown


def pick_frames(frames: tuple[FrameScore, ...], count: int = 3) -> dict[str, list[str]]:
    """Names of the worst, median and best frames by mean IoU; each frame is named once at most."""
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


def command_line() -> str:
    """The command line of this process, quoted for a shell."""
    return shlex.join(["trocar", *sys.argv[1:]])


def environment() -> dict[str, str]:
    """Date, machine and versions of the installed packages."""
    packages = {}
    for name in ("trocar", "torch", "onnxruntime-gpu", "onnxruntime", "numpy", "openvino"):
        with contextlib.suppress(PackageNotFoundError):
            packages[name] = version(name)
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **packages,
    }
