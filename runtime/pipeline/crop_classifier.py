"""A second model that names each located instrument from its crop, or says that it does not know.

    step = open_classifier("tools.trocar")
    analyser = Analyser(session, steps=[Tracker(), step])

All crops of a frame go through the model in one batch. Where instruments are tracked, the scores of
a track are averaged over time, newer frames counting more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trocar.contract.crops import crop_window
from trocar.contract.errors import BundleError
from trocar.contract.manifest import Manifest
from trocar.contract.results import Classified, FrameResult, Instrument
from trocar.runtime.enrolment.classes import UNKNOWN
from trocar.runtime.frames import shrink
from trocar.runtime.session import Session
from trocar.runtime.sources.base import Frame

MEMORY = 0.6
"""Weight of a track's earlier scores against the newest."""

FORGET_AFTER = 50
"""Frames after which a track that is gone is forgotten."""

Scores = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Turns scores into a name.

    Attributes:
        names: Class names.
        scale: Certainty is the best score over it; ``None`` for the best softmax.
        threshold: Certainty below which the name is `UNKNOWN`.
    """

    names: tuple[str, ...]
    scale: float | None
    threshold: float

    @classmethod
    def of(cls, manifest: Manifest, *, threshold: float | None = None) -> Judge:
        """What a classifier bundle says of itself.

        Raises:
            BundleError: Its threshold or scale is no number.
        """
        about = manifest.extra.get("classification", {})
        scale, stated = about.get("scale"), about.get("threshold", 0.0)
        if not isinstance(stated, (int, float)) or not isinstance(scale, (int, float, type(None))):
            raise BundleError(
                f"bundle {manifest.name} states the threshold {stated!r} and the scale {scale!r}",
                remedy="export it again",
            )
        return cls(
            names=manifest.classes.names,
            scale=None if not scale else float(scale),
            threshold=float(stated if threshold is None else threshold),
        )

    def __call__(self, scores: Scores) -> Classified:
        """``[K]`` scores to a name and its softmax."""
        best = int(scores.argmax())
        shares = np.exp(scores - scores[best])
        share = float(1.0 / shares.sum())
        certainty = share if self.scale is None else float(scores[best]) / self.scale
        name = self.names[best] if certainty >= self.threshold else UNKNOWN
        return Classified(name=name, score=share)


class CropClassifier:
    """A step of an `Analyser`: gives every instrument its ``classified``.

    Args:
        session: A classifier, opened.
        threshold: Certainty below which an instrument is unknown; default: the calibrated one.
    """

    name = "classify"

    def __init__(self, session: Session, *, threshold: float | None = None) -> None:
        if session.manifest.task != "classification":
            raise BundleError(
                f"{session.manifest.name} is a {session.manifest.task} model, a classifier is "
                "wanted here",
                remedy="name a bundle of `trocar train classifier`, `head-triplet` or `few-shot`",
            )
        self.session = session
        self.judge = Judge.of(session.manifest, threshold=threshold)
        self._tracks: dict[int, tuple[int, Scores]] = {}

    def apply(self, frame: Frame, result: FrameResult) -> FrameResult:
        """The result with a name on each instrument."""
        if not result.instruments:
            return result
        scores = self.scores(frame.image, result.instruments)
        named = tuple(
            replace(one, classified=self.judge(self._steadied(one, row, frame.index)))
            for one, row in zip(result.instruments, scores, strict=True)
        )
        self._tracks = {
            number: entry
            for number, entry in self._tracks.items()
            if frame.index - entry[0] <= FORGET_AFTER
        }
        return replace(result, instruments=named)

    def scores(self, image: NDArray[np.uint8], instruments: tuple[Instrument, ...]) -> Scores:
        """``[N, K]`` scores of the instruments' crops, from one batch."""
        spec = self.session.manifest.input
        crops = []
        for one in instruments:
            x0, y0, x1, y1 = crop_window(one.box, (image.shape[0], image.shape[1]))
            crop = np.ascontiguousarray(image[y0:y1, x0:x1])
            crops.append(shrink(crop, spec.height, spec.width))
        outputs: Mapping[str, NDArray[Any]] = self.session.infer(np.stack(crops))
        return np.asarray(outputs["scores"], np.float32)

    def close(self) -> None:
        """Gives the model back."""
        self.session.close()

    def _steadied(self, one: Instrument, scores: Scores, index: int) -> Scores:
        if one.track_id is None:
            return scores
        before = self._tracks.get(one.track_id)
        if before is not None:
            scores = np.float32(MEMORY) * before[1] + np.float32(1 - MEMORY) * scores
        self._tracks[one.track_id] = (index, scores)
        return scores


def open_classifier(
    path: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    threshold: float | None = None,
) -> CropClassifier:
    """Opens a classifier bundle as a second stage.

    Raises:
        BundleError: No bundle, or one that segments.
        BackendError: The device is not to be had.
    """
    session = Session.open(path, device=device, threads=threads, spinning=False)
    try:
        return CropClassifier(session, threshold=threshold)
    except BaseException:
        session.close()
        raise
