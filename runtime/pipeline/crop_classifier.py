"""A second model that classifies the crop of each located instrument, or rejects it as unknown.

    classifier = open_classifier("tools.trocar")
    processor = FrameProcessor(session, post_processors=[Tracker(), classifier])

All crops of a frame go through the model in one batch. Where instruments are tracked, the scores of
a track are an exponential moving average over its frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.errors import BundleError
from trocar.contract.manifest import Manifest
from trocar.contract.media.crops import crop_window
from trocar.contract.results import Classified, FrameResult, Instrument
from trocar.runtime.enrolment.classes import UNKNOWN
from trocar.runtime.frames import shrink
from trocar.runtime.session import Session
from trocar.runtime.sources.base import Frame

EMA_DECAY = 0.6
"""Weight of a track's earlier scores; the newest scores have the rest."""

TRACK_TIMEOUT = 50
"""Frames without a sighting after which the scores of a track are deleted."""

Scores = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """Turns scores into a class name, or into `UNKNOWN`.

    Attributes:
        names: Class names.
        scale: Certainty is the best score divided by it; ``None``: certainty is the best softmax.
        threshold: Certainty below which the name is `UNKNOWN`.
    """

    names: tuple[str, ...]
    scale: float | None
    threshold: float

    @classmethod
    def from_manifest(cls, manifest: Manifest, *, threshold: float | None = None) -> DecisionRule:
        """Reads the rule of a classifier bundle.

        Args:
            manifest: Of the bundle.
            threshold: Replaces the bundle's.

        Raises:
            BundleError: Its threshold or scale is not a number.
        """
        metadata = manifest.extra.get("classification", {})
        scale, stated = metadata.get("scale"), metadata.get("threshold", 0.0)
        numbers = [value for value in (scale, stated) if value is not None]
        if any(isinstance(n, bool) or not isinstance(n, (int, float)) for n in numbers):
            raise BundleError(
                f"the classifier bundle {manifest.name} states the threshold {stated!r} and the "
                f"scale {scale!r}, expected numbers",
                remedy="export the classifier again",
            )
        return cls(
            names=manifest.classes.names,
            scale=None if not scale else float(scale),
            threshold=float((stated or 0.0) if threshold is None else threshold),
        )

    def __call__(self, scores: Scores) -> Classified:
        """Returns the name for ``[K]`` scores, and the softmax of the best one."""
        best = int(scores.argmax())
        softmax = float(1.0 / np.exp(scores - scores[best]).sum())
        certainty = softmax if self.scale is None else float(scores[best]) / self.scale
        name = self.names[best] if certainty >= self.threshold else UNKNOWN
        return Classified(name=name, score=softmax)


class CropClassifier:
    """A post-processor that sets ``classified`` of every instrument.

    Args:
        session: An open classifier.
        threshold: Certainty below which an instrument is unknown; default: the calibrated one.

    Raises:
        BundleError: The session is not a classifier.
    """

    name = "classify"

    def __init__(self, session: Session, *, threshold: float | None = None) -> None:
        if session.manifest.task != "classification":
            raise BundleError(
                f"{session.manifest.name} is a {session.manifest.task} model, expected a "
                "classifier",
                remedy="name a bundle of `trocar train classifier`, `head-triplet` or `few-shot`",
            )
        self.session = session
        self.rule = DecisionRule.from_manifest(session.manifest, threshold=threshold)
        self._tracks: dict[int, tuple[int, Scores]] = {}

    def apply(self, frame: Frame, result: FrameResult) -> FrameResult:
        """Returns the result with a class name on each instrument."""
        if not result.instruments:
            return result
        scores = self.scores(frame.image, result.instruments)
        named = tuple(
            replace(one, classified=self.rule(self._averaged(one, row, frame.index)))
            for one, row in zip(result.instruments, scores, strict=True)
        )
        self._tracks = {
            number: entry
            for number, entry in self._tracks.items()
            if frame.index - entry[0] <= TRACK_TIMEOUT
        }
        return replace(result, instruments=named)

    def scores(self, image: NDArray[np.uint8], instruments: tuple[Instrument, ...]) -> Scores:
        """Scores ``[N, K]`` float32 of the crops of N instruments, from one batch."""
        spec = self.session.manifest.input
        crops = []
        for one in instruments:
            x0, y0, x1, y1 = crop_window(one.box, (image.shape[0], image.shape[1]))
            crop = np.ascontiguousarray(image[y0:y1, x0:x1])
            crops.append(shrink(crop, spec.height, spec.width))
        outputs: Mapping[str, NDArray[Any]] = self.session.infer(np.stack(crops))
        return np.asarray(outputs["scores"], np.float32)

    def close(self) -> None:
        """Frees the model."""
        self.session.close()

    def _averaged(self, one: Instrument, scores: Scores, index: int) -> Scores:
        if one.track_id is None:
            return scores
        earlier = self._tracks.get(one.track_id)
        if earlier is not None:
            scores = np.float32(EMA_DECAY) * earlier[1] + np.float32(1 - EMA_DECAY) * scores
        self._tracks[one.track_id] = (index, scores)
        return scores


def open_classifier(
    path: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    threshold: float | None = None,
    trust: Path | None = None,
) -> CropClassifier:
    """Opens a classifier bundle as a second stage.

    Args:
        path: The bundle.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; default: one for each usable core.
        threshold: Certainty below which an instrument is unknown; default: the calibrated one.
        trust: What must have signed it, see `Session.open`.

    Raises:
        BundleError: It is not a bundle, or not a classifier; also `IntegrityError`.
        BackendError: The device is not available.
    """
    # It takes crops of RGB: a graph for NV12 would be opened for nothing.
    session = Session.open(
        path, device=device, threads=threads, spinning=False, trust=trust, nv12=False
    )
    try:
        return CropClassifier(session, threshold=threshold)
    except BaseException:
        session.close()
        raise
