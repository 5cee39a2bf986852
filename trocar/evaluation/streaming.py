"""`trocar evaluate --streaming`: scores the mask that a viewer sees when each frame arrives.

scores = streaming_scores(Path("model.trocar"), source, fps=25.0)

A live run is simulated (see `trocar.runtime.pipeline.simulated_live`): the model takes the newest
frame whenever it is free and is busy for as long as it really took, so a good model that is slow is
scored for what it shows too late. *Flicker* is the share of pixels whose class on display
changes from one frame to the next although the truth's does not.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trocar.contract.bundle import MANIFEST
from trocar.contract.classes import IGNORE_INDEX
from trocar.contract.errors import ConfigError
from trocar.evaluation.model import enlarge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trocar.evaluation.frames import EvaluationFrames


def streaming_scores(
    model: Path,
    source: EvaluationFrames,
    *,
    fps: float,
    latency_ms: float | None = None,
    max_age_ms: float = 300.0,
    steady: bool = True,
) -> dict[str, Any]:
    """Replays labelled frames as a live run and scores what is on display.

    Args:
        model: A bundle.
        source: Labelled frames in order of time.
        fps: Frames a second.
        latency_ms: What a frame takes in the model; default: what it really takes.
        max_age_ms: Age above which a mask is not shown; background counts as shown then.
        steady: Whether masks are smoothed over time, as `trocar run --live` does.

    Returns:
        ``iou_binary``, ``iou_mean`` … of what is on display; ``flicker`` 0..1; ``age_ms`` p50 and
        p99 of the masks on display; ``frames``, ``analysed`` and ``without_mask`` as counts.

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
            f"{model} is no bundle: only what can run live is scored as a stream",
            remedy=f"export it first: trocar export {model} --out model.trocar",
        )
    masks: list[NDArray[np.uint8]] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for frame in source:
            masks.append(frame.mask)
            yield frame.image

    ages: list[float] = []
    seen: set[int] = set()
    changed = counted = frames = missing = 0
    before: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
    with Session.open(model) as session:
        scores = SegmentationScores(session.classes)
        processor = FrameProcessor(session, smoother=MaskSmoother() if steady else None)
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
            frames += 1
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
            "frames": frames,
            "analysed": len(seen),
            "without_mask": missing,
        }
    )


def evaluate_streaming(model: Path, source: EvaluationFrames, fps: float) -> dict[str, Any]:
    """Scores a stream at so many frames a second, prints the scores and gives them."""
    import click

    scores = {"fps": fps, **streaming_scores(model, source, fps=fps)}
    click.echo(f"as a live viewer sees it, {fps:g} frames/s, {scores['frames']} frames:")
    for name in ("iou_binary", "iou_mean", "flicker", "age_ms_p50", "age_ms_p99"):
        value = scores[name]
        click.echo(f"  {name:12s} {'–' if value is None else f'{value:.4f}'}")
    click.echo(f"  frames analysed {scores['analysed']}, without a mask {scores['without_mask']}")
    return scores
