"""Scores the mask that a viewer sees at the moment when each frame arrives.

scores = streaming_scores(Path("model.trocar"), frames, fps=25.0)

`trocar.runtime.pipeline.simulated_live` simulates a live run with its own clock. The model takes
the newest frame when it is free and is busy for its measured inference time. A slow model is
therefore scored with late masks. *Flicker* is the share of pixels whose displayed class changes
from one frame to the next although the true class does not.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trocar.contract.bundle import MANIFEST
from trocar.contract.classes import IGNORE_INDEX
from trocar.contract.errors import ConfigError
from trocar.contract.media.label_maps import enlarge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from trocar.evaluation.frames import LabelledFrame


def streaming_scores(
    model: Path,
    frames: Iterable[LabelledFrame],
    *,
    fps: float,
    latency_ms: float | None = None,
    max_age_ms: float = 300.0,
    smooth: bool = True,
) -> dict[str, Any]:
    """Simulates a live run over labelled frames and scores the displayed masks.

    Args:
        model: A bundle.
        frames: Labelled frames in order of time.
        fps: Frames a second.
        latency_ms: Inference time of a frame in ms; ``None``: the measured time.
        max_age_ms: Masks older than this are not displayed; the frame then counts as background.
        smooth: Whether masks are smoothed over time, as `trocar run --live` does.

    Returns:
        ``iou_binary``, ``iou_mean`` … of the displayed masks; ``flicker`` 0..1; ``age_ms_p50`` and
        ``age_ms_p99`` of the displayed masks in ms; counts ``frames``, ``analysed`` and
        ``without_mask``.

    Raises:
        ConfigError: ``model`` is no bundle, or ``fps`` is not above 0.
    """
    from trocar.runtime.pipeline.frame_processor import FrameProcessor
    from trocar.runtime.pipeline.simulated_live import simulate_live
    from trocar.runtime.session import Session
    from trocar.runtime.temporal.mask_smoothing import MaskSmoother
    from trocar.train.metrics.segmentation import SegmentationScores, json_ready

    if not (model / MANIFEST).is_file():
        raise ConfigError(
            f"{model} is no bundle; --streaming needs one, because only bundles run live",
            remedy=f"export it first: trocar export {model} --out model.trocar",
        )
    masks: list[NDArray[np.uint8]] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for frame in frames:
            masks.append(frame.mask)
            yield frame.image

    ages: list[float] = []
    seen: set[int] = set()
    changed = counted = shown_frames = missing = 0
    before: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
    with Session.open(model) as session:
        scores = SegmentationScores(session.classes)
        processor = FrameProcessor(session, smoother=MaskSmoother() if smooth else None)
        for shown in simulate_live(
            processor, images(), fps=fps, latency_ms=latency_ms, max_age_ms=max_age_ms
        ):
            truth = masks.pop(0)
            labels = np.zeros_like(truth)
            if shown.labels is not None:
                labels = enlarge(shown.labels, truth.shape)
            scores.add(truth, labels)
            if before is not None and before[0].shape == truth.shape:
                still = (truth == before[0]) & (truth != IGNORE_INDEX)
                changed += int((still & (labels != before[1])).sum())
                counted += int(still.sum())
            before = (truth, labels)
            shown_frames += 1
            if shown.age_ms is None or shown.source_index is None:
                missing += 1
            else:
                ages.append(shown.age_ms)
                seen.add(shown.source_index)
        result = scores.result()
    return json_ready(
        {
            **result,
            "flicker": changed / counted if counted else math.nan,
            "age_ms_p50": float(np.percentile(ages, 50)) if ages else math.nan,
            "age_ms_p99": float(np.percentile(ages, 99)) if ages else math.nan,
            "frames": shown_frames,
            "analysed": len(seen),
            "without_mask": missing,
        }
    )
